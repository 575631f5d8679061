from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nofrost.config import DatasetSpec
from nofrost.data import read_manifest, read_split
from nofrost.errors import UserError
from nofrost.prepare import run
from nofrost.prepare.sources import SourceData, open_source, resolve_source, streamed

IMAGES = np.random.default_rng(0).integers(0, 256, (12, 5, 4, 3), dtype=np.uint8)
LABELS = np.arange(12) % 3


def saved(path: Path, **arrays: Any) -> Path:
    np.savez(path / "data.npz", **arrays)
    return path / "data.npz"


def opened(path: Path) -> SourceData:
    return open_source(resolve_source(DatasetSpec(source="npz", path=str(path))))


def images_of(source: SourceData) -> np.ndarray:
    return np.concatenate(list(source.train.read(np.arange(len(source.train.labels)))))


@pytest.mark.parametrize("as_folder", [False, True])
def test_arrays_become_a_dataset(tmp_path: Path, as_folder: bool) -> None:
    (tmp_path / "in").mkdir()
    file = saved(tmp_path / "in", images=IMAGES, labels=LABELS, classes=["x", "y", "z"])
    run(DatasetSpec(source="npz", path=str(tmp_path / "in" if as_folder else file)), tmp_path / "out")
    manifest = read_manifest(tmp_path / "out")
    assert (manifest.name, manifest.classes, manifest.image_size, manifest.channels) == (
        "data", ("x", "y", "z"), (5, 4), 3,
    )  # fmt: skip
    train = read_split(tmp_path / "out", "train")
    np.testing.assert_array_equal(train.images, IMAGES[train.indices])


def test_the_keys_of_keras_have_a_test_split(tmp_path: Path) -> None:
    file = saved(tmp_path, x_train=IMAGES, y_train=LABELS[:, None], x_test=IMAGES[:3], y_test=LABELS[:3, None])
    source = opened(file)
    assert source.classes == ("0", "1", "2")
    assert source.train.labels.tolist() == LABELS.tolist()
    assert source.test is not None
    assert source.test.labels.tolist() == [0, 1, 2]


def test_the_keys_of_medmnist_have_a_test_split(tmp_path: Path) -> None:
    parts = {"train": (IMAGES, LABELS), "val": (IMAGES[:3], LABELS[:3]), "test": (IMAGES[6:], LABELS[6:])}
    arrays = {f"{part}_images": images for part, (images, _) in parts.items()}
    arrays |= {f"{part}_labels": labels[:, None].astype(np.uint8) for part, (_, labels) in parts.items()}
    source = opened(saved(tmp_path, **arrays))
    assert source.train.labels.tolist() == LABELS.tolist()
    assert source.test is not None
    assert source.test.labels.tolist() == LABELS[6:].tolist()
    assert source.remarks == ("the arrays val_images, val_labels of data.npz are left out",)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("shape", [(12, 5, 4), (12, 5, 4, 3), (12, 1, 1)])
@pytest.mark.parametrize("rows_in_memory", [1, 5, 100])
def test_arrays_in_fortrans_order_are_read_row_by_row(
    tmp_path: Path, compressed: bool, shape: tuple[int, ...], rows_in_memory: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = np.random.default_rng(1).random(shape)
    row_bytes = images.nbytes // 12
    monkeypatch.setattr(streamed, "_FORTRAN_BYTES", rows_in_memory * row_bytes)
    monkeypatch.setattr(streamed, "_BATCH_BYTES", 200)
    save = np.savez_compressed if compressed else np.savez
    save(tmp_path / "data.npz", images=np.asfortranarray(images), labels=np.asfortranarray(LABELS[:, None]))
    source = opened(tmp_path / "data.npz")
    expected = np.rint(images * 255).reshape(12, *shape[1:3], -1)
    np.testing.assert_array_equal(images_of(source), expected)
    rows = np.array([0, 4, 5, 11])
    np.testing.assert_array_equal(np.concatenate(list(source.train.read(rows))), expected[rows])


def test_arrays_in_fortrans_order_have_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streamed, "_FORTRAN_BYTES", 10)
    with pytest.raises(UserError, match=r"images is in Fortran's order, of which at most 640 bytes can be read"):
        opened(saved(tmp_path, images=np.asfortranarray(IMAGES), labels=LABELS))


