"""What attacks need of model and images (classes, room for the budget) is asked before anything is measured."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nofrost.attacks import WorstCase, attack_settings, create_attack, list_attacks
from nofrost.config import AdversarialSuite, load_suite
from nofrost.errors import UserError
from nofrost.evaluate import evaluate_robustness, transfer
from nofrost.evaluate.measuring.engine import Engine

MakeSuite = Callable[..., AdversarialSuite]
NEEDED = {"apgd-dlr": 3, "apgd-t": 4}


class Linear(nn.Module):
    """A linear model that every attack breaks at a budget of 1/4."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(classes, 64, generator=torch.Generator().manual_seed(classes)))

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1) @ self.weight.T


def batch(classes: int) -> tuple[nn.Module, Tensor, Tensor]:
    model, images = Linear(classes), torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    return model, images, model(images).argmax(1)


@pytest.fixture
def unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    def measured(*_: object) -> None:
        raise AssertionError("measured")

    monkeypatch.setattr(Engine, "_measure", measured)


PLACES: dict[str, Callable[[str], dict[str, Any]]] = {
    "attacks.a": lambda name: {"attacks": {"a": {"name": name}}},
    "attacks.b": lambda name: {"attacks": {"a": {"name": "apgd-ce"}, "b": {"name": name}}, "cascade": True},
    "steps_curve": lambda name: {"steps_curve": {"attack": name, "steps": [1, 2]}},
    "budget_curve.attack": lambda name: {"budget_curve": {"attack": {"name": name}, "multiples": [1]}},
    "properties.model_smoothness.attack": lambda name: {"properties": {"model_smoothness": {"attack": {"name": name}}}},
    "properties.batch_norm.attack": lambda name: {"properties": {"batch_norm": {"attack": {"name": name}}}},
}


@pytest.mark.usefixtures("unmeasured")
@pytest.mark.parametrize("eps", ["0", "4/255", "64/255", "1"])
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(("name", "classes"), [("apgd-dlr", 2), ("apgd-t", 2), ("apgd-t", 3)])
def test_an_attack_on_too_few_classes_is_refused_before_anything_is_measured(
    make_suite: MakeSuite, name: str, classes: int, place: str, eps: str
) -> None:
    suite = make_suite(threat={"eps": eps}, **PLACES[place](name))
    with pytest.raises(UserError) as refused:
        evaluate_robustness(*batch(classes), suite)
    text = f"suite: {place}: the model has {classes} classes, but {name} needs at least {NEEDED[name]}: use apgd-ce, or"
    assert str(refused.value).startswith(text)


@pytest.mark.usefixtures("unmeasured")
@pytest.mark.parametrize("eps", ["0", "4/255", "64/255"])
@pytest.mark.parametrize("classes", [2, 3])
def test_the_standard_suite_names_the_attack_that_a_model_of_few_classes_needs(classes: int, eps: str) -> None:
    suite = load_suite("adversarial-standard", [f"threat.eps={eps}"])
    with pytest.raises(UserError, match=rf"^suite: attacks\.apgd-t: the model has {classes} classes, .*autoattack"):
        evaluate_robustness(*batch(classes), suite)


@pytest.mark.usefixtures("unmeasured")
@pytest.mark.parametrize("multiples", [[1, 40], [80]])
def test_a_budget_that_is_larger_than_an_image_is_refused_before_anything_is_measured(
    make_suite: MakeSuite, multiples: list[int]
) -> None:
    curve = {"attack": {"name": "apgd-ce"}, "multiples": multiples}
    with pytest.raises(UserError, match=r"^suite: budget_curve\.attack: eps is .* further apart than 8 "):
        evaluate_robustness(*batch(5), make_suite(threat={"norm": "l2", "eps": 0.25}, budget_curve=curve))


@pytest.mark.parametrize("eps", [0, 4 / 255, 64 / 255])
@pytest.mark.parametrize("classes", [2, 3, 4])
@pytest.mark.parametrize("name", list_attacks())
def test_each_attack_runs_on_few_classes_or_refuses_them_whatever_the_budget(
    name: str, classes: int, eps: float
) -> None:
    settings = {key: value for key, value in (("steps", 2), ("queries", 5)) if key in attack_settings(name)}
    for attack in (create_attack(name, eps=eps, **settings), WorstCase.of(create_attack(name, eps=eps, **settings))):
        if classes >= NEEDED.get(name, 2):
            assert attack(*batch(classes)).shape == (3, 1, 8, 8)
            continue
        with pytest.raises(UserError, match=f"^the model has {classes} classes, but .* at least {NEEDED[name]}: "):
            attack(*batch(classes))
        model, images, labels = batch(classes)
        with pytest.raises(UserError, match=f"^model m: the model has {classes} classes"):
            transfer({"m": model}, images, labels, attack)


@pytest.mark.parametrize("eps", ["4/255", "64/255"])
@pytest.mark.parametrize("classes", [2, 3, 4])
def test_autoattack_on_too_few_classes_is_no_autoattack_on_a_card(
    make_suite: MakeSuite, classes: int, eps: str
) -> None:
    suite = make_suite(threat={"eps": eps}, attacks={"autoattack": {}})
    card = evaluate_robustness(*batch(classes), suite).card(name="A model", authors="A. One")
    assert (card["autoattack_acc"] is None) == (classes < 4)
    reason = card["nofrost"]["autoattack_reason"]
    assert reason is None or f"the model has {classes} classes, fewer than the 4" in reason


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("name", ["adversarial-quick", "adversarial-zeise2025"])
def test_suites_without_such_attacks_take_models_of_few_classes(name: str, classes: int) -> None:
    suite = load_suite(name, ["max_images=1", "threat.eps=1/255"])
    assert isinstance(suite, AdversarialSuite)
    assert evaluate_robustness(*batch(classes), suite).accuracy["clean"].total == 1
