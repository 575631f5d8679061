"""ImageNet-9: its groups of classes, and variants of its images."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from nofrost.data.dataset_card import load_card
from nofrost.errors import UserError
from tests.prepare.jpegs import write
from tests.prepare.published_sets import make, opened, outputs

Take = Callable[..., None]


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
