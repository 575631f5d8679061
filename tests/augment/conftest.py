"""What the tests of augment share: small real datasets, and the bytes of a folder."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from nofrost.config.evaluation_view import EvaluationView
from nofrost.data import Manifest, SplitManifest, write_manifest, write_split
from nofrost.data.arrays import write_array
from nofrost.data.jpeg import encode_jpeg
from nofrost.data.shards.writer import Photograph, ShardWriter
from nofrost.files import sha256_file


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


@pytest.fixture(scope="session")
def make_photographs() -> Callable[..., Path]:
    """Return a function that writes a dataset of photographs of different sizes, 34 for training, as shards."""

    def make(folder: Path, channels: int = 3) -> Path:
        view, splits = EvaluationView(resize=24, crop=20), {}
        random = np.random.default_rng(0)
        for name, count in (("train", 34), ("selection", 2), ("test", 2)):
            labels = np.arange(count, dtype=np.int64) % 2
            writer = ShardWriter(folder / name, name, shard_bytes=20_000)
            records = []
            for label in labels.tolist():
                height, width = random.integers(26, 44, 2).tolist()
                coarse = random.integers(0, 256, (5, 6, 3), dtype=np.uint8)
                image = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
                content = encode_jpeg(image.convert("L") if channels == 1 else image)
                records.append(Photograph(content, label, (height, width)))
            list(writer.write(records))
            shards = writer.finish()[1]
            for key, numbers in (("labels", labels), ("indices", np.arange(count))):
                write_array(folder / name / f"{key}.npy", [numbers], numbers.shape, np.dtype(np.int64))
            files = ("index", "labels", "indices")
            splits[name] = SplitManifest(
                count=count,
                class_counts=tuple(np.bincount(labels, minlength=2).tolist()),
                sha256={key: sha256_file(folder / name / f"{key}.npy") for key in files},
                shards=shards,
            )
        manifest = Manifest(
            name="photographs",
            classes=("even", "odd"),
            image_size=(20, 20),
            view=view,
            channels=channels,
            mean=(0.5,) * channels,
            std=(0.3,) * channels,
            splits=splits,
            provenance={},
            licence="CC0",
            config={},
        )
        write_manifest(folder, manifest)
        return folder

    return make
