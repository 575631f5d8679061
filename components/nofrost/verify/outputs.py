"""Outputs of prepare and augment: which kind one is, its record, and its augmentation sets."""

from pathlib import Path
from typing import Any

import numpy as np

from nofrost.data import AugmentationManifest, Manifest, read_manifest
from nofrost.data.arrays import read_array
from nofrost.data.augmentation_set import read_augmentation_manifest
from nofrost.data.manifest import MANIFEST
from nofrost.files import read_json
from nofrost.results import DatasetMetrics, Record, TestSetsMetrics, read_result
from nofrost.stage import RECORD
from nofrost.telemetry import progress
from nofrost.verify.faults import Faults, check_files
from nofrost.verify.shard_records import ShardSet, check_shards
from nofrost.verify.splits import check_checksums, check_dataset

METRICS = "metrics.json"


def verify(folder: Path) -> Faults:
    """Return all faults of the dataset, the test sets or the augmentation sets in `folder`, each in a line.

    All files are read, all photographs decoded, and the statistics of the training images compared.

    Raises:
        UserError: there is no such output, or its manifest cannot be read.
    """
    faults = Faults(folder)
    test_sets = [] if (folder / MANIFEST).exists() or not folder.is_dir() else _test_sets(folder)
    _check_record(folder, faults)
    if test_sets:
        for test_set in test_sets:
            with faults.noting(test_set / MANIFEST):
                check_dataset(test_set, read_manifest(test_set), faults)
        with faults.noting(folder / METRICS):
            made = read_result(TestSetsMetrics, folder / METRICS).test_images
            check_files(folder, {RECORD, METRICS}, set(made), faults)
            for name in made.keys() - {path.name for path in test_sets}:
                faults.add(folder / name / MANIFEST, "is missing")
    elif _holds_augmentation_sets(folder):
        _check_augmentation(folder, read_augmentation_manifest(folder), faults)
    else:
        manifest = read_manifest(folder)
        check_dataset(folder, manifest, faults, {RECORD, METRICS})
        _check_metrics(folder, manifest, faults)
    return faults


def _test_sets(folder: Path) -> list[Path]:
    return sorted(path.parent for path in folder.glob(f"*/{MANIFEST}"))


def _holds_augmentation_sets(folder: Path) -> bool:
    manifest = read_json(folder / MANIFEST) if (folder / MANIFEST).exists() else None
    return isinstance(manifest, dict) and "dataset" in manifest


def _check_record(folder: Path, faults: Faults) -> None:
    with faults.noting(folder / RECORD):
        read_result(Record, folder / RECORD)


def _check_metrics(folder: Path, manifest: Manifest, faults: Faults) -> None:
    with faults.noting(folder / METRICS):
        metrics = read_result(DatasetMetrics, folder / METRICS)
        said: dict[str, Any] = {f"{name}_images": split.count for name, split in manifest.splits.items()}
        said |= {
            "classes": len(manifest.classes),
            "image_size": manifest.image_size,
            "channels": manifest.channels,
        }
        for key, value in said.items():
            if getattr(metrics, key) != value:
                faults.add(folder / METRICS, f"{key} is {getattr(metrics, key)}, the manifest says {value}")


def _check_augmentation(folder: Path, manifest: AugmentationManifest, faults: Faults) -> None:
    with progress("verify", total=manifest.count * len(manifest.sha256)) as bar:
        for method, sha256 in manifest.sha256.items():
            place, shards = folder / method, manifest.shards.get(method, ())
            if shards and manifest.channels:
                check_files(place, {"index.npy", *(shard.name for shard in shards)}, (), faults)
                check_shards(ShardSet(place, shards, manifest.count, manifest.channels), faults, bar)
                check_checksums(place, {"index": sha256}, faults)
                continue
            check_files(place, {"images.npy"}, (), faults)
            with faults.noting(place / "images.npy"):
                images = read_array(place / "images.npy")
                if images.dtype != np.uint8 or images.ndim != 4 or len(images) != manifest.count:
                    what = f"{images.dtype} {list(images.shape)}"
                    faults.add(place / "images.npy", f"holds {what}, it must be uint8 [{manifest.count}, H, W, C]")
                faults.images += len(images)
            check_checksums(place, {"images": sha256}, faults)
            bar.advance(manifest.count)
    check_files(folder, {MANIFEST, RECORD, METRICS}, set(manifest.sha256), faults)
