"""Published test sets of ImageNet, from copies of their layouts with an image or two in each class."""

from __future__ import annotations

import json
import shutil
import tarfile
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nofrost.config import DatasetSpec, TestSets, TestSetSpec
from nofrost.data import read_manifest, read_split
from nofrost.data.dataset_card import load_card
from nofrost.errors import UserError
from nofrost.prepare import run, run_test_sets
from nofrost.prepare.sources import Part, SourceData, imagenet_real, open_source, resolve_source
from nofrost.prepare.sources.class_groups import class_groups
from nofrost.prepare.sources.imagenet import wordnet_ids
from nofrost.prepare.test_set_classes import match_classes
from nofrost.verify import verify
from tests.prepare.jpegs import jpeg, tar, write

Take = Callable[..., None]
TIMM = files("timm") / "data" / "_info"
PHOTO = jpeg(1)


def content(part: Part, row: int) -> bytes:
    assert part.images is not None
    with part.images(row).open() as stream:
        return stream.read()


def opened(source: str, path: Path, **options: Any) -> SourceData:
    values = {"source": source, "path": str(path), "view": {"resize": 16, "crop": 12}, **options}
    return open_source(resolve_source(DatasetSpec.model_validate(values), is_test_set=True))


def outputs(data: SourceData, classes: tuple[str, ...] | None = None) -> list[tuple[int, ...]]:
    """Outputs of a model of ImageNet, or of a dataset with `classes`, that mean each class of a set."""
    test_set = match_classes(data, TestSetSpec(source="folder"), classes or wordnet_ids()).test_set
    assert test_set is not None
    return list(test_set.outputs)


def make(folder: Path, names: list[str], file: str = "a.jpg") -> Path:
    for name in names:
        write(folder / name / file, PHOTO)
    return folder


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


@pytest.fixture
def three_classes(tmp_path: Path) -> Path:
    """A dataset of photographs of three of ImageNet's classes: goldfish, great white shark and banana."""
    for name in ("n01443537", "n01484850", "n07753592"):
        for row in range(3):
            write(tmp_path / "three" / name / f"{row}.jpg", jpeg(row))
    spec = {"source": "folder", "path": str(tmp_path / "three"), "view": {"resize": 16, "crop": 12}}
    run(DatasetSpec.model_validate(spec), tmp_path / "dataset")
    return tmp_path / "dataset"


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


