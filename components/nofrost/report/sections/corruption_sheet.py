"""One test image under each corruption at each severity."""

from __future__ import annotations

from collections.abc import Sequence

from nofrost.data.arrays import read_arrays
from nofrost.errors import UserError
from nofrost.report.document import Picture, Pictures
from nofrost.report.runs import Shifted
from nofrost.report.sections.examples import data_uri

# A sheet of more corruptions than these is folded.
OPEN_ROWS = 8
# Photographs are shown as JPEG: a sheet has more than a hundred, and PNG does not make noise smaller. In pixels.
LARGEST_PNG, JPEG_QUALITY = 64, 88


def corruption_sheet(shifted: Shifted, names: Sequence[str]) -> Pictures:
    """Return a test image under corruptions (the rows, in the order of `names`) at each severity (the columns).

    Raises:
        UserError: the examples of the evaluation are damaged, or do not hold these corruptions.
    """
    path = shifted.first.evaluation / "examples.npz"
    arrays = read_arrays(path)
    complete = {"names", "severities", "corrupted", "image"} <= arrays.keys()
    shape = (len(arrays["names"]), len(arrays["severities"]), *arrays["image"].shape) if complete else ()
    if not complete or arrays["corrupted"].shape != shape or set(arrays["names"].tolist()) != set(names):
        raise UserError(f"{path} does not contain corrupted examples: evaluate this run again")
    by_name = dict(zip(arrays["names"].tolist(), arrays["corrupted"], strict=True))
    severities = [str(severity) for severity in arrays["severities"].tolist()]
    quality = JPEG_QUALITY if max(arrays["image"].shape) > LARGEST_PNG else None
    rows = [("clean image", [Picture(data_uri(arrays["image"], quality), "test image without corruption")])]
    for name in names:
        words = name.replace("_", " ")
        pictures = [
            Picture(data_uri(image, quality), f"the image under {words} of severity {severity}")
            for image, severity in zip(by_name[name], severities, strict=True)
        ]
        rows.append((words, pictures))
    step = _step(shifted, arrays["image"].shape[0])
    caption = (
        f"One test image of {shifted.manifest.name}, and it under each corruption (nofrost-c) at each severity"
        f"{f'; of every {step} × {step} pixels one is kept' if step > 1 else ''}."
    )
    summary = f"One image under all {len(names)} corruptions" if len(names) > OPEN_ROWS else ""
    return Pictures("", caption, rows, severities, "severity", summary=summary)


def _step(shifted: Shifted, height: int) -> int:
    """Return the n of every n-th pixel that was kept, from the height of the example."""
    view = shifted.view
    return -(-(view.crop if view else shifted.manifest.image_size[0]) // height)
