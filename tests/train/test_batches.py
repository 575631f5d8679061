"""Order and views of training batches are a function of (seed, epoch, step)."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nofrost.config.recipe import ViewSpec
from nofrost.data import Split
from nofrost.errors import UserError
from nofrost.train.batches import TrainingImages, derive_seed

PIXELS = np.random.default_rng(0).integers(0, 256, (50, 6, 6, 1), dtype=np.uint8)
SPLIT = Split(PIXELS, np.arange(50, dtype=np.int64) % 5, np.arange(100, 150, dtype=np.int64))


PLAIN = ViewSpec()


def images(views: ViewSpec = PLAIN, sets: tuple[str, ...] = (), batch_size: int = 8) -> TrainingImages:
    augmented = tuple(np.full_like(PIXELS, 10 * (number + 1)) for number in range(len(sets)))
    return TrainingImages(SPLIT, augmented, views, batch_size)


def test_an_epoch_shows_every_image_once_but_for_those_that_fill_no_batch() -> None:
    seen = torch.cat([indices for _, _, indices in images().epoch(0, 0, 0)])
    assert len(seen) == 48
    assert len(set(seen.tolist())) == 48


def test_images_labels_and_indices_belong_together() -> None:
    for pixels, labels, indices in images().epoch(1, 2, 0):
        rows = indices.numpy() - 100
        assert np.array_equal((pixels * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy(), PIXELS[rows])
        assert np.array_equal(labels.numpy(), rows % 5)


@pytest.mark.parametrize("first_step", [0, 1, 4, 5])
def test_an_epoch_entered_in_the_middle_goes_on_with_the_same_batches(first_step: int) -> None:
    views = ViewSpec(crop_padding=1, horizontal_flip=True, augmentation_sets=("a", "b"))
    whole = list(images(views, ("a", "b")).epoch(7, 3, 0))
    rest = list(images(views, ("a", "b")).epoch(7, 3, first_step))
    assert len(rest) == len(whole) - first_step
    for ours, theirs in zip(rest, whole[first_step:], strict=True):
        assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("other", [(1, 0), (0, 1)])
def test_another_seed_or_epoch_has_another_order(other: tuple[int, int]) -> None:
    first = torch.cat([indices for _, _, indices in images().epoch(0, 0, 0)])
    second = torch.cat([indices for _, _, indices in images().epoch(*other, 0)])
    assert not torch.equal(first, second)


def test_augmented_views_come_from_every_set_about_equally_often() -> None:
    values = torch.cat([augmented[:, 0, 0, 0] for *_, augmented in images(sets=("a", "b")).epoch(0, 0, 0)])
    levels = (values * 255).round().long()
    assert set(levels.tolist()) == {10, 20}
    assert 12 < int((levels == 10).sum()) < 36


def test_a_batch_larger_than_the_training_images_is_refused() -> None:
    with pytest.raises(UserError, match=r"schedule\.batch_size 64 is larger than the 50"):
        images(batch_size=64)


def test_derived_seeds_are_stable_and_differ_in_every_part() -> None:
    assert derive_seed(0, "order", 1) == 1332101017241992705  # a saved training must find its order again
    seeds = {derive_seed(s, word, n) for s in range(3) for word in ("order", "views") for n in range(3)}
    assert len(seeds) == 18
    assert all(0 <= seed < 2**63 for seed in seeds)
