"""Splits come back from disk as they were written, and damage is an error."""

from __future__ import annotations

import io
import os
import pickle
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as stnp
from numpy.typing import NDArray

from nofrost.data import Manifest, from_tensor, read_split, to_tensor, write_images, write_manifest, write_split
from nofrost.data.arrays import read_array
from nofrost.errors import UserError

Images = NDArray[np.uint8]
CLASSES = ("cat", "dog", "eel")
few = settings(deadline=None, max_examples=40)
image_shapes = st.tuples(st.integers(1, 9), st.integers(1, 7), st.integers(1, 5), st.sampled_from([1, 3]))


def make(folder: Path, images: Images, labels: list[int] | None = None, chunk: int = 3) -> Path:
    """Write a dataset with one split, `test`, in batches of `chunk`, and return its folder."""
    kinds = np.array(labels if labels is not None else np.arange(len(images)) % len(CLASSES), dtype=np.int64)
    split = write_split(
        folder / "test", chunks(images, chunk), images.shape[1:], kinds, np.arange(len(images)) + 100, len(CLASSES)
    )
    manifest = Manifest(
        name="made", classes=CLASSES, image_size=images.shape[1:3], channels=images.shape[3],
        mean=(0.5,) * images.shape[3],
        std=(0.1,) * images.shape[3], splits={"test": split}, provenance={"source": "here"}, licence="none",
        config={"limit": 3},
    )  # fmt: skip
    write_manifest(folder, manifest)
    return folder


def chunks(images: Images, size: int) -> Iterator[Images]:
    return (images[start : start + size] for start in range(0, len(images), size))


def pixels(count: int = 6, height: int = 4, width: int = 3, channels: int = 3) -> Images:
    return np.random.default_rng(0).integers(0, 256, (count, height, width, channels), dtype=np.uint8)


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return make(tmp_path / "dataset", pixels())


@few
@given(
    images=image_shapes.flatmap(lambda shape: stnp.arrays(np.uint8, shape)), chunk=st.integers(1, 10), data=st.data()
)
def test_a_split_comes_back_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, images: Images, chunk: int, data: st.DataObject
) -> None:
    labels = data.draw(st.lists(st.integers(0, 2), min_size=len(images), max_size=len(images)))
    folder = make(tmp_path_factory.mktemp("dataset"), images, labels, chunk)
    split = read_split(folder, "test", verify=True)
    np.testing.assert_array_equal(split.images, images)
    np.testing.assert_array_equal(split.labels, labels)
    np.testing.assert_array_equal(split.indices, np.arange(len(images)) + 100)
    assert (split.images.dtype, split.labels.dtype, split.indices.dtype) == (np.uint8, np.int64, np.int64)
    assert len(split) == len(images)
    assert isinstance(split.images, np.memmap)


@given(stnp.arrays(np.uint8, image_shapes))
@settings(deadline=None)
def test_pixels_survive_the_way_to_a_tensor_and_back(images: Images) -> None:
    tensor = to_tensor(images)
    assert tensor.dtype == torch.float32
    assert tensor.is_contiguous()
    assert tensor.shape == (len(images), images.shape[3], *images.shape[1:3])
    np.testing.assert_array_equal(from_tensor(tensor), images)


def test_every_level_is_its_exact_share_of_255() -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    expected = (np.arange(256, dtype=np.float64) / 255).astype(np.float32)
    np.testing.assert_array_equal(to_tensor(levels).numpy().ravel(), expected)


def test_a_pixel_keeps_its_place_and_channel() -> None:
    images = np.zeros((2, 4, 3, 3), dtype=np.uint8)
    images[1, 3, 2, 0] = 255
    tensor = to_tensor(images)
    assert tensor[1, 0, 3, 2] == 1
    assert tensor.sum() == 1


@pytest.mark.parametrize("view", [lambda a: a[::2], lambda a: a[::-1], lambda a: a[:, :, ::-1], lambda a: a[:0]])
def test_any_view_of_images_becomes_a_tensor_of_its_own(view: Callable[[Images], Images]) -> None:
    images = pixels()
    tensor = to_tensor(view(images))
    np.testing.assert_array_equal(from_tensor(tensor), view(images))
    before = images.copy()
    tensor.zero_()
    np.testing.assert_array_equal(images, before)


