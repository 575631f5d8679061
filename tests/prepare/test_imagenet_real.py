"""ReaL: ImageNet's validation photographs, and all classes that are right for each of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from nofrost.config import TestSets, TestSetSpec
from nofrost.data import read_split
from nofrost.errors import UserError
from nofrost.prepare import run_test_sets
from nofrost.prepare.sources import imagenet_real
from nofrost.verify import verify
from tests.prepare.jpegs import jpeg, write
from tests.prepare.published_sets import content, opened


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
