"""Models that are not what an attack hopes for: it gives a right result or a clear error."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from nofrost.attacks import Attack, list_attacks
from nofrost.errors import UserError

Batch = tuple[Tensor, Tensor]
Quick = Callable[..., Attack]
every_attack = pytest.mark.parametrize("name", list_attacks())
EPS = 0.1


def flat(images: Tensor) -> Tensor:
    """Zeros [N, 5] that depend on the images."""
    return 0 * images.flatten(1).sum(1, keepdim=True).expand(-1, 5)


def assert_inside(adversarial: Tensor, images: Tensor) -> None:
    assert adversarial.isfinite().all()
    assert (adversarial - images).abs().max() <= EPS + 1e-6
    assert adversarial.min() >= 0
    assert adversarial.max() <= 1


@every_attack
@pytest.mark.parametrize("logits", [[9.0, 0.0, 1.0, 2.0, 3.0], [0.0] * 5, [1e30, 0.0, 0.0, 0.0, -torch.inf]])
def test_a_constant_model_is_fooled_by_nothing_and_raises_nothing(
    name: str, logits: list[float], batch: Batch, quick: Quick
) -> None:
    images = batch[0][:6]

    def constant(points: Tensor) -> Tensor:
        return flat(points) + torch.tensor(logits, dtype=points.dtype)

    assert_inside(quick(name, "linf", eps=EPS)(constant, images, torch.zeros(6, dtype=torch.int64)), images)


@every_attack
def test_a_model_that_gives_probabilities_is_attacked_all_the_same(
    name: str, natural_model: nn.Module, batch: Batch, quick: Quick
) -> None:
    images, labels = batch

    def softmax(points: Tensor) -> Tensor:
        return natural_model(points).softmax(1)

    adversarial = quick(name, "linf", eps=EPS)(softmax, images, labels)
    assert_inside(adversarial, images)
    with torch.no_grad():
        before, after = ((natural_model(each).argmax(1) == labels).sum() for each in (images, adversarial))
    assert after < before or name == "awgn"


@every_attack
def test_a_model_that_answers_at_random_gives_the_same_result_again(name: str, batch: Batch, quick: Quick) -> None:
    images = batch[0][:6]

    def dice(points: Tensor) -> Tensor:
        return flat(points) + torch.randn(len(points), 5, dtype=points.dtype)

    attack = quick(name, "linf", eps=EPS)
    labels = torch.arange(6) % 5
    first = attack(dice, images, labels)
    assert_inside(first, images)
    assert torch.equal(attack(dice, images, labels), first)


@every_attack
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_model_that_gives_nan_is_named(name: str, value: float, batch: Batch, quick: Quick) -> None:
    def broken(points: Tensor) -> Tensor:
        return flat(points) + value

    with pytest.raises(UserError, match=r"^the model returned NaN or infinite logits"):
        quick(name, "linf", eps=EPS)(broken, batch[0][:6], torch.zeros(6, dtype=torch.int64))