@pytest.mark.parametrize(
    ("value", "level"),
    [(-0.5, 0), (0.0, 0), (0.49 / 255, 0), (0.51 / 255, 1), (254.51 / 255, 255), (1.0, 255), (7.0, 255)],
)
def test_a_float_pixel_becomes_the_nearest_level_inside_the_range(value: float, level: int) -> None:
    assert from_tensor(torch.full((1, 1, 1, 1), value, requires_grad=True)).item() == level


@pytest.mark.parametrize("rows", [slice(1, 4), np.array([5, 0, 0, 2]), np.array([], dtype=np.int64)])
def test_a_batch_holds_the_rows_that_were_asked_for(dataset: Path, rows: Any) -> None:
    split = read_split(dataset, "test")
    images, labels, indices = split.batch(rows)
    np.testing.assert_array_equal(from_tensor(images), split.images[rows])
    assert labels.tolist() == split.labels[rows].tolist()
    assert indices.tolist() == split.indices[rows].tolist()
    assert (labels.dtype, indices.dtype) == (torch.int64, torch.int64)
    images.zero_()
    labels.zero_()
    np.testing.assert_array_equal(read_split(dataset, "test", verify=True).images, pixels())


def test_the_files_are_plain_npy_with_the_same_bytes_in_any_batching(tmp_path: Path) -> None:
    first, second = make(tmp_path / "a", pixels(), chunk=1), make(tmp_path / "b", pixels(), chunk=6)
    for path in sorted(first.rglob("*")):
        if path.is_file():
            assert path.read_bytes() == (second / path.relative_to(first)).read_bytes()
    expected = io.BytesIO()
    np.save(expected, pixels())
    assert (first / "test" / "images.npy").read_bytes() == expected.getvalue()


def test_the_manifest_counts_the_images_of_every_class(tmp_path: Path) -> None:
    from nofrost.data import read_manifest

    split = read_manifest(make(tmp_path, pixels(5), [2, 0, 2, 2, 0])).splits["test"]
    assert (split.count, split.class_counts) == (5, (2, 0, 3))
    assert set(split.sha256) == {"images", "labels", "indices"}


