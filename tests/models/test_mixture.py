"""Mixture batch norm: the domain is explicit, in training and in evaluation."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import nn

from nofrost.models import Classifier, Joint, MixtureBatchNorm2d, create_model, domain, has_mixture

IMAGES = torch.rand(6, 1, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def model() -> Classifier:
    torch.manual_seed(0)
    built = create_model("resnet8", normaliser="mbn", num_classes=4, image_size=16, channels=1, mixture_weight=0.25)
    for module in built.modules():
        if isinstance(module, MixtureBatchNorm2d):
            for branch in (module.clean, module.adversarial):
                nn.init.uniform_(branch.weight, 0.5, 1.5)
                branch.running_mean.uniform_(-0.3, 0.3)  # type: ignore[union-attr]
    return built.eval()


@contextmanager
def unchanged(model: Classifier, word: str) -> Iterator[None]:
    before = copy.deepcopy({name: value for name, value in model.state_dict().items() if word in name})
    yield
    assert before
    assert all(torch.equal(model.state_dict()[name], value) for name, value in before.items())


def logits(model: Classifier, value: object) -> torch.Tensor:
    with torch.no_grad(), domain(model, value):  # type: ignore[arg-type]
        return model(IMAGES)  # type: ignore[no-any-return]


def test_the_branches_answer_differently_in_evaluation_mode(model: Classifier) -> None:
    assert not torch.allclose(logits(model, "clean"), logits(model, "adversarial"))


@pytest.mark.parametrize(("weight", "branch"), [(0, "clean"), (0.0, "clean"), (1, "adversarial"), (1.0, "adversarial")])
def test_a_weight_at_an_end_is_one_branch_exactly(model: Classifier, weight: float, branch: str) -> None:
    assert torch.equal(logits(model, weight), logits(model, branch))


def test_the_deployed_model_mixes_the_logits_with_its_own_weight(model: Classifier) -> None:
    with torch.no_grad():
        deployed = model(IMAGES)
    expected = 0.75 * logits(model, "clean") + 0.25 * logits(model, "adversarial")
    assert torch.allclose(deployed, expected, atol=1e-6)


def test_a_joint_batch_sends_each_part_through_its_branch(model: Classifier) -> None:
    joint = logits(model, Joint(2))
    assert torch.allclose(joint[:2], logits(model, "clean")[:2], atol=1e-6)
    assert torch.allclose(joint[2:], logits(model, "adversarial")[2:], atol=1e-6)


@pytest.mark.parametrize(("used", "other"), [("clean", ".adversarial."), ("adversarial", ".clean.")])
def test_training_in_one_branch_moves_no_statistics_of_the_other(model: Classifier, used: str, other: str) -> None:
    model.train()
    with unchanged(model, other), domain(model, used):  # type: ignore[arg-type]
        model(IMAGES)


def test_the_domain_before_the_block_comes_back_after_an_error(model: Classifier) -> None:
    with pytest.raises(ZeroDivisionError), domain(model, "adversarial"):
        raise ZeroDivisionError
    assert model.selector.domain == 0.25


def test_the_domain_comes_back_when_the_network_fails_inside_a_mixture(model: Classifier) -> None:
    with pytest.raises(RuntimeError):
        model(torch.rand(2, 3, 16, 16))
    assert model.selector.domain == 0.25


def test_a_copy_of_a_model_has_a_domain_of_its_own(model: Classifier) -> None:
    twin = copy.deepcopy(model)
    with domain(twin, "adversarial"):
        assert model.selector.domain == 0.25


def test_wrapped_models_are_looked_through(model: Classifier) -> None:
    wrapped = nn.Sequential(model)
    with torch.no_grad(), domain(wrapped, "adversarial"):
        assert torch.equal(wrapped(IMAGES), logits(model, "adversarial"))
    assert has_mixture(wrapped)


@pytest.mark.parametrize("value", ["neither", -0.1, 1.5, None])
def test_a_domain_that_is_none_is_refused(model: Classifier, value: object) -> None:
    with pytest.raises(ValueError, match="domain"), domain(model, value):  # type: ignore[arg-type]
        pass


def test_a_model_without_mixture_is_left_alone() -> None:
    plain = create_model("resnet8", num_classes=4, image_size=16, channels=1).eval()
    assert not has_mixture(plain)
    with torch.no_grad(), domain(plain, "adversarial"):
        inside = plain(IMAGES)
    with torch.no_grad():
        assert torch.equal(inside, plain(IMAGES))
