"""The published sets themselves, where the machine has them in ../shared/data beside the repository."""

from __future__ import annotations

import subprocess
import sys
from collections import deque
from pathlib import Path

import numpy as np
import pytest

from nofrost.config import DatasetSpec, EvaluationView
from nofrost.data import Photographs, read_split
from nofrost.data.pixel_statistics import PixelStatistics
from nofrost.prepare import run
from nofrost.prepare.sources import open_source, resolve_source
from nofrost.verify import verify

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"


def needs(name: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(not (DATA / name).exists(), reason=f"needs {name} in ../shared/data")


@pytest.mark.slow
@needs("cifar10/unpack.py")
def test_cifar10_has_its_published_counts_and_statistics(tmp_path: Path) -> None:
    subprocess.run([sys.executable, DATA / "cifar10" / "unpack.py", tmp_path], check=True, capture_output=True)
    source = open_source(resolve_source(DatasetSpec(source="cifar10", path=str(tmp_path))))
    assert source.test is not None
    assert np.bincount(source.train.labels).tolist() == [5000] * 10
    assert np.bincount(source.test.labels).tolist() == [1000] * 10
    statistics = PixelStatistics(3)
    deque(statistics.watch(source.train.read(np.arange(50_000))), maxlen=0)
    mean, std = statistics.mean_and_std()
    assert mean == pytest.approx([0.49139968, 0.48215841, 0.44653091], abs=1e-8)
    assert std == pytest.approx([0.24703223, 0.24348513, 0.26158784], abs=1e-8)


@needs("mnist")
def test_mnist_has_its_published_counts(tmp_path: Path) -> None:
    metrics = run(DatasetSpec(source="mnist", path=str(DATA / "mnist")), tmp_path / "out")
    assert metrics.as_json() == {
        "train_images": 54_000,
        "selection_images": 6_000,
        "test_images": 10_000,
        "classes": 10,
        "image_size": [28, 28],
        "channels": 1,
    }


@needs("mnist")
def test_mnist_has_its_published_statistics() -> None:
    source = open_source(resolve_source(DatasetSpec(source="mnist", path=str(DATA / "mnist"))))
    assert source.test is not None
    assert np.bincount(source.train.labels)[[3, 7]].tolist() == [6131, 6265]
    assert np.bincount(source.test.labels)[[3, 7]].tolist() == [1010, 1028]
    statistics = PixelStatistics(1)
    deque(statistics.watch(source.train.read(np.arange(60_000))), maxlen=0)
    mean, std = statistics.mean_and_std()
    assert (mean[0], std[0]) == pytest.approx((0.1307, 0.3081), abs=1e-4)


@needs("imagenette-mini")
def test_photographs_keep_the_test_split_of_the_source(tmp_path: Path) -> None:
    metrics = run(DatasetSpec(source="folder", path=str(DATA / "imagenette-mini"), image_size=48), tmp_path / "out")
    assert (metrics.train_images, metrics.selection_images, metrics.test_images) == (450, 50, 500)
    assert metrics.channels == 3


@pytest.mark.slow
@needs("imagenette-mini")
def test_the_photographs_of_imagenette_are_stored_byte_for_byte(tmp_path: Path) -> None:
    path = DATA / "imagenette-mini"
    run(DatasetSpec(source="folder", path=str(path), view=EvaluationView()), tmp_path / "out")
    for name, folder in (("train", "train"), ("selection", "train"), ("test", "val")):
        split, files = read_split(tmp_path / "out", name), sorted((path / folder).rglob("*.JPEG"))
        assert isinstance(split.images, Photographs)
        for row, index in enumerate(split.indices):
            assert split.images.encoded(row) == files[index].read_bytes()
    assert verify(tmp_path / "out").lines == []
