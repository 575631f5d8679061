"""Datasets: whether files, checksums, labels and statistics are what the manifest says."""

from collections.abc import Collection
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nofrost.data import SPLITS, Manifest, SplitManifest
from nofrost.data.arrays import read_array
from nofrost.data.manifest import MANIFEST
from nofrost.data.pixel_statistics import PixelStatistics
from nofrost.data.split import OPTIONAL
from nofrost.errors import shortened
from nofrost.files import sha256_file
from nofrost.telemetry import Progress, progress
from nofrost.verify.faults import Faults, check_files
from nofrost.verify.shard_records import ShardSet, check_shards

# Sources whose classes are sorted by name, as their folders are.
_SORTED = ("folder", "imagenet")
_EXACT = 1e-9  # largest difference of a mean
_OF_PHOTOGRAPHS = 2e-3  # other builds of libjpeg decode a little differently
_BATCH_BYTES = 1 << 24


def check_dataset(folder: Path, manifest: Manifest, faults: Faults, others: Collection[str] = ()) -> None:
    """Note all faults of a dataset; `others` are files beside its manifest."""
    if len(set(manifest.classes)) < len(manifest.classes):
        faults.add(folder / MANIFEST, "names a class twice")
    is_chosen = manifest.config.get("classes") is not None
    if (
        manifest.config.get("source") in _SORTED
        and not is_chosen
        and list(manifest.classes) != sorted(manifest.classes)
    ):
        faults.add(folder / MANIFEST, "classes are not in the order of their names, so labels mean others")
    indices: dict[str, NDArray[np.int64]] = {}
    with progress("verify", total=sum(split.count for split in manifest.splits.values())) as bar:
        for name, split in manifest.splits.items():
            numbers = _check_split(folder, name, manifest, split, faults, bar)
            if numbers is not None:
                indices[name] = numbers
    check_files(folder, {MANIFEST, *others}, set(manifest.splits), faults)
    if {"train", "selection"} <= indices.keys():
        common = np.intersect1d(indices["train"], indices["selection"])
        if len(common):
            faults.add(folder, f"{len(common):,} images are in train and in selection: index {common[0]} is the first")
    if "train" in manifest.splits and set(manifest.splits) != set(SPLITS):
        for name in sorted(set(SPLITS) - set(manifest.splits)):
            faults.add(folder / MANIFEST, f"has no split {name}")


def _check_split(
    folder: Path, name: str, manifest: Manifest, split: SplitManifest, faults: Faults, bar: Progress
) -> NDArray[np.int64] | None:
    """Note the faults of a split; return its source indices, if they can be read."""
    place = folder / name
    classes = manifest.label_classes
    optional = sorted(split.sha256.keys() & set(OPTIONAL))
    files = {"labels", "indices", "index" if manifest.view else "images", *optional}
    shards = {shard.name for shard in split.shards}
    check_files(place, {*(f"{key}.npy" for key in files), *shards}, (), faults)
    for key in sorted(files - split.sha256.keys()):
        faults.add(folder / MANIFEST, f"splits.{name}.sha256 lacks {key}")
    numbers = {key: _numbers(place / f"{key}.npy", split.count, faults) for key in ("labels", "indices")}
    labels, indices = numbers["labels"], numbers["indices"]
    for key in optional:
        _check_further(place / f"{key}.npy", split.count, len(classes), faults)
    if labels is not None:
        if int(labels.min(initial=0)) < 0 or int(labels.max(initial=0)) >= len(classes):
            faults.add(place / "labels.npy", f"has labels that are not from 0 to {len(classes) - 1}")
        counts = np.bincount(labels[(labels >= 0) & (labels < len(classes))], minlength=len(classes))
        if tuple(counts.tolist()) != split.class_counts:
            wrong = int(np.flatnonzero(counts != np.array(split.class_counts))[0])
            faults.add(
                place / "labels.npy",
                f"has {counts[wrong]:,} images of class {shortened(classes[wrong])}, the manifest says "
                f"{split.class_counts[wrong]:,}",
            )
    if indices is not None and len(np.unique(indices)) < len(indices):
        faults.add(place / "indices.npy", "names an image twice")
    is_train = name == "train"
    if manifest.view:
        photographs = ShardSet(
            place, split.shards, split.count, manifest.channels, labels, manifest.view if is_train else None
        )
        statistics = check_shards(photographs, faults, bar)
    else:
        statistics = _check_images(place / "images.npy", (split.count, *manifest.image_size, manifest.channels), faults)
        bar.advance(split.count)
    check_checksums(place, split.sha256, faults)
    if is_train and statistics is not None and split.count:
        _check_statistics(folder, manifest, statistics, faults)
    return indices


def _numbers(path: Path, count: int, faults: Faults) -> NDArray[np.int64] | None:
    with faults.noting(path):
        numbers = read_array(path)
        if numbers.dtype == np.int64 and numbers.shape == (count,):
            return numbers
        faults.add(path, f"holds {numbers.dtype} {list(numbers.shape)}, the manifest says int64 [{count}]")
    return None


def _check_further(path: Path, count: int, n_classes: int, faults: Faults) -> None:
    """Note the faults of an array of classes beside the labels: int64 [N], or [N, K] padded with -1 (accepted)."""
    with faults.noting(path):
        numbers = read_array(path)
        is_padded = path.stem == "accepted"
        if numbers.dtype != np.int64 or numbers.shape[:1] != (count,) or numbers.ndim != 1 + is_padded:
            shape = f"[{count}, K]" if is_padded else f"[{count}]"
            faults.add(path, f"holds {numbers.dtype} {list(numbers.shape)}, the manifest says int64 {shape}")
        elif int(numbers.min(initial=0)) < -int(is_padded) or int(numbers.max(initial=0)) >= n_classes:
            faults.add(path, f"has classes that are not from 0 to {n_classes - 1}")


def _check_images(path: Path, shape: tuple[int, ...], faults: Faults) -> PixelStatistics | None:
    with faults.noting(path):
        images = read_array(path)
        if images.dtype != np.uint8 or images.shape != shape:
            faults.add(path, f"holds {images.dtype} {list(images.shape)}, the manifest says uint8 {list(shape)}")
            return None
        faults.images += len(images)
        statistics = PixelStatistics(shape[3])
        step = max(1, _BATCH_BYTES // int(np.prod(shape[1:])))
        for _ in statistics.watch(images[start : start + step] for start in range(0, len(images), step)):
            pass
        return statistics
    return None


def check_checksums(folder: Path, sha256: dict[str, str], faults: Faults) -> None:
    for key, expected in sha256.items():
        path = folder / f"{key}.npy"
        if path.is_file():
            with faults.noting(path):
                if sha256_file(path) != expected:
                    faults.add(path, "is damaged or another file: its SHA-256 is not that of the manifest")


def _check_statistics(folder: Path, manifest: Manifest, statistics: PixelStatistics, faults: Faults) -> None:
    most = _OF_PHOTOGRAPHS if manifest.view else _EXACT
    for key, said, found in zip(("mean", "std"), (manifest.mean, manifest.std), statistics.mean_and_std(), strict=True):
        if not np.allclose(said, found, rtol=0, atol=most):
            shown = (", ".join(f"{value:.4f}" for value in values) for values in (said, found))
            faults.add(folder / MANIFEST, "{} is {}, of the training images it is {}".format(key, *shown))
