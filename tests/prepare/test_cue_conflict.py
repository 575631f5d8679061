"""Cue conflict: shape and texture of each image, and images that are published cropped."""

from __future__ import annotations

import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from nofrost.config import DatasetSpec, TestSets, TestSetSpec
from nofrost.data import read_manifest, read_split
from nofrost.errors import UserError
from nofrost.prepare import run, run_test_sets
from nofrost.prepare.sources.class_groups import class_groups
from nofrost.prepare.sources.imagenet import wordnet_ids
from nofrost.prepare.test_set_classes import match_classes
from nofrost.verify import verify
from tests.prepare.jpegs import jpeg, write
from tests.prepare.published_sets import opened

Take = Callable[..., None]


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
