"""Random crop and flip, one draw for each image."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from nofrost.transforms.crop_flip import random_crop, random_horizontal_flip


def test_every_crop_is_a_window_of_the_padded_image() -> None:
    images = torch.rand(50, 2, 6, 5)
    crops = random_crop(images, 2, torch.Generator().manual_seed(0))
    windows = F.pad(images, (2, 2, 2, 2)).unfold(2, 6, 1).unfold(3, 5, 1)  # [N, C, 5, 5, 6, 5]
    same = (windows == crops[:, :, None, None]).all(dim=5).all(dim=4).all(dim=1)
    places = [tuple(place) for place in same.nonzero()[:, 1:].tolist()]
    assert torch.all(same.flatten(1).sum(1) == 1)
    assert len(set(places)) > 15


def test_crops_are_a_function_of_the_generator() -> None:
    images = torch.rand(8, 1, 6, 6)
    first, second, other = (random_crop(images, 1, torch.Generator().manual_seed(seed)) for seed in (3, 3, 4))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_each_image_is_mirrored_or_left_alone() -> None:
    images = torch.rand(200, 1, 3, 3)
    flipped = random_horizontal_flip(images, torch.Generator().manual_seed(0))
    mirrored = (flipped == images.flip(3)).flatten(1).all(1)
    kept = (flipped == images).flatten(1).all(1)
    assert torch.all(mirrored ^ kept)
    assert 60 < int(mirrored.sum()) < 140
