"""One test image under each corruption at each severity."""

from __future__ import annotations

from collections.abc import Sequence

from nofrost.data.arrays import read_arrays
from nofrost.errors import UserError
from nofrost.report.document import Picture, Pictures
from nofrost.report.runs import Collected
from nofrost.report.sections.examples import data_uri

# A sheet of more corruptions than these is folded.
OPEN_ROWS = 8
# Photographs are shown as JPEG: a sheet has more than a hundred, and PNG does not make noise smaller. In pixels.
LARGEST_PNG, JPEG_QUALITY = 64, 88


def corruption_sheet(collected: Collected, names: Sequence[str]) -> Pictures:
    """Return a test image under corruptions (the rows, in the order of `names`) at each severity (the columns).

    Raises:
        UserError: the examples of the evaluation are damaged, or do not hold these corruptions.
    """
    path = collected.first.folder / "evaluate-ood" / "examples.npz"
    arrays = read_arrays(path)
    complete = {"names", "severities", "corrupted", "image"} <= arrays.keys()
    shape = (len(arrays["names"]), len(arrays["severities"]), *arrays["image"].shape) if complete else ()
    if not complete or arrays["corrupted"].shape != shape or set(arrays["names"].tolist()) != set(names):
        raise UserError(f"{path} does not contain corrupted examples: evaluate this run again")
    by_name = dict(zip(arrays["names"].tolist(), arrays["corrupted"], strict=True))
    severities = [f"severity {severity}" for severity in arrays["severities"].tolist()]
    quality = JPEG_QUALITY if max(arrays["image"].shape) > LARGEST_PNG else None
    rows: list[tuple[str, list[Picture | None]]] = []
    for name in names:
        words = name.replace("_", " ")
        pictures = [
            Picture(data_uri(image, quality), f"the image under {words} of {severity}")
            for image, severity in zip(by_name[name], severities, strict=True)
        ]
        rows.append((words, [None, *pictures]))
    rows[0][1][0] = Picture(data_uri(arrays["image"], quality), "test image without corruption")
    summary = f"One image under all {len(rows)} corruptions" if len(rows) > OPEN_ROWS else ""
    return Pictures("", _caption(collected, arrays["image"].shape[0]), rows, ["clean", *severities], summary=summary)


def _caption(collected: Collected, height: int) -> str:
    view = collected.views["corruptions"]
    step = -(-(view.crop if view else collected.manifest.image_size[0]) // height)
    reduced = f", one pixel of {step} in each direction" if step > 1 else ""
    return (
        f"One test image of {collected.manifest.name} under each corruption (nofrost-c) at each severity; pixels are "
        f"not smoothed{reduced}."
    )
