"""The stage itself: open the source, choose the images of each split, write them with manifest, metrics and record."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nofrost.config import DatasetSpec
from nofrost.data import SPLITS, Manifest, SplitManifest, write_manifest, write_split
from nofrost.errors import UserError
from nofrost.files import write_json
from nofrost.prepare.pixels import PixelStatistics
from nofrost.prepare.sources import SourceData, open_source, resolve_source
from nofrost.prepare.sources.folder import refusing_giant_images
from nofrost.prepare.splitting import SplitRows, split_rows
from nofrost.stage import record, stage_output
from nofrost.telemetry import Progress, progress


def run(config: DatasetSpec, out: Path) -> dict[str, Any]:
    """Make the dataset of `config` in the folder `out` and return its metrics.

    Rows of every split are sorted by their position in the source. `mean` and `std` of the manifest are those of all
    training pixels, exact, in float64. The path of the source is recorded nowhere: equal content makes equal bytes.

    Returns:
        Number of images in each split (``train_images``, ``selection_images``, ``test_images``), of classes and
        channels, and the size [height, width]; the same as in ``out/metrics.json``.

    Raises:
        UserError: the source is missing, damaged, or too small to be split.
    """
    with refusing_giant_images():
        source = resolve_source(config)
        data = open_source(source)
        rows = split_rows(data, source)
        # where the source lies is no part of the result, its content is
        settings = {key: value for key, value in source.as_json().items() if key != "path"}
        with stage_output(out, fingerprint={"config": settings, "source": dict(data.checksums)}) as folder:
            manifest = _write(data, rows, settings, folder)
            metrics = _metrics(manifest)
            write_manifest(folder, manifest)
            write_json(folder / "metrics.json", metrics)
            seeds = {"split": source.seed}
            provenance = record(
                "prepare", config=settings, inputs=data.checksums, seeds=seeds, libraries=source.libraries
            )
            write_json(folder / "record.json", provenance)
    return metrics


def _write(source: SourceData, split: SplitRows, settings: dict[str, Any], folder: Path) -> Manifest:
    statistics = PixelStatistics(source.train.shape[2])
    splits: dict[str, SplitManifest] = {}
    with progress("prepare", total=sum(len(rows) for _, rows in split.values())) as bar:
        for name in SPLITS:
            part, rows = split[name]
            batches = _reported(part.read(rows), bar)
            if name == "train":
                batches = statistics.watch(batches)
            labels = part.labels[rows]
            splits[name] = write_split(folder / name, batches, part.shape, labels, rows, len(source.classes))
    mean, std = statistics.mean_and_std()
    for channel, deviation in enumerate(std):
        if deviation == 0:
            raise UserError(
                f"every training pixel of channel {channel} has the same value: the images hold nothing to learn from, "
                "check dataset.path"
            )
    height, width, channels = source.train.shape
    return Manifest(
        name=source.name,
        classes=source.classes,
        image_size=(height, width),
        channels=channels,
        mean=mean,
        std=std,
        splits=splits,
        provenance={"origin": source.origin, **source.checksums},
        licence=source.licence,
        config=settings,
    )


def _reported(batches: Iterator[NDArray[np.uint8]], bar: Progress) -> Iterator[NDArray[np.uint8]]:
    for batch in batches:
        yield batch
        bar.advance(len(batch))


def _metrics(manifest: Manifest) -> dict[str, Any]:
    counts = {f"{name}_images": split.count for name, split in manifest.splits.items()}
    size = list(manifest.image_size)
    return {**counts, "classes": len(manifest.classes), "image_size": size, "channels": manifest.channels}
