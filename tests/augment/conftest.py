"""What the tests of augment share: small real datasets, and the bytes of a folder."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from nofrost.data import Manifest, write_manifest, write_split


@pytest.fixture(scope="session")
def make_dataset() -> Callable[..., Path]:
    """Return a function that writes handwritten digits of 8 x 8 pixels (in colour on request) as a dataset."""

    def make(folder: Path, count: int = 96, channels: int = 1) -> Path:
        values, labels = load_digits(return_X_y=True)
        images = np.rint(values.reshape(-1, 8, 8, 1) * 255 / 16).astype(np.uint8)
        if channels == 3:
            images = np.concatenate([images, 255 - images, images.transpose(0, 2, 1, 3)], axis=3)
        splits = {}
        for number, name in enumerate(("train", "selection", "test")):
            rows = np.arange(number * count, (number + 1) * count)
            splits[name] = write_split(
                folder / name, iter([images[rows]]), images.shape[1:], labels[rows].astype(np.int64), rows, 10
            )
        manifest = Manifest(
            name="digits",
            classes=tuple("0123456789"),
            image_size=(8, 8),
            channels=channels,
            mean=(0.3,) * channels,
            std=(0.3,) * channels,
            splits=splits,
            provenance={},
            licence="CC BY 4.0",
            config={},
        )
        write_manifest(folder, manifest)
        return folder

    return make


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory, make_dataset: Callable[..., Path]) -> Path:
    return make_dataset(tmp_path_factory.mktemp("dataset") / "digits")


@pytest.fixture(scope="session")
def folder_bytes() -> Callable[[Path], dict[str, str]]:
    """Return a function that gives the SHA-256 of every file of a folder by its relative path."""

    def digests(folder: Path) -> dict[str, str]:
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    return digests
