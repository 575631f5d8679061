from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nofrost.augment.base import ImageBlock, Values, correlation
from nofrost.augment.deepaugment import small_network as module
from nofrost.augment.deepaugment.small_network import small_network_augment, usable
from nofrost.augment.originals import Originals

IMAGES = np.random.default_rng(0).integers(0, 256, (70, 8, 8, 1), dtype=np.uint8)
CPU = torch.device("cpu")


class Broken(nn.Module):
    """Gives its input back, but `damage`d for every second image as long as the strength is above `until`."""

    def __init__(self, damage: Any, until: float) -> None:
        super().__init__()
        self.damage, self.until = damage, until

    def forward(self, images: Tensor, convolve: Any) -> Tensor:
        outputs = images.clone()
        if float(convolve.strength.max()) > self.until:
            outputs[::2] = self.damage(outputs[::2])
        return outputs


def made_by(network: Any) -> tuple[np.ndarray, Values]:
    originals, make = Originals(IMAGES), small_network_augment(network, 0, CPU)
    made = [make(ImageBlock(number, rows.start, IMAGES[rows])) for number, rows in enumerate(originals.blocks())]
    totals = {key: sum(values[key] for _, values in made) for key in made[0][1]}
    return np.concatenate([np.asarray(images) for images, _ in made]), totals


DAMAGES = {
    "nan": lambda images: images * float("nan"),
    "infinite": lambda images: images / 0,
    "constant": lambda images: images * 0 + 0.5,
    "pale": lambda images: 0.5 + 0.1 * (images - 0.5),
    "another image": lambda images: images.flip(-1),
    "negative": lambda images: 1 - images,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_useless_images_are_made_again_more_mildly(damage: str) -> None:
    images, totals = made_by(Broken(DAMAGES[damage], until=0.5))
    assert (totals["milder"], totals["unchanged"]) == (35, 0)
    np.testing.assert_array_equal(images, IMAGES)  # the milder attempt of this network gives its input back


def test_an_image_that_no_strength_can_change_usefully_stays_as_it_is() -> None:
    images, totals = made_by(Broken(DAMAGES["nan"], until=-1.0))
    assert totals["unchanged"] > 0
    np.testing.assert_array_equal(images, IMAGES)


def test_the_last_attempt_is_the_mildest(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[float] = []

    def never(outputs: Tensor, originals: Tensor) -> Tensor:
        return torch.zeros(len(outputs), dtype=torch.bool)

    class Watch(nn.Module):
        def forward(self, images: Tensor, convolve: Any) -> Tensor:
            seen.append(float(convolve.strength.max()))
            return images

    monkeypatch.setattr(module, "usable", never)
    _, totals = made_by(Watch())
    assert (totals["milder"], totals["unchanged"]) == (0, 70)
    first_batch = seen[: len(module.STRENGTH_FACTORS)]
    for strength, factor in zip(first_batch, module.STRENGTH_FACTORS, strict=True):
        assert 0.3 * factor <= strength <= factor


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_images_are_not_usable(damage: str) -> None:
    originals = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    assert usable(originals, originals).all()
    assert not usable(DAMAGES[damage](originals), originals).any()


def test_tinted_and_brighter_images_are_usable() -> None:
    originals = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    tinted = originals * torch.tensor([1.0, 0.8, 0.4]).view(3, 1, 1)
    assert usable(tinted, originals).all()
    assert usable((0.2 + 0.6 * originals), originals).all()


def test_correlation_is_that_of_numpy_and_0_for_constant_or_broken_images() -> None:
    first, second = torch.rand(2, 5, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    expected = [np.corrcoef(a.numpy().ravel(), b.numpy().ravel())[0, 1] for a, b in zip(first, second, strict=True)]
    np.testing.assert_allclose(correlation(first, second), expected, atol=1e-6)
    second[0], second[1] = 0.5, float("nan")
    assert correlation(first, second)[:2].tolist() == [0, 0]


@pytest.mark.parametrize(("count", "size", "lengths"), [(130, 8, [64, 64, 2]), (3, 600, [2, 1]), (2, 2000, [1, 1])])
def test_blocks_are_consecutive_and_smaller_for_large_images(count: int, size: int, lengths: list[int]) -> None:
    slices = Originals(np.broadcast_to(np.uint8(0), (count, size, size, 1))).blocks()
    assert [rows.stop - rows.start for rows in slices] == lengths
    assert [row for rows in slices for row in range(count)[rows]] == list(range(count))
