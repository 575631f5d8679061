"""ImageNet-R, -A, -O, -Sketch and Stylized-ImageNet: class folders that are named by WordNet ids."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from nofrost.config import TestSets, TestSetSpec
from nofrost.data import read_manifest, read_split
from nofrost.errors import UserError
from nofrost.prepare import run_test_sets
from nofrost.prepare.sources.imagenet import wordnet_ids
from nofrost.prepare.test_set_classes import match_classes
from nofrost.verify import verify
from tests.prepare.jpegs import jpeg, tar, write
from tests.prepare.published_sets import PHOTO, content, make, opened, outputs

Take = Callable[..., None]
TIMM = files("timm") / "data" / "_info"


def masked(name: str) -> list[str]:
    return (TIMM / f"imagenet_{name}_synsets.txt").read_text(encoding="utf-8").split()


@pytest.mark.parametrize("name", ["r", "a"])
def test_imagenet_r_and_a_have_the_masks_of_timm(tmp_path: Path, take_for_published: Take, name: str) -> None:
    take_for_published(f"imagenet-{name}", images={"test": 200})
    make(tmp_path / f"imagenet-{name}", masked(name))
    data = opened(f"imagenet-{name}", tmp_path)
    indices = (TIMM / f"imagenet_{name}_indices.txt").read_text(encoding="utf-8").split()
    assert outputs(data) == [(int(index),) for index in indices]
    assert data.train.labels.tolist() == list(range(200))


def test_a_tar_is_read_like_the_folder_that_it_unpacks_to(tmp_path: Path, take_for_published: Take) -> None:
    names = masked("r")
    contents = {f"{name}/{kind}_{row}.jpg": jpeg(row) for row, name in enumerate(names) for kind in ("toy", "art")}
    for name, image in contents.items():
        write(tmp_path / "imagenet-r" / name, image)
    members = [("imagenet-r/README.txt", b"text"), *((f"imagenet-r/{name}", contents[name]) for name in contents)]
    archive = write(tmp_path / "imagenet-r.tar", tar(members))
    take_for_published("imagenet-r", tmp_path, images={"test": 400})
    packed, unpacked = opened("imagenet-r", archive), opened("imagenet-r", tmp_path / "imagenet-r")
    assert packed.classes == unpacked.classes == tuple(names)
    for row in (0, 1, 399):
        assert content(packed.train, row) == content(unpacked.train, row)
    assert np.array_equal(packed.train.labels, unpacked.train.labels)
    assert packed.checksums.keys() == {"imagenet-r.tar"}
    archive.write_bytes(archive.read_bytes() + bytes(512))
    with pytest.raises(UserError, match=r"imagenet-r\.tar is not the published file \(its MD5 differs\): download"):
        opened("imagenet-r", archive)


def test_sketches_have_the_class_of_their_folder_whatever_their_number(
    tmp_path: Path, take_for_published: Take
) -> None:
    take_for_published("imagenet-sketch", images={"test": 1002})
    folder = make(tmp_path / "sketch", list(wordnet_ids()), "sketch_0.JPEG")
    for number in (10, 2):
        write(folder / "n01443537" / f"sketch_{number}.JPEG", jpeg(number))
    data = opened("imagenet-sketch", tmp_path)
    assert data.train.images is not None
    assert np.flatnonzero(data.train.labels == 1).tolist() == [1, 2, 3]
    names = [Path(str(data.train.images(row))).name for row in (1, 2, 3)]
    assert names == ["sketch_0.JPEG", "sketch_10.JPEG", "sketch_2.JPEG"]
    assert match_classes(data, TestSetSpec(source="folder"), wordnet_ids()).test_set is None
    (tmp_path / "ImageNet-Sketch.zip").write_bytes(b"PK")
    with pytest.raises(UserError, match=r"is a zip file: unpack it, and name the folder sketch"):
        opened("imagenet-sketch", tmp_path / "ImageNet-Sketch.zip")


def test_imagenet_o_is_asked_about_the_200_classes_of_its_folders(tmp_path: Path, take_for_published: Take) -> None:
    take_for_published("imagenet-o", images={"test": 200})
    names = wordnet_ids()[300:500]
    data = opened("imagenet-o", make(tmp_path / "imagenet-o", list(names)))
    match = match_classes(data, TestSetSpec(source="folder"), wordnet_ids())
    assert match.test_set is not None
    assert match.test_set.outputs == (tuple(range(300, 500)),)
    assert match.test_set.outliers
    shutil.rmtree(tmp_path / "imagenet-o" / names[0])
    with pytest.raises(UserError, match="has 199 class folders, ImageNet-O has 200"):
        opened("imagenet-o", tmp_path)


def test_stylized_images_lie_like_those_of_imagenet(tmp_path: Path) -> None:
    make(tmp_path / "val", list(wordnet_ids()))
    assert opened("stylized-imagenet", tmp_path).classes == wordnet_ids()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda folder: shutil.rmtree(folder / "n01443537"),
            r"lacks the class folder n01443537 \(1 in all\) of ImageN",
        ),
        (
            lambda folder: make(folder, ["n09999999"]),
            r"holds the folder n09999999 \(1 in all\), no class of ImageNet-R",
        ),
        (
            lambda folder: write(folder / "n01443537/b.jpg", PHOTO),
            r"201 images, and ImageNet-R has 200: unpack it again",
        ),
        (
            lambda folder: shutil.rmtree(folder),
            r"holds no such thing: expected there is imagenet-r\.tar, or its folder",
        ),
    ],
)
def test_a_set_that_is_not_whole_is_refused(
    tmp_path: Path, take_for_published: Take, change: Callable[[Path], object], message: str
) -> None:
    take_for_published("imagenet-r", images={"test": 200})
    change(make(tmp_path / "imagenet-r", masked("r")))
    with pytest.raises(UserError, match=message):
        opened("imagenet-r", tmp_path)


def test_a_small_study_keeps_the_classes_that_it_shares_with_a_published_set(
    tmp_path: Path, take_for_published: Take, three_classes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    take_for_published("imagenet-r", images={"test": 200})
    path = make(tmp_path / "imagenet-r", masked("r"))
    spec = TestSetSpec(source="imagenet-r", path=str(path))
    run_test_sets(TestSets(test_sets={"r": spec}), three_classes, tmp_path / "sets")
    manifest = read_manifest(tmp_path / "sets/r")
    assert manifest.test_set is None, "all three are classes of ImageNet-R"
    assert read_split(tmp_path / "sets/r", "test", verify=True).labels.tolist() == [0, 1, 2]
    assert "r: 197 of its 200 classes are left out: the dataset does not have them" in capsys.readouterr().err
    assert not verify(tmp_path / "sets").lines
