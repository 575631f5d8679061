"""RandAugment and AugMix are torchvision's, drawn from seeds of their own."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2.functional import pil_to_tensor

from nofrost.config.recipe import AugMixSpec, RandAugmentSpec
from nofrost.transforms.operations import Change, augmix, levels, randaugment

SPECS = [
    RandAugmentSpec(),
    RandAugmentSpec(operations=3, magnitude=11),
    AugMixSpec(),
    AugMixSpec(severity=10, width=2, depth=1, alpha=0.5, all_operations=True),
]


def image(channels: int, size: int = 12) -> Tensor:
    return torch.randint(0, 256, (channels, size, size), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def change_of(spec: RandAugmentSpec | AugMixSpec) -> Change:
    return randaugment(spec) if isinstance(spec, RandAugmentSpec) else augmix(spec)


def theirs(spec: RandAugmentSpec | AugMixSpec) -> Callable[[Tensor], Tensor]:
    """What torchvision makes, with torch's own generator."""
    if isinstance(spec, AugMixSpec):
        return v2.AugMix(spec.severity, spec.width, spec.depth or -1, spec.alpha, spec.all_operations)
    transform = v2.RandAugment(spec.operations, spec.magnitude)
    return lambda image: pil_to_tensor(transform(v2.functional.to_pil_image(image)))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_an_image_is_changed_as_by_torchvision_without_its_generator(
    spec: RandAugmentSpec | AugMixSpec, channels: int
) -> None:
    original, change, results = image(channels), change_of(spec), set()
    for seed in range(25):
        state = torch.get_rng_state()
        changed = change(original, seed)
        assert torch.equal(torch.get_rng_state(), state)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            expected = theirs(spec)(original)
        assert torch.equal(changed, expected), f"seed {seed}: a draw is not from the seed"
        assert (changed.shape, changed.dtype) == (original.shape, torch.uint8)
        results.add(changed.numpy().tobytes())
    assert len(results) > 5, "each seed has its own draws"
    assert torch.equal(original, image(channels)), "the image itself stays as it is"


@pytest.mark.parametrize("magnitude", [0, 10, 15, 30])
def test_an_operation_of_randaugment_has_its_magnitude(magnitude: int) -> None:
    """The centre of an image of one level moves by brightness, posterizing and solarizing alone."""
    share, level = magnitude / 30, 100
    bits = 8 - round(4 * share)
    expected = {level, level * (1 + 0.9 * share), level * (1 - 0.9 * share), level >> (8 - bits) << (8 - bits)}
    if 255 * (1 - share) <= level:
        expected.add(255 - level)
    change = randaugment(RandAugmentSpec(operations=1, magnitude=magnitude))
    plain = torch.full((3, 16, 16), level, dtype=torch.uint8)
    found = {int(change(plain, seed)[0, 8, 8]) for seed in range(150)}
    assert all(any(abs(each - wanted) <= 1 for wanted in expected) for each in found)
    assert all(any(abs(each - wanted) <= 1 for each in found) for wanted in expected)


@pytest.mark.parametrize("width", [1, 3])
def test_augmix_without_weight_is_the_image(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    draw = v2.AugMix._sample_dirichlet

    def all_for_the_image(self: v2.AugMix, parameters: Tensor) -> Tensor:
        return torch.tensor([[1.0, 0.0]]) if parameters.shape[1] == 2 else draw(self, parameters)

    monkeypatch.setattr(v2.AugMix, "_sample_dirichlet", all_for_the_image)
    change = augmix(AugMixSpec(width=width))
    assert all(torch.equal(change(image(3), seed), image(3)) for seed in range(10))


def test_levels_are_the_nearest_and_stay_as_they_are() -> None:
    exact = image(3)[None]
    assert torch.equal(levels(exact.float() / 255), exact)
    assert levels(exact) is exact
    assert levels(torch.tensor([0.0, 0.499 / 255, 0.501 / 255, 1.0])).tolist() == [0, 0, 1, 255]
