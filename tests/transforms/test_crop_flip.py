"""Crop and flip, one draw for each image."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from nofrost.transforms.crops import crop_offsets, flip, flips, padded_crop


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_every_crop_is_a_window_of_the_padded_image() -> None:
    images = torch.rand(50, 2, 6, 5)
    crops = padded_crop(images, 2, crop_offsets(50, 2, generator()))
    windows = F.pad(images, (2, 2, 2, 2)).unfold(2, 6, 1).unfold(3, 5, 1)  # [N, C, 5, 5, 6, 5]
    same = (windows == crops[:, :, None, None]).all(dim=5).all(dim=4).all(dim=1)
    places = [tuple(place) for place in same.nonzero()[:, 1:].tolist()]
    assert torch.all(same.flatten(1).sum(1) == 1)
    assert len(set(places)) > 15
    assert places == [tuple(offset) for offset in crop_offsets(50, 2, generator()).tolist()], "from top and left"


def test_draws_are_a_function_of_the_generator() -> None:
    for draw in (lambda seed: crop_offsets(40, 3, generator(seed)), lambda seed: flips(40, generator(seed))):
        assert torch.equal(draw(3), draw(3))
        assert not torch.equal(draw(3), draw(4))


def test_those_images_are_mirrored_that_are_chosen() -> None:
    images, chosen = torch.rand(200, 1, 3, 3), flips(200, generator())
    flipped = flip(images, chosen)
    assert torch.equal(flipped[chosen], images[chosen].flip(3))
    assert torch.equal(flipped[~chosen], images[~chosen])
    assert 60 < int(chosen.sum()) < 140
