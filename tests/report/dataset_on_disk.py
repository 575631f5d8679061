"""The handwritten digits, as a dataset and as augmentation sets on disk."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

from nofrost.data import Manifest, checksum, write_manifest, write_split
from nofrost.data.augmentation_set import AugmentationManifest, write_augmentation_manifest

CLASSES = ("<zero> & co", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@functools.cache
def digits(size: int = 16) -> tuple[np.ndarray, np.ndarray]:
    bunch = load_digits()
    images = np.repeat(np.repeat(bunch.images, size // 8, 1), size // 8, 2)
    return (images * 255 / 16).round().astype(np.uint8)[..., None], bunch.target.astype(np.int64)


def make_dataset(folder: Path, test_images: int = 360) -> Path:
    images, labels = digits()
    splits = {}
    bounds = {"test": (0, test_images), "selection": (360, 504), "train": (504, 1797)}
    for name in ("train", "selection", "test"):
        rows = slice(*bounds[name])
        indices = np.arange(rows.start, rows.stop)
        splits[name] = write_split(folder / name, [images[rows]], (16, 16, 1), labels[rows], indices, 10)
    manifest = Manifest(
        name="digits",
        classes=CLASSES,
        image_size=(16, 16),
        channels=1,
        mean=(0.31,),
        std=(0.38,),
        splits=splits,
        provenance={"origin": "scikit-learn load_digits (Alpaydin & Kaynak 1998)", "digits": f"sha256:{'ab' * 32}"},
        licence="CC BY 4.0",
        config={},
    )
    write_manifest(folder, manifest)
    return folder


def make_augmentation(folder: Path, dataset: Path) -> Path:
    images, _ = digits()
    sets = {"deepaugment": 255 - images[504:], "tda": images[504:, ::-1]}
    for method, pixels in sets.items():
        (folder / method).mkdir(parents=True)
        np.save(folder / method / "images.npy", pixels)
    manifest = AugmentationManifest(
        dataset=checksum(dataset), count=1293, sha256=dict.fromkeys(sets, "0" * 64), provenance={}, config={}
    )
    write_augmentation_manifest(folder, manifest)
    return folder
