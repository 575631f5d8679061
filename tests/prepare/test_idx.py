from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from nofrost.config import DatasetSpec
from nofrost.data import read_split
from nofrost.errors import UserError
from nofrost.prepare import run
from nofrost.prepare.sources import SourceData, open_source, resolve_source
from nofrost.prepare.sources.idx import open_idx

IMAGES = np.random.default_rng(0).integers(0, 256, (12, 5, 4), dtype=np.uint8)
LABELS = (np.arange(12) % 3).astype(np.uint8)


def encoded(array: np.ndarray, kind: int = 0x08) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, kind, array.ndim, *array.shape) + array.tobytes()


def write(folder: Path, images: np.ndarray = IMAGES, suffix: str = "", dot: str = "-", prefix: str = "") -> None:
    for part, count in (("train", 12), ("t10k", 6)):
        for kind, array in (("images", images), ("labels", LABELS)):
            file = folder / f"{prefix}{part}-{kind}{dot}idx{array.ndim}-ubyte{suffix}"
            content = encoded(array[:count])
            file.write_bytes(gzip.compress(content) if suffix else content)


def opened(path: Path) -> SourceData:
    return open_source(resolve_source(DatasetSpec(source="idx", path=str(path))))


@pytest.mark.parametrize(("suffix", "dot", "prefix"), [("", "-", ""), (".gz", "-", ""), (".gz", ".", "emnist-")])
def test_files_as_published_become_a_dataset(tmp_path: Path, suffix: str, dot: str, prefix: str) -> None:
    (tmp_path / "in").mkdir()
    write(tmp_path / "in", suffix=suffix, dot=dot, prefix=prefix)
    run(DatasetSpec(source="idx", path=str(tmp_path / "in")), tmp_path / "out")
    train, test = read_split(tmp_path / "out", "train"), read_split(tmp_path / "out", "test")
    np.testing.assert_array_equal(train.images[..., 0], IMAGES[train.indices])
    np.testing.assert_array_equal(train.labels, LABELS[train.indices])
    np.testing.assert_array_equal(test.images[..., 0], IMAGES[:6])


def test_four_dimensions_hold_colour_images(tmp_path: Path) -> None:
    write(tmp_path, images=np.stack([IMAGES, IMAGES, IMAGES // 2], axis=-1))
    assert opened(tmp_path).train.shape == (5, 4, 3)


def test_without_test_files_the_source_has_no_test_split(tmp_path: Path) -> None:
    write(tmp_path)
    for file in tmp_path.glob("t10k-*"):
        file.unlink()
    assert opened(tmp_path).test is None


def test_a_file_beside_its_archive_is_no_conflict(tmp_path: Path) -> None:
    write(tmp_path)
    write(tmp_path, suffix=".gz")
    assert all(not name.endswith(".gz") for name in opened(tmp_path).checksums)


def test_two_candidates_for_one_part_are_ambiguous(tmp_path: Path) -> None:
    write(tmp_path)
    write(tmp_path, dot=".")
    with pytest.raises(UserError, match="keep the one that is meant"):
        opened(tmp_path)


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("train-labels-idx1-ubyte", "no file of train-labels"),
        ("t10k-images-idx3-ubyte", "stands alone: add the images"),
    ],
)
def test_a_missing_file_is_named(tmp_path: Path, missing: str, message: str) -> None:
    write(tmp_path)
    (tmp_path / missing).unlink()
    with pytest.raises(UserError, match=message):
        opened(tmp_path)


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("keep", [0.0, 0.02, 0.5, 0.99])
def test_a_cut_off_file_is_named(tmp_path: Path, suffix: str, keep: float) -> None:
    write(tmp_path, suffix=suffix)
    file = tmp_path / f"train-images-idx3-ubyte{suffix}"
    whole = file.read_bytes()
    file.write_bytes(whole[: int(len(whole) * keep)])
    with pytest.raises(UserError, match=f"{file} (is cut off|does not begin)"):
        opened(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PK\x03\x04" + bytes(40), "does not begin like an IDX file"),
        (encoded(LABELS, kind=0x0D), "does not begin like an IDX file of whole numbers"),
        (encoded(LABELS) + b"\0", "is longer than its header says"),
        (struct.pack(">HBB3I", 0, 8, 3, 2**32 - 1, 2**32 - 1, 2**32 - 1), "is cut off"),
    ],
)
def test_a_file_that_contradicts_its_header_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "some-file").write_bytes(content)
    with pytest.raises(UserError, match=message):
        open_idx(tmp_path / "some-file").whole()


@pytest.mark.parametrize(("kind", "dtype"), [(0x08, ">u1"), (0x09, ">i1"), (0x0B, ">i2"), (0x0C, ">i4")])
def test_whole_numbers_of_every_size_are_read(tmp_path: Path, kind: int, dtype: str) -> None:
    array = np.array([[0, 1, 100], [5, 6, 7]], dtype=dtype)
    (tmp_path / "array").write_bytes(encoded(array, kind))
    np.testing.assert_array_equal(open_idx(tmp_path / "array").whole(), array)


def test_labels_and_images_must_be_equally_many(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(encoded(LABELS[:11]))
    with pytest.raises(UserError, match="one label for each of 12 images"):
        opened(tmp_path)
