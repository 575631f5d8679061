"""Mixture batch norm: the branch is explicit, in training and in evaluation."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import nn

from nofrost.attacks import create_attack
from nofrost.models import Branch, Classifier, Joint, Mixture, branch, create_model, has_mixture

IMAGES = torch.rand(6, 1, 16, 16, generator=torch.Generator().manual_seed(0))


@contextmanager
def unchanged(model: Classifier, word: str) -> Iterator[None]:
    before = copy.deepcopy({name: value for name, value in model.state_dict().items() if word in name})
    yield
    assert before
    assert all(torch.equal(model.state_dict()[name], value) for name, value in before.items())


def logits(model: Classifier, value: object) -> torch.Tensor:
    with torch.no_grad(), branch(model, value):  # type: ignore[arg-type]
        return model(IMAGES)  # type: ignore[no-any-return]


def test_the_branches_answer_differently_in_evaluation_mode(mixture: Classifier) -> None:
    assert not torch.allclose(logits(mixture, "clean"), logits(mixture, "adversarial"))


@pytest.mark.parametrize(("weight", "branch"), [(0, "clean"), (0.0, "clean"), (1, "adversarial"), (1.0, "adversarial")])
def test_a_weight_at_an_end_is_one_branch_exactly(mixture: Classifier, weight: float, branch: str) -> None:
    assert torch.equal(logits(mixture, weight), logits(mixture, branch))


def test_the_deployed_model_mixes_the_logits_with_its_own_weight(mixture: Classifier) -> None:
    with torch.no_grad():
        deployed = mixture(IMAGES)
    expected = 0.75 * logits(mixture, "clean") + 0.25 * logits(mixture, "adversarial")
    assert torch.allclose(deployed, expected, atol=1e-6)


def test_a_joint_batch_sends_each_part_through_its_branch(mixture: Classifier) -> None:
    joint = logits(mixture, Joint(2))
    assert torch.allclose(joint[:2], logits(mixture, "clean")[:2], atol=1e-6)
    assert torch.allclose(joint[2:], logits(mixture, "adversarial")[2:], atol=1e-6)


@pytest.mark.parametrize(("used", "other"), [("clean", ".adversarial."), ("adversarial", ".clean.")])
def test_training_in_one_branch_moves_no_statistics_of_the_other(mixture: Classifier, used: str, other: str) -> None:
    mixture.train()
    with unchanged(mixture, other), branch(mixture, used):  # type: ignore[arg-type]
        mixture(IMAGES)


def test_the_branch_before_the_block_comes_back_after_an_error(mixture: Classifier) -> None:
    with pytest.raises(ZeroDivisionError), branch(mixture, "adversarial"):
        raise ZeroDivisionError
    assert mixture.selector.branch == Mixture(0.25)


def test_the_branch_comes_back_when_the_network_fails_inside_a_mixture(mixture: Classifier) -> None:
    with pytest.raises(RuntimeError):
        mixture(torch.rand(2, 3, 16, 16))
    assert mixture.selector.branch == Mixture(0.25)


def test_a_copy_of_a_model_has_a_branch_of_its_own(mixture: Classifier) -> None:
    twin = copy.deepcopy(mixture)
    with branch(twin, "adversarial"):
        assert mixture.selector.branch == Mixture(0.25)


def test_wrapped_models_are_looked_through(mixture: Classifier) -> None:
    wrapped = nn.Sequential(mixture)
    with torch.no_grad(), branch(wrapped, "adversarial"):
        assert torch.equal(wrapped(IMAGES), logits(mixture, "adversarial"))
    assert has_mixture(wrapped)


@pytest.mark.parametrize("value", ["neither", -0.1, 1.5, float("nan"), None])
def test_a_branch_that_is_none_is_refused(mixture: Classifier, value: object) -> None:
    with pytest.raises(ValueError, match="branch"), branch(mixture, value):  # type: ignore[arg-type]
        pass


def test_a_model_without_mixture_is_left_alone() -> None:
    plain = create_model("resnet8", num_classes=4, image_size=16, channels=1).eval()
    assert not has_mixture(plain)
    with torch.no_grad(), branch(plain, "adversarial"):
        inside = plain(IMAGES)
    with torch.no_grad():
        assert torch.equal(inside, plain(IMAGES))


def test_a_single_kind_of_images_is_a_joint_batch_too(mixture: Classifier) -> None:
    mixture.train()
    with unchanged(mixture, ".clean."), branch(mixture, Joint(0)):
        mixture(IMAGES)
    with unchanged(mixture, ".adversarial."), branch(mixture, Joint(len(IMAGES))):
        mixture(IMAGES)


@pytest.mark.parametrize("value", ["clean", "adversarial", 0.3, Mixture(0.3, "all"), Mixture(0.3, "random")])
def test_an_attack_moves_no_statistics_and_no_weights(mixture: Classifier, value: Branch) -> None:
    attack = create_attack("pgd", norm="linf", eps=8 / 255, steps=2)
    mixture.train()
    with unchanged(mixture, ""), branch(mixture, value):
        attack(mixture, IMAGES, torch.arange(6) % 4)
    assert all(module.training for module in mixture.modules())
