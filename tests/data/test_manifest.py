"""Manifests of datasets and augmentation sets: what is written is read, a damaged one is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nofrost.data import (
    AugmentationManifest,
    Manifest,
    SplitManifest,
    augmentation_checksum,
    checksum,
    read_augmentation_set,
    read_manifest,
    write_augmentation_manifest,
    write_images,
    write_manifest,
)
from nofrost.errors import UserError

SPLIT = SplitManifest(count=2, class_counts=(1, 1), sha256={"images": "a", "labels": "b", "indices": "c"})
MANIFEST = Manifest(
    name="made", classes=("cat", "dög"), image_size=(4, 3), channels=1, mean=(0.1,), std=(1 / 3,),
    splits={"train": SPLIT}, provenance={"source": "here"}, licence="CC0-1.0",
    config={"limit": None, "deep": {"list": [1, 2.5]}},
)  # fmt: skip
IMAGES = np.arange(2 * 4 * 3, dtype=np.uint8).reshape(2, 4, 3, 1)


def augmentation(folder: Path, dataset: str = "d1", count: int = 2) -> Path:
    write_images(folder / "tda" / "images.npy", [IMAGES], (2, 4, 3, 1))
    manifest = AugmentationManifest(dataset=dataset, count=count, sha256={"tda": "x"}, provenance={}, config={})
    write_augmentation_manifest(folder, manifest)
    return folder


def change(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def complaint(call: Callable[[], Any]) -> str:
    with pytest.raises(UserError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_manifest_comes_back_as_it_was_written(tmp_path: Path) -> None:
    write_manifest(tmp_path, MANIFEST)
    assert read_manifest(tmp_path) == MANIFEST


def test_equal_manifests_are_equal_bytes_and_so_is_their_checksum(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_manifest(tmp_path / name, MANIFEST)
    assert (tmp_path / "a/manifest.json").read_bytes() == (tmp_path / "b/manifest.json").read_bytes()
    assert checksum(tmp_path / "a") == checksum(tmp_path / "b")
    write_manifest(tmp_path / "b", MANIFEST.model_copy(update={"licence": "none"}))
    assert checksum(tmp_path / "a") != checksum(tmp_path / "b")


@pytest.mark.parametrize("read", [read_manifest, checksum])
def test_a_folder_without_a_manifest_says_how_to_make_a_dataset(read: Callable[[Path], Any], tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        message = complaint(lambda folder=folder: read(folder))  # type: ignore[misc]
        assert str(folder) in message
        assert "nofrost prepare" in message


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"licens": "x"}, ("unknown key 'licens'", "did you mean 'licence'?")),
        ({"splits": {"train": {**SPLIT.as_json(), "size": 2}}}, ("unknown key 'splits.train.size'", "class_counts")),
        ({"splits": {"train": {"count": 2}}}, ("key splits.train.class_counts is missing",)),
        ({"splits": [1]}, ("splits", "dictionary")),
        ({"splits": {"../../elsewhere": SPLIT.as_json()}}, ("unknown split '../../elsewhere'", "selection, test")),
        ({"splits": {"test": SPLIT.as_json(), "fog-1": SPLIT.as_json()}}, ("splits.fog-1", "beside corruptions")),
        ({"format": 2}, ("format", "got 2")),
        ({"channels": "three"}, ("channels", "integer")),
        ({"image_size": [4]}, ("image_size", "is missing")),
        ({"mean": [None]}, ("mean.0", "number")),
        ({"std": []}, ("std has 0 values for 1 channels",)),
        ({"mean": [0.1, 0.2]}, ("mean has 2 values",)),
        ({"std": [0]}, ("std.0", "greater than 0")),
        ({"std": [1e400]}, ("Infinity",)),
        ({"channels": 10**9}, ("channels", "less than or equal to 64")),
        ({"channels": -1}, ("channels", "greater than")),
        ({"image_size": [0, 4]}, ("image_size.0", "greater than")),
        ({"image_size": [4, 10**9]}, ("image_size.1", "less than")),
        ({"classes": []}, ("classes", "at least 1")),
        ({"classes": ["a"] * 3}, ("splits.train.class_counts", "3 classes")),
        ({"classes": ["a", "b\udce9"]}, ("not Unicode", r"b\udce9")),
        ({"name": "\ud800"}, ("not Unicode",)),
        ({"splits": {"train": {**SPLIT.as_json(), "count": 3}}}, ("splits.train.class_counts", "3 images")),
        ({"splits": {"train": {**SPLIT.as_json(), "class_counts": [3, -1]}}}, ("class_counts.1", "greater than")),
        ({"splits": {"train": {**SPLIT.as_json(), "sha256": []}}}, ("splits.train.sha256",)),
    ],
)
def test_a_manifest_that_is_none_names_file_and_key(
    changes: dict[str, Any], words: tuple[str, ...], tmp_path: Path
) -> None:
    write_manifest(tmp_path, MANIFEST)
    path = tmp_path / "manifest.json"
    change(path, **changes)
    message = complaint(lambda: read_manifest(tmp_path))
    assert all(word in message for word in (str(path), *words))


@pytest.mark.parametrize("content", ["", "{", "[]", "3", '{"mean": [NaN]}', '"text"', "[" * 100_000])
def test_a_manifest_that_is_no_json_object_names_the_file(content: str, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text(content)
    assert str(tmp_path / "manifest.json") in complaint(lambda: read_manifest(tmp_path))


def test_augmentation_sets_are_no_dataset(tmp_path: Path) -> None:
    folder = augmentation(tmp_path)
    assert complaint(lambda: read_manifest(folder)).startswith(f"{folder} holds augmentation sets")


def test_a_set_comes_back_as_it_was_written(tmp_path: Path) -> None:
    images = read_augmentation_set(augmentation(tmp_path), "tda", dataset="d1")
    np.testing.assert_array_equal(images, IMAGES)
    assert isinstance(images, np.memmap)
    assert len(augmentation_checksum(tmp_path)) == 64


def test_a_set_of_another_dataset_is_refused(tmp_path: Path) -> None:
    message = complaint(lambda: read_augmentation_set(augmentation(tmp_path), "tda", dataset="d2"))
    assert "another dataset" in message
    assert str(tmp_path) in message


def test_an_unknown_method_lists_the_sets_of_the_folder(tmp_path: Path) -> None:
    message = complaint(lambda: read_augmentation_set(augmentation(tmp_path), "tdaa", dataset="d1"))
    assert "did you mean 'tda'?" in message


def test_a_set_with_more_or_fewer_images_than_its_manifest_is_refused(tmp_path: Path) -> None:
    message = complaint(lambda: read_augmentation_set(augmentation(tmp_path, count=3), "tda", dataset="d1"))
    assert "holds 2 images, its manifest says 3" in message


@pytest.mark.parametrize("array", [IMAGES / 255, IMAGES[0], np.zeros(2, dtype=np.uint8)])
def test_a_set_that_holds_no_images_is_refused(array: Any, tmp_path: Path) -> None:
    augmentation(tmp_path)
    np.save(tmp_path / "tda" / "images.npy", array)
    assert "holds no images" in complaint(lambda: read_augmentation_set(tmp_path, "tda", dataset="d1"))


def test_a_missing_set_is_reported_with_its_file(tmp_path: Path) -> None:
    (augmentation(tmp_path) / "tda" / "images.npy").unlink()
    assert "images.npy is missing" in complaint(lambda: read_augmentation_set(tmp_path, "tda", dataset="d1"))


@pytest.mark.parametrize(
    "read", [augmentation_checksum, lambda folder: read_augmentation_set(folder, "tda", dataset="d1")]
)
def test_a_folder_without_sets_says_how_to_make_them(read: Callable[[Path], Any], tmp_path: Path) -> None:
    assert "nofrost augment" in complaint(lambda: read(tmp_path))


def test_an_unknown_key_in_the_manifest_of_sets_is_an_error(tmp_path: Path) -> None:
    change(augmentation(tmp_path) / "manifest.json", sha265={})
    assert "did you mean 'sha256'?" in complaint(lambda: augmentation_checksum(tmp_path))