@pytest.fixture
def validation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Five validation photographs of three classes, in class folders, with ReaL labels."""
    names = ("n1", "n2", "n3")
    for module in ("imagenet", "imagenet_real"):
        monkeypatch.setattr(f"nofrost.prepare.sources.{module}.wordnet_ids", lambda: names)
    monkeypatch.setattr(imagenet_real, "real_labels", lambda: [[], [1, 0], [2], [1], [0, 1]])
    for number, label in ((3, 0), (5, 0), (1, 1), (2, 1), (4, 2)):
        write(tmp_path / "val" / names[label] / f"ILSVRC2012_val_{number:08d}.JPEG", jpeg(number))
    return tmp_path


def test_real_labels_are_those_of_the_numbers_in_the_names_and_images_without_are_left_out(validation: Path) -> None:
    data = opened("imagenet-real", validation)
    assert data.train.labels.tolist() == [0, 0, 1, 2]
    assert data.train.accepted is not None
    assert data.train.accepted.tolist() == [[2, -1], [0, 1], [1, 0], [1, -1]]
    assert content(data.train, 2) == jpeg(2)
    assert "1 of 5 photographs are left out, which have no ReaL label" in data.remarks
    (validation / "val/n1/ILSVRC2012_val_00000003.JPEG").rename(validation / "val/n1/3.JPEG")
    with pytest.raises(UserError, match=r"3\.JPEG.* is not called as ImageNet's validation photographs are"):
        opened("imagenet-real", validation)


def test_timm_has_a_list_of_labels_for_each_validation_photograph() -> None:
    labels = imagenet_real.real_labels()
    assert len(labels) == 50_000
    assert labels[:3] == [[], [970, 795], [230, 231]]


def test_accepted_classes_are_written_and_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, three_classes: Path
) -> None:
    names = ("n01443537", "n01484850", "n07753592")
    for module in ("imagenet", "imagenet_real"):
        monkeypatch.setattr(f"nofrost.prepare.sources.{module}.wordnet_ids", lambda: names)
    monkeypatch.setattr(imagenet_real, "real_labels", lambda: [[2, 0], [1], [2]])
    for number, name in enumerate(names):
        write(tmp_path / "in/val" / name / f"ILSVRC2012_val_{number + 1:08d}.JPEG", jpeg(number))
    spec = TestSetSpec(source="imagenet-real", path=str(tmp_path / "in"))
    run_test_sets(TestSets(test_sets={"real": spec}), three_classes, tmp_path / "sets")
    split = read_split(tmp_path / "sets/real", "test", verify=True)
    assert split.accepted is not None
    assert split.accepted.tolist() == [[2, 0], [1, -1], [2, -1]]
    assert not verify(tmp_path / "sets").lines
    (tmp_path / "sets/real/test/accepted.npy").unlink()
    assert any("accepted.npy" in line for line in verify(tmp_path / "sets").lines)


def bordered(path: Path) -> Path:
    """Write a grey picture of 10 x 8 pixels with a red border of one."""
    pixels = np.full((8, 10, 3), (255, 0, 0), np.uint8)
    pixels[1:-1, 1:-1] = 128
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def test_objectnet_has_113_classes_and_no_border(tmp_path: Path) -> None:
    root = tmp_path / "objectnet-1.0" / "images"
    for name in (*class_groups("objectnet"), "air_freshener", "walking_cane"):
        bordered(root / name / "a.png")
    data = opened("objectnet", tmp_path, view=None, image_size=None, storage="array")
    assert len(data.classes) == 113
    assert data.train.shape == (6, 8, 3)
    assert (next(data.train.read(np.array([3]))) == 128).all()
    assert "2 folders are left out, of things that are no class of ImageNet" in data.remarks
    chosen = outputs(data)
    assert chosen[data.classes.index("bicycle")] == (444, 671)
    assert sum(map(len, chosen)) == 125
    shutil.rmtree(root / "wok")
    with pytest.raises(UserError, match=r"lacks the class folder wok \(1 in all\) of ObjectNet"):
        opened("objectnet", tmp_path)
    with pytest.raises(UserError, match="its archive needs the password"):
        opened("objectnet", write(tmp_path / "other/objectnet-1.0.zip", b"PK").parent)


@pytest.fixture
def backgrounds(tmp_path: Path, take_for_published: Take) -> Path:
    """Two variants of ImageNet-9 with an image in each class, and a map of ImageNet's classes to its groups."""
    names = load_card("imagenet-9").class_names
    take_for_published("imagenet-9", images={"each variant": 9})
    for variant in ("mixed_same", "only_fg"):
        make(tmp_path / "bg_challenge" / variant / "val", list(names), f"fg_{variant}_bg_1.JPEG")
    groups = {str(index): index - 151 if 151 <= index < 160 else -1 for index in range(1000)} | {"200": 0}
    write(tmp_path / "in_to_in9.json", json.dumps(groups).encode())
    return tmp_path


def test_imagenet_9_has_the_groups_of_its_map_and_the_images_of_the_variant(backgrounds: Path) -> None:
    data = opened("imagenet-9", backgrounds, variant="only_fg")
    assert data.classes[2] == "02_wheeled vehicle"
    assert outputs(data) == [(151, 200), *((index,) for index in range(152, 160))]
    assert data.train.images is not None
    assert "fg_only_fg_bg_1" in str(data.train.images(0))


@pytest.mark.parametrize(
    ("change", "variant", "message"),
    [
        (lambda root: None, "no_fg", "expected there is the folder no_fg/val of ImageNet-9"),
        (lambda root: (root / "in_to_in9.json").unlink(), "only_fg", r"in_to_in9\.json of https"),
        (lambda root: (root / "in_to_in9.json").write_text('{"0": 1}'), "only_fg", "is not the published map"),
        (
            lambda root: shutil.rmtree(root / "bg_challenge/only_fg/val/05_insect"),
            "only_fg",
            "lacks 05_insect: the classes of ImageNet-9 are 00_dog to 08_fish",
        ),
        (lambda root: make(root / "bg_challenge/only_fg/val", ["09_cat"]), "only_fg", "also holds 09_cat"),
        (lambda root: make(root / "bg_challenge/only_fg/val", ["00_dog"]), "only_fg", "only_fg holds 10 images"),
    ],
)
def test_a_faulty_copy_of_imagenet_9_is_refused(
    backgrounds: Path, change: Callable[[Path], object], variant: str, message: str
) -> None:
    change(backgrounds)
    with pytest.raises(UserError, match=message):
        opened("imagenet-9", backgrounds, variant=variant)


