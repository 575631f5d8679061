"""Models that do what no model should: an alarm where they can be measured, one sentence where they cannot."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import nofrost
from nofrost.config import AdversarialSuite, load_suite
from nofrost.errors import UserError
from nofrost.evaluate import evaluate_robustness, transfer

IMAGES = torch.rand(8, 1, 4, 4, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(8) % 4
SUITE = load_suite("adversarial-quick", ["attacks.apgd-ce-100.steps=3", "attacks.square-200.queries=3"])


class Odd(nn.Module):
    """A linear model with something done to its images or answers."""

    def __init__(self, act: Callable[[Odd, Tensor], Any]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(16, 4)
        self.register_buffer("seen", torch.zeros(1))
        self.act = act
        self.calls = 0

    def logits(self, images: Tensor) -> Tensor:
        answer: Tensor = self.linear(images.flatten(1))
        return answer

    def forward(self, images: Tensor) -> Any:
        self.calls += 1
        return self.act(self, images)


def adds_up(model: Odd, images: Tensor) -> Tensor:
    model.seen.add_(1)
    return model.logits(images)


def replaces(model: Odd, images: Tensor) -> Tensor:
    model.seen = model.seen + 1
    return model.logits(images)


def trains_itself(model: Odd, images: Tensor) -> Tensor:
    model.linear.bias.data.mul_(1.0001)
    return model.logits(images)


def measured(model: nn.Module) -> dict[str, tuple[str, str]]:
    assert isinstance(SUITE, AdversarialSuite)
    result = evaluate_robustness(model, IMAGES, LABELS, SUITE)
    return {alarm.name: (alarm.status, alarm.reason) for alarm in result.metrics.alarms}


@pytest.mark.parametrize(("act", "name"), [(adds_up, "seen"), (replaces, "seen"), (trains_itself, "linear.bias")])
def test_a_model_that_changes_itself_raises_an_alarm(act: Callable[[Odd, Tensor], Tensor], name: str) -> None:
    status, reason = measured(Odd(act))["forward-is-static"]
    assert (status, name in reason) == ("warn", True)


def test_a_model_that_does_not_change_raises_none() -> None:
    assert measured(Odd(Odd.logits))["forward-is-static"][0] == "pass"


def fails_later(error: BaseException) -> Callable[[Odd, Tensor], Tensor]:
    def act(model: Odd, images: Tensor) -> Tensor:
        if model.calls > 3:
            raise error
        return model.logits(images)

    return act


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda model, images: model.logits(images) * torch.nan, "NaN or infinite"),
        (lambda model, images: model.logits(images) + torch.inf, "NaN or infinite"),
        (lambda model, images: model.logits(images).to(torch.complex64), "complex64"),
        (lambda model, images: model.logits(images).to("meta"), "on meta"),
        (lambda model, images: model.logits(images)[:, :1], "shape"),
        (lambda model, images: model.logits(images)[:, : 4 if len(images) == 1 else 3], "4 and then 3 logits"),
        (lambda model, images: model.logits(images)[:1].repeat(3, 1), "shape"),
        (lambda model, images: [1, 2], "list"),
        (lambda model, images: None, "NoneType"),
        (lambda model, images: model.logits(images.view(8, 1, 4, 4)), "RuntimeError"),
        (lambda model, images: model.logits(images.view(1, 1, 4, 4)), "look for a fault in its code"),
        (fails_later(KeyError("depth")), "KeyError: 'depth'"),
        (fails_later(SystemExit(0)), "SystemExit"),
        (fails_later(EOFError()), "EOFError"),
    ],
)
def test_an_answer_that_is_none_is_one_sentence(act: Callable[[Odd, Tensor], Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        measured(Odd(act))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("model", [nn.Linear, [nn.Flatten()], 3, None, "resnet8"])
def test_what_is_no_model_is_refused(model: Any) -> None:
    with pytest.raises(UserError):
        measured(model)
    with pytest.raises(UserError):
        nofrost.create_attack("fgsm", eps=0.1)(model, IMAGES, LABELS)
    with pytest.raises(UserError, match="it must be a torch"):
        transfer({"odd": model}, IMAGES, LABELS, nofrost.create_attack("fgsm", eps=0.1))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"models": [nn.Flatten()]}, "there is no model"),
        ({"attack": "pgd"}, "the attack is a str: make one with"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"batch_size": 2.5}, "batch_size is 2.5"),
        ({"images": IMAGES.to_sparse()}, "images must be a float tensor"),
        ({"images": IMAGES.to("meta")}, "images must be a float tensor"),
        ({"labels": LABELS.to("meta")}, "labels must be 8 integers"),
        ({"labels": [10**30] * 8}, "labels must be 8 integers"),
    ],
)
def test_odd_arguments_of_a_transfer_are_refused(changes: dict[str, Any], message: str) -> None:
    attack = nofrost.create_attack("fgsm", eps=0.1)
    arguments = {"models": {"a": Odd(Odd.logits)}, "images": IMAGES, "labels": LABELS, "attack": attack}
    with pytest.raises(UserError, match=message):
        transfer(**(arguments | changes))


@pytest.mark.parametrize("name", [["pgd"], {"pgd": 1}, None, 3, "PGD", "p" * 100_000])
def test_what_is_no_name_of_an_attack_is_refused(name: Any) -> None:
    with pytest.raises(UserError, match="unknown attack") as caught:
        nofrost.create_attack(name, eps=0.1)
    assert len(str(caught.value)) < 1000
