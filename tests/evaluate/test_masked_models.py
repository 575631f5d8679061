"""Models that hide their gradient are told from robust ones, and broken all the same (Athalye et al. 2018)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from nofrost.config import AdversarialSuite, load_suite
from nofrost.errors import UserError
from nofrost.evaluate import RobustnessResult, evaluate_robustness

Digits = tuple[torch.Tensor, torch.Tensor]
Around = Callable[[nn.Module, torch.Tensor], torch.Tensor]
WIDE = 0.25  # a budget at which a standard network has no robustness
STANDARD = ["attacks.apgd-ce.steps=15", "attacks.apgd-t.steps=10", "attacks.apgd-t.targets=3"]
STANDARD += ["attacks.fab-t.steps=8", "attacks.fab-t.targets=3", "attacks.square.queries=1000"]
QUICK = ["attacks.apgd-ce-100.steps=30", "attacks.square-200.queries=100"]
CURVES = ["steps_curve.steps=[4,8,15]", "budget_curve.multiples=[1/2, 1]", "batch_size=60"]
SUITES = {"adversarial-quick": [*QUICK, *CURVES], "adversarial-standard": [*STANDARD, *CURVES]}


class Masked(nn.Module):
    """A network with something done around it."""

    def __init__(self, model: nn.Module, around: Around) -> None:
        super().__init__()
        self.model, self.around = model, around

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.around(self.model, images)


class ScrambledRounding(torch.autograd.Function):
    """Rounds, and hands back the gradient with signs that mean nothing: a straight-through estimate, masked."""

    @staticmethod
    def forward(ctx: Any, values: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(values)
        return rounded(values)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        (values,) = ctx.saved_tensors
        return gradient * (1e3 * values + 1e4 * gradient).sin().sign()


class StraightThrough(torch.autograd.Function):
    """Rounds, and hands back the gradient of what it rounded."""

    @staticmethod
    def forward(ctx: Any, values: torch.Tensor) -> torch.Tensor:
        return rounded(values)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        return gradient


def rounded(values: torch.Tensor) -> torch.Tensor:
    return (4 * values).round() / 4


def with_activations(through: Callable[[torch.Tensor], torch.Tensor]) -> Around:
    """Return a way to run the small network with its hidden activations handed through a function."""

    def run(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
        assert isinstance(model, nn.Sequential)
        return torch.as_tensor(model[2:](through(model[:2](images))))

    return run


def purified(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """Move the images towards what the model is surer of, before it answers."""
    with torch.enable_grad():
        points = images.detach().requires_grad_()
        (slope,) = torch.autograd.grad(model(points).logsumexp(1).sum(), points)
    return torch.as_tensor(model(images + 0.01 * slope.sign()))


def evaluated(model: nn.Module, digits: Digits, name: str, eps: float) -> RobustnessResult:
    suite = load_suite(name, [f"threat.eps={eps}", *SUITES[name]])
    assert isinstance(suite, AdversarialSuite)
    images, labels = digits
    return evaluate_robustness(model, images[:60], labels[:60], suite)


def raised(result: RobustnessResult) -> dict[str, str]:
    return {alarm.name: alarm.status for alarm in result.alarms if alarm.status != "pass"}


@pytest.mark.parametrize("name", SUITES)
def test_an_adversarially_trained_model_raises_no_alarm(
    robust_model: nn.Module, test_digits: Digits, name: str
) -> None:
    result = evaluated(robust_model, test_digits, name, 0.12)
    assert raised(result) == {}, [alarm.reason for alarm in result.alarms]
    assert len(result.alarms) >= 10
    assert result.accuracy["worst-case"].accuracy > 0.4


MASKS: dict[str, tuple[Around, dict[str, str]]] = {
    "quantised activations": (with_activations(rounded), {"gradients-not-zero": "fail"}),
    "masked straight-through": (
        with_activations(ScrambledRounding.apply),
        {"gradients-match-differences": "fail", "white-box-beats-black-box": "fail"},
    ),
    "straight-through": (with_activations(StraightThrough.apply), {"gradients-match-differences": "warn"}),
    "logits x 1e4": (
        lambda model, images: 1e4 * model(images),
        {"gradients-not-zero": "fail", "cross-entropy-not-saturated": "warn"},
    ),
    "softmax": (lambda model, images: model(images).softmax(1), {"outputs-are-logits": "warn"}),
    "noise": (
        lambda model, images: model(images + 0.1 * torch.randn_like(images)),
        {"answers-are-repeatable": "warn"},
    ),
    "purification": (purified, {"forward-is-static": "warn"}),
    "no gradient": (
        lambda model, images: model(images.detach()).detach(),
        {"gradients-not-zero": "fail", "white-box-beats-black-box": "fail", "unbounded-attack-reaches-zero": "fail"},
    ),
}


@pytest.mark.parametrize("mask", MASKS)
def test_a_masked_model_raises_its_alarms_and_is_broken(
    standard_model: nn.Module, test_digits: Digits, mask: str
) -> None:
    around, expected = MASKS[mask]
    result = evaluated(Masked(standard_model, around), test_digits, "adversarial-standard", WIDE)
    assert expected.items() <= raised(result).items()
    assert result.accuracy["clean"].accuracy > 0.85
    assert result.accuracy["worst-case"].accuracy < 0.1


def test_the_model_without_a_mask_raises_none_of_these_alarms(standard_model: nn.Module, test_digits: Digits) -> None:
    found = raised(evaluated(standard_model, test_digits, "adversarial-standard", WIDE))
    assert not found.keys() & {name for _, expected in MASKS.values() for name in expected}


def test_a_model_without_a_gradient_is_refused_by_a_suite_in_which_every_attack_needs_one(
    standard_model: nn.Module, test_digits: Digits, make_suite: Callable[..., AdversarialSuite]
) -> None:
    blind = Masked(standard_model, lambda model, images: model(images).detach())
    with pytest.raises(UserError, match=r"suite: attacks\.fgsm: .*add an attack without gradients, such as square"):
        evaluate_robustness(blind, *test_digits, make_suite())


def test_an_attack_on_the_expectation_answers_the_alarm_about_randomness(
    standard_model: nn.Module, test_digits: Digits, make_suite: Callable[..., AdversarialSuite]
) -> None:
    noisy = Masked(standard_model, MASKS["noise"][0])
    suite = make_suite(attacks={"averaged": {"name": "apgd-ce", "steps": 3, "eot": 4}}, max_images=20)
    found = {alarm.name: alarm for alarm in evaluate_robustness(noisy, *test_digits, suite).alarms}
    assert found["answers-are-repeatable"].status == "pass"
    assert "averaged average" in found["answers-are-repeatable"].reason
    assert "gradients-match-differences" not in found, "the differences of a random model are noise"