@pytest.fixture
def conflict(tmp_path: Path, take_for_published: Take) -> Path:
    """An image with a texture of the next class in each class, and one of shape and texture of a cat."""
    take_for_published("cue-conflict", images={"test": 17})
    names = list(class_groups("cue-conflict"))
    for name, texture in zip(names, [*names[1:], names[0]], strict=True):
        write(tmp_path / name / f"{name}1-{texture}12.png", jpeg(kind="PNG"))
    write(tmp_path / "cat" / "cat2-cat3.png", jpeg(kind="PNG"))
    return tmp_path


def test_cue_conflict_knows_shape_and_texture_by_the_names_of_files(conflict: Path) -> None:
    data = opened("cue-conflict", conflict)
    assert len(data.classes) == 16
    assert data.train.labels.tolist() == list(range(16))
    assert data.train.textures is not None
    assert data.train.textures.tolist() == [*range(1, 16), 0]
    assert "1 images are left out, whose shape and texture are of one class" in data.remarks
    match = match_classes(data, TestSetSpec(source="folder"), wordnet_ids())
    assert match.test_set is not None
    assert match.test_set.answer == "mean"
    assert sum(map(len, match.test_set.outputs)) == 207, "of the 16 categories of Geirhos et al."
    assert match.test_set.outputs[data.classes.index("bear")] == (294, 295, 296, 297)


@pytest.mark.parametrize("name", ["bear1.png", "cat1-dog2.png", "bear1-horse2.png"])
def test_a_name_that_does_not_say_shape_and_texture_is_refused(conflict: Path, name: str) -> None:
    (conflict / "bear" / "bear1-bicycle12.png").rename(conflict / "bear" / name)
    with pytest.raises(UserError, match="must be called after shape and texture, such as bear1-bicycle2"):
        opened("cue-conflict", conflict)


def test_images_that_are_published_cropped_are_shown_whole(tmp_path: Path, take_for_published: Take) -> None:
    groups = class_groups("cue-conflict")
    textures = {"bear": "dog", "dog": "bear", "knife": "oven"}
    for name in groups:
        write(tmp_path / "cues" / name / f"{name}1-{textures.get(name, 'knife')}1.png", jpeg(kind="PNG"))
    take_for_published("cue-conflict", images={"test": 16})
    for name in ("bear", "dog"):
        for row in range(3):
            write(tmp_path / "in" / groups[name][0] / f"{row}.jpg", jpeg(row))
    spec = {"source": "folder", "path": str(tmp_path / "in"), "view": {"resize": 16, "crop": 12}}
    run(DatasetSpec.model_validate(spec), tmp_path / "dataset")
    test_set = TestSetSpec(source="cue-conflict", path=str(tmp_path / "cues"))
    run_test_sets(TestSets(test_sets={"cues": test_set}), tmp_path / "dataset", tmp_path / "sets")
    manifest = read_manifest(tmp_path / "sets/cues")
    assert manifest.view is not None
    assert (manifest.view.resize, manifest.view.crop) == (12, 12)
    split = read_split(tmp_path / "sets/cues", "test", verify=True)
    assert split.textures is not None
    assert (split.labels.tolist(), split.textures.tolist()) == ([0, 1], [1, 0])
    with tarfile.open(tmp_path / "sets/cues/test/test-000000.tar") as shard:
        assert [member.name for member in shard] == [f"{row:09d}.{kind}" for row in (0, 1) for kind in ("png", "cls")]
        first = shard.extractfile("000000000.png")
        assert first is not None
        assert first.read() == jpeg(kind="PNG"), "a set that is published without loss is stored as it is"
    assert not verify(tmp_path / "sets").lines