@pytest.mark.parametrize(
    ("batches", "words"),
    [
        ([pixels(2)], "2 rows were written of 3"),
        ([pixels(2), pixels(2)], "4 rows were written of 3"),
        ([], "0 rows were written of 3"),
        ([pixels(3, channels=1)], r"it must be uint8 \[n, 4, 3, 3\]"),
        ([pixels(3, height=1)], r"it must be uint8 \[n, 4, 3, 3\]"),
        ([pixels(3) / 255], "a batch is float64"),
        ([pixels(3).astype(np.int16)], "a batch is int16"),
    ],
)
def test_batches_that_are_not_the_promised_images_are_refused(tmp_path: Path, batches: list[Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        write_images(tmp_path / "images.npy", batches, (3, 4, 3, 3))


@pytest.mark.parametrize(
    ("labels", "indices", "words"),
    [([0, 1, 3], [0, 1, 2], r"in \[0, 3\)"), ([0, -1, 2], [0, 1, 2], r"in \[0, 3\)"), ([0, 1, 2], [0, 1], "2 indices")],
)
def test_labels_and_indices_that_do_not_fit_are_refused(
    tmp_path: Path, labels: list[int], indices: list[int], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        write_split(tmp_path, [pixels(3)], (4, 3, 3), np.array(labels), np.array(indices), 3)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def save(array: Any) -> Callable[[Path], None]:
    return lambda path: np.save(path, array)


def pickled(path: Path) -> None:
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)


def zipped(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, a=pixels())


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGE: dict[str, tuple[str, Callable[[Path], Any], str]] = {
    "missing images": ("images", Path.unlink, "is missing"),
    "missing indices": ("indices", Path.unlink, "is missing"),
    "images cut off": ("images", cut, "is damaged"),
    "labels cut off": ("labels", cut, "is damaged"),
    "an empty file": ("labels", lambda path: path.write_bytes(b""), "is damaged"),
    "text": ("labels", lambda path: path.write_bytes(b"0\n1\n2\n"), "is damaged"),
    "a cut header": ("images", lambda path: path.write_bytes(path.read_bytes()[:50]), "is damaged"),
    "pickled objects": ("labels", pickled, "is damaged"),
    "a pickle": ("labels", lambda path: path.write_bytes(pickle.dumps([1, 2])), "is damaged"),
    "an archive": ("images", zipped, "is damaged"),
    "a folder": ("images", a_folder, "is a directory"),
    "images of another size": ("images", save(pixels(height=5)), "the manifest says uint8 [6, 4, 3, 3]"),
    "fewer images": ("images", save(pixels(5)), "the manifest says uint8 [6, 4, 3, 3]"),
    "images as floats": ("images", save(pixels() / 255), "holds float64 [6, 4, 3, 3]"),
    "labels of another kind": ("labels", save(np.zeros(6)), "the manifest says int64 [6]"),
    "labels as columns": ("labels", save(np.zeros((6, 1), dtype=np.int64)), "the manifest says int64 [6]"),
    "a label too high": ("labels", save(np.array([0, 1, 2, 3, 0, 1])), "names classes that the manifest does not"),
    "a negative label": ("labels", save(np.array([0, 1, 2, -1, 0, 1])), "names classes that the manifest does not"),
}


@pytest.mark.parametrize(("file", "damage", "words"), DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_file_is_named_in_one_sentence(
    dataset: Path, file: str, damage: Callable[[Path], Any], words: str
) -> None:
    path = dataset / "test" / f"{file}.npy"
    damage(path)
    with pytest.raises(UserError) as caught:
        read_split(dataset, "test")
    assert str(path) in str(caught.value)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_pickle_is_never_run(dataset: Path, tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "trapped"),)

    for content in (pickle.dumps(Trap()), np.array([Trap()], dtype=object)):
        path = dataset / "test" / "labels.npy"
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            np.save(path, content, allow_pickle=True)
        with pytest.raises(UserError, match="damaged"):
            read_split(dataset, "test")
    assert not (tmp_path / "trapped").exists()


@pytest.mark.filterwarnings("ignore:Reading `.npy`:UserWarning")
def test_random_damage_of_a_header_never_ends_in_another_error(tmp_path: Path) -> None:
    whole = io.BytesIO()
    np.save(whole, np.arange(12))
    chance = random.Random(0)
    path = tmp_path / "array.npy"
    refused = 0
    for _ in range(300):
        content = bytearray(whole.getvalue())
        for _ in range(chance.randint(1, 4)):
            content[chance.randrange(128)] = chance.choice(b"()'{},:-0123456789<>|fFTOu \0\xff")
        path.write_bytes(content)
        try:
            read_array(path)
        except UserError:
            refused += 1
    assert refused > 200


@pytest.mark.parametrize("file", ["images", "labels", "indices"])
def test_one_changed_bit_is_found_when_asked_to_verify(tmp_path: Path, file: str) -> None:
    dataset = make(tmp_path, pixels(2), [1, 0])
    path = dataset / "test" / f"{file}.npy"
    content = bytearray(path.read_bytes())
    content[-8] ^= 1
    path.write_bytes(content)
    read_split(dataset, "test")
    with pytest.raises(UserError, match=f"{file}.npy does not match its checksum"):
        read_split(dataset, "test", verify=True)


def test_an_unknown_split_lists_the_known_ones(dataset: Path) -> None:
    with pytest.raises(UserError, match=r"unknown split of .*dataset 'tests': did you mean 'test'"):
        read_split(dataset, "tests")


def test_a_full_disk_ends_the_writing_with_an_error_not_with_a_dead_process(tmp_path: Path) -> None:
    script = f"""
import errno, resource, numpy as np
from pathlib import Path
from nofrost.data import write_images
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    write_images(Path({str(tmp_path)!r}) / "images.npy", [np.zeros((64, 8, 8, 3), np.uint8)] * 16, (1024, 8, 8, 3))
except OSError as error:
    print(errno.errorcode[error.errno])
"""
    done = subprocess.run([sys.executable, "-B", "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "EFBIG\n", "")
