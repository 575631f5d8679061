"""The stage prepare: open the source, assign images to splits, write them with manifest, metrics and record."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nofrost.config import DatasetSpec
from nofrost.data import SPLITS, Manifest, SplitManifest, write_manifest, write_split
from nofrost.errors import UserError, say
from nofrost.prepare.photo import refusing_giant_images
from nofrost.prepare.pixels import PixelStatistics
from nofrost.prepare.sources import SourceData, open_source, resolve_source
from nofrost.prepare.splitting import SplitRows, split_rows
from nofrost.results import DatasetMetrics, Record, write_result
from nofrost.stage import RECORD, check_output, stage_output
from nofrost.telemetry import Progress, progress
from nofrost.telemetry.metrics.exposition import exposed


def run(config: DatasetSpec, out: Path) -> DatasetMetrics:
    """Make the dataset of `config` in the folder `out` and return the content of ``out/metrics.json``.

    Rows of every split are sorted by their position in the source. `mean` and `std` of the manifest are those of all
    training pixels, exact, in float64. The path of the source is not recorded, so equal content gives equal bytes.

    Raises:
        UserError: the source is missing, damaged, or too small to be split.
    """
    with exposed("prepare"), refusing_giant_images():
        source = resolve_source(config)
        # before all images are looked through, which may take long
        check_output(out, stage="prepare", inputs=source.inputs(out))
        data = open_source(source)
        rows = split_rows(data, source, source.class_limit)
        for text in (*data.remarks, *_limit_remark(data, source)):
            say(f"prepare: {text}")
        # the result depends on the content of the source, not on its path
        settings = {key: value for key, value in source.as_json().items() if key != "path"}
        fingerprint = {"config": settings, "source": dict(data.checksums)}
        with stage_output(out, stage="prepare", inputs=source.inputs(out), fingerprint=fingerprint) as folder:
            manifest = _write(data, rows, settings, folder)
            metrics = _metrics(manifest)
            write_manifest(folder, manifest)
            write_result(folder / "metrics.json", metrics)
            seeds = {"split": source.seed}
            record = Record.of(
                "prepare", config=settings, inputs=data.checksums, seeds=seeds, libraries=source.libraries
            )
            write_result(folder / RECORD, record)
    return metrics


def _limit_remark(data: SourceData, config: DatasetSpec) -> list[str]:
    count = sum(len(part.labels) for part in (data.train, data.test) if part is not None)
    if config.limit is None or config.limit <= count:
        return []
    return [f"dataset.limit is {config.limit:,}, the source has {count:,} images: all of them are kept"]


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
            indices = part.indices(rows)
            splits[name] = write_split(folder / name, batches, part.shape, labels, indices, len(source.classes))
        # Inside, as otherwise a line would say that the stage is done.
        mean, std = statistics.mean_and_std()
        for channel, deviation in enumerate(std):
            if deviation == 0:
                raise UserError(
                    f"every training pixel of channel {channel} has the same value: the images hold nothing to learn "
                    "from, check dataset.path"
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
        provenance={"origin": source.origin, **({"url": source.url} if source.url else {}), **source.checksums},
        licence=source.licence,
        config=settings,
    )


def _reported(batches: Iterator[NDArray[np.uint8]], bar: Progress) -> Iterator[NDArray[np.uint8]]:
    for batch in batches:
        yield batch
        bar.advance(len(batch))


def _metrics(manifest: Manifest) -> DatasetMetrics:
    return DatasetMetrics(
        train_images=manifest.splits["train"].count,
        selection_images=manifest.splits["selection"].count,
        test_images=manifest.splits["test"].count,
        classes=len(manifest.classes),
        image_size=manifest.image_size,
        channels=manifest.channels,
    )
