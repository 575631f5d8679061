"""How many images targeted PGD attacks from themselves, as when xie2020 trains."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from nofrost.attacks import create_attack
from nofrost.errors import UserError

IMAGES = torch.rand(500, 3, 4, 4, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
LABELS = torch.arange(500) % 4


def started_clean(model: nn.Module, seed: int = 0, rows: slice = slice(None), **settings: float) -> Tensor:
    """Return which images' attack began at the image itself: [N] bool, from steps too small to matter."""
    attack = create_attack("pgd-targeted", eps=0.2, steps=1, step_size=1e-9, keep="last", seed=seed, **settings)
    found = attack(model, IMAGES[rows], LABELS[rows], indices=torch.arange(500)[rows])
    return (found - IMAGES[rows]).abs().amax((1, 2, 3)) < 1e-8


@pytest.mark.parametrize(("chance", "least", "most"), [(0, 0, 0), (0.2, 80, 120), (1, 500, 500)])
def test_so_many_images_are_attacked_from_themselves(
    chance: float, least: int, most: int, smooth_model: nn.Module
) -> None:
    assert least <= int(started_clean(smooth_model, clean_start=chance).sum()) <= most


def test_by_default_every_start_is_random(smooth_model: nn.Module) -> None:
    assert not started_clean(smooth_model).any()


def test_the_chance_belongs_to_the_image_and_the_seed(smooth_model: nn.Module) -> None:
    whole = started_clean(smooth_model, clean_start=0.5)
    assert torch.equal(started_clean(smooth_model, rows=slice(100, 150), clean_start=0.5), whole[100:150])
    assert not torch.equal(started_clean(smooth_model, seed=1, clean_start=0.5), whole)


def test_the_other_starts_and_the_targets_are_as_without(smooth_model: nn.Module) -> None:
    settings = {"eps": 0.2, "steps": 3, "keep": "last"}
    clean = started_clean(smooth_model, clean_start=0.5)
    some, none = (
        create_attack("pgd-targeted", clean_start=chance, **settings)(smooth_model, IMAGES, LABELS)
        for chance in (0.5, 0.0)
    )
    assert torch.equal(some[~clean], none[~clean])


@pytest.mark.parametrize("chance", [-0.1, 1.1, True])
def test_a_chance_is_from_0_to_1(chance: float) -> None:
    with pytest.raises(UserError, match=r"clean_start is .*: it must be a number from 0 to 1"):
        create_attack("pgd-targeted", eps=0.2, clean_start=chance)


def test_other_attacks_have_no_clean_start() -> None:
    with pytest.raises(UserError, match="unknown setting of attack 'pgd' 'clean_start'"):
        create_attack("pgd", eps=0.2, clean_start=0.2)
