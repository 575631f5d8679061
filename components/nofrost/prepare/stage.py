"""The stage prepare: open the source, assign images to splits, write them with manifest, metrics and record."""

from collections import Counter
from collections.abc import Iterator
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from nofrost.config import DatasetSpec, EvaluationView
from nofrost.data import SPLITS, Manifest, SplitManifest, write_manifest, write_split
from nofrost.data.jpeg import QUALITY
from nofrost.data.pixel_statistics import PixelStatistics
from nofrost.errors import UserError, say
from nofrost.prepare.photo import refusing_giant_images
from nofrost.prepare.pixels import reported
from nofrost.prepare.shard_splits import CHANGED, list_changes, write_shard_split
from nofrost.prepare.sources import Source, SourceData, open_source, resolve_source
from nofrost.prepare.splitting import SplitRows, mixed_rows, split_rows
from nofrost.results import DatasetMetrics, Record, write_result
from nofrost.stage import RECORD, check_output, stage_output
from nofrost.telemetry import progress
from nofrost.telemetry.metrics.exposition import exposed

Written = tuple[dict[str, SplitManifest], PixelStatistics, dict[str, str]]
"""Splits by name, the statistics of the training pixels, and what was changed, by kind."""


def run(config: DatasetSpec, out: Path) -> DatasetMetrics:
    """Make the dataset of `config` in the folder `out` and return the content of ``out/metrics.json``.

    Rows of every split are sorted by their position in the source, except for training photographs in shards: these are
    mixed, so that a few shards hold images of all classes. `mean` and `std` of the manifest are those of all
    training pixels, exact, in float64. The path of the source is not recorded, so equal content gives equal bytes.

    Raises:
        UserError: the source is missing, damaged, or too small to be split.
    """
    with exposed("prepare"), refusing_giant_images():
        source = resolve_source(config)
        view = source.shard_view()
        # before all images are looked through, which may take long
        check_output(out, stage="prepare", inputs=source.inputs(out))
        data = open_source(source)
        rows = split_rows(data, source, source.class_limit)
        for text in (*data.remarks, *_remarks(data, source)):
            say(f"prepare: {text}")
        # the result depends on the content of the source, not on its path
        settings = source.settings()
        fingerprint = {"config": settings, "source": dict(data.checksums)}
        if view:
            # what an earlier run stored is kept
            fingerprint |= {"libraries": {name: version(name) for name in source.libraries}}
        with stage_output(
            out, stage="prepare", inputs=source.inputs(out), fingerprint=fingerprint, resumable=view is not None
        ) as folder:
            write = partial(_write_shards, source, view) if view else _write_arrays
            manifest = _manifest(data, settings, view, *write(data, rows, folder))
            metrics = _metrics(manifest)
            write_manifest(folder, manifest)
            write_result(folder / "metrics.json", metrics)
            seeds = {"split": source.seed}
            record = Record.of(
                "prepare", config=settings, inputs=data.checksums, seeds=seeds, libraries=source.libraries
            )
            write_result(folder / RECORD, record)
    return metrics


def _remarks(data: SourceData, source: Source) -> Iterator[str]:
    """Yield what is without an effect, or probably not meant."""
    count = sum(len(part.labels) for part in (data.train, data.test) if part is not None)
    if source.limit is not None and source.limit > count:
        yield f"dataset.limit is {source.limit:,}, the source has {count:,} images: all of them are kept"
    largest = int(np.bincount(data.train.labels).max())
    if source.class_limit is not None and source.class_limit > largest:
        yield f"dataset.class_limit is {source.class_limit:,}, no class has more than {largest:,} images: all are kept"


def _write_arrays(source: SourceData, split: SplitRows, folder: Path) -> Written:
    statistics = PixelStatistics(source.train.shape[2])
    splits: dict[str, SplitManifest] = {}
    with progress("prepare", total=sum(len(rows) for _, rows in split.values())) as bar:
        for name in SPLITS:
            part, rows = split[name]
            batches = reported(part.read(rows), bar)
            if name == "train":
                batches = statistics.watch(batches)
            labels = part.labels[rows]
            indices = part.indices(rows)
            splits[name] = write_split(folder / name, batches, part.shape, labels, indices, len(source.classes))
        # Inside, as otherwise a line would say that the stage is done.
        _check_differences(statistics)
    return splits, statistics, {}


def _write_shards(
    config: DatasetSpec, view: EvaluationView, source: SourceData, split: SplitRows, folder: Path
) -> Written:
    statistics = PixelStatistics(source.train.shape[2])
    splits: dict[str, SplitManifest] = {}
    changes: Counter[str] = Counter()
    with progress("prepare", total=sum(len(rows) for _, rows in split.values())) as bar:
        for name in SPLITS:
            part, rows = split[name]
            if name == "train":
                rows = mixed_rows(rows, config.seed)
            splits[name], counts = write_shard_split(
                folder,
                name,
                part,
                rows,
                len(source.classes),
                shorter_side=config.shorter_side,
                view=view if name == "train" else None,
                bar=bar,
            )
            statistics.add(counts.histograms)
            changes += counts.changes
        _check_differences(statistics)
    if not changes:
        return splits, statistics, {}
    say(
        f"prepare: {changes.total():,} photographs are stored anew, as JPEGs of quality {QUALITY}: "
        f"{list_changes(changes)}"
    )
    return splits, statistics, {CHANGED: list_changes(changes)}


def _check_differences(statistics: PixelStatistics) -> None:
    for channel, deviation in enumerate(statistics.mean_and_std()[1]):
        if deviation == 0:
            raise UserError(
                f"every training pixel of channel {channel} has the same value: the images hold nothing to learn "
                "from, check dataset.path"
            )


def _manifest(
    source: SourceData,
    settings: dict[str, Any],
    view: EvaluationView | None,
    splits: dict[str, SplitManifest],
    statistics: PixelStatistics,
    changes: dict[str, str],
) -> Manifest:
    height, width, channels = source.train.shape
    mean, std = statistics.mean_and_std()
    return Manifest(
        name=source.name,
        classes=source.classes,
        image_size=(height, width),
        view=view,
        channels=channels,
        mean=mean,
        std=std,
        splits=splits,
        provenance={**source.provenance, **changes},
        licence=source.licence,
        config=settings,
    )


def _metrics(manifest: Manifest) -> DatasetMetrics:
    return DatasetMetrics(
        train_images=manifest.splits["train"].count,
        selection_images=manifest.splits["selection"].count,
        test_images=manifest.splits["test"].count,
        classes=len(manifest.classes),
        image_size=manifest.image_size,
        channels=manifest.channels,
    )