def test_images_without_a_channel_axis_are_grey(tmp_path: Path) -> None:
    source = opened(saved(tmp_path, images=IMAGES[..., 0], labels=LABELS))
    np.testing.assert_array_equal(images_of(source), IMAGES[..., :1])


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floats_between_0_and_1_are_rounded_to_levels(tmp_path: Path, dtype: Any) -> None:
    source = opened(saved(tmp_path, images=(IMAGES / 255).astype(dtype), labels=LABELS))
    np.testing.assert_array_equal(images_of(source), IMAGES)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": IMAGES}, "holds the arrays images: it needs images and labels"),
        ({"pictures": IMAGES, "labels": LABELS}, "holds the arrays labels, pictures: it needs"),
        ({"images": IMAGES, "labels": LABELS, "test_images": IMAGES}, "only one of test_images and test_labels"),
        ({"images": IMAGES[0, 0], "labels": LABELS}, r"images has shape \(4, 3\): images must be"),
        ({"images": IMAGES[..., :2], "labels": LABELS}, r"shape \(12, 5, 4, 2\): .* 1 or 3 channels"),
        ({"images": IMAGES[:0], "labels": LABELS[:0]}, r"shape \(0, 5, 4, 3\), so it holds no images"),
        ({"images": IMAGES.astype(int), "labels": LABELS}, "images is int64: images must be uint8, or floats"),
        ({"images": IMAGES / 200, "labels": LABELS}, r"from 0 to 1\.275: float images must lie in \[0, 1\]"),
        ({"images": IMAGES * np.nan, "labels": LABELS}, "from nan to nan"),
        ({"images": IMAGES, "labels": LABELS[:5]}, "one label for each of 12 images"),
        ({"images": IMAGES, "labels": LABELS / 2}, "labels is float64: labels must be whole numbers"),
        ({"images": IMAGES, "labels": np.where(np.arange(12) > 6, -1, LABELS)}, "row 7 is -1"),
        ({"images": IMAGES, "labels": LABELS, "classes": ["x", "y"]}, "row 2 is 2: with 2 classes .* 0 to 1"),
        ({"images": IMAGES, "labels": LABELS + 10**12}, "row 0 is 1000000000000: with 12 images"),
        ({"images": IMAGES, "labels": LABELS, "classes": [1, 2, 3]}, "classes is int64"),
        ({"images": IMAGES, "labels": LABELS, "classes": ["x", "y", "x"]}, "names a class twice"),
        ({"images": IMAGES, "labels": LABELS, "test_images": IMAGES[:, 1:], "test_labels": LABELS}, "make them alike"),
    ],
)
def test_wrong_arrays_are_refused_with_the_reason(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        opened(saved(tmp_path, **arrays))


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("second", ["images.npy", "images"])
def test_two_arrays_of_one_name_are_refused(tmp_path: Path, second: str) -> None:
    file = saved(tmp_path, images=IMAGES, labels=LABELS)
    np.save(tmp_path / "other.npy", 255 - IMAGES)
    with zipfile.ZipFile(file, "a") as archive:
        archive.write(tmp_path / "other.npy", second)
    with pytest.raises(UserError, match="holds two arrays called images: keep the one that is meant"):
        opened(file)


def test_two_archives_in_a_folder_are_ambiguous(tmp_path: Path) -> None:
    saved(tmp_path, images=IMAGES, labels=LABELS)
    np.savez(tmp_path / "other.npz", images=IMAGES)
    with pytest.raises(UserError, match=r"holds 2 \.npz files: name one"):
        opened(tmp_path)


class Marker:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def test_a_pickle_inside_is_refused_and_not_run(tmp_path: Path) -> None:
    labels = np.array([Marker(tmp_path / "run")] * 12, dtype=object)
    with pytest.raises(UserError, match=r"not a \.npz file of plain arrays"):
        opened(saved(tmp_path, images=IMAGES, labels=labels))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("damage", ["cut", "empty", "noise", "single array"])
def test_a_damaged_file_is_named(tmp_path: Path, damage: str) -> None:
    file = saved(tmp_path, images=IMAGES, labels=LABELS)
    if damage == "single array":
        with file.open("wb") as stream:
            np.save(stream, IMAGES)
    else:
        whole = file.read_bytes()
        file.write_bytes({"cut": whole[: len(whole) // 2], "empty": b"", "noise": bytes(range(256))}[damage])
    with pytest.raises(UserError, match=r"data\.npz (is cut off|holds a single array)"):
        opened(file)


def test_a_dataset_may_be_written_beside_its_archive_again_and_again(tmp_path: Path) -> None:
    saved(tmp_path, images=IMAGES, labels=LABELS)
    for _ in range(2):
        run(DatasetSpec(source="npz", path=str(tmp_path)), tmp_path / "dataset")
    assert read_manifest(tmp_path / "dataset").classes == ("0", "1", "2")
