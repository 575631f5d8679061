"""The training losses, and what the papers say of batch statistics."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from nofrost.attacks import create_attack
from nofrost.config import AttackSpec
from nofrost.errors import UserError
from nofrost.models import Classifier, MixtureBatchNorm2d, create_model
from nofrost.train.objectives import Adversary, Batch, Losses, create_objective

GENERATOR = torch.Generator().manual_seed(0)
IMAGES = torch.rand(12, 1, 16, 16, generator=GENERATOR, dtype=torch.float64)
LABELS = torch.randint(0, 4, (12,), generator=GENERATOR)
ADVERSARIAL = (IMAGES + 0.1 * torch.randn(12, 1, 16, 16, generator=GENERATOR, dtype=torch.float64)).clamp(0, 1)
AUGMENTED = IMAGES.flip(3)
INDICES = torch.arange(12)
SPEC = AttackSpec(name="pgd", steps=2, keep="last")


class Given(Adversary):
    """An adversary whose images are given."""

    def craft(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        return ADVERSARIAL


def small(normaliser: str) -> Classifier:
    torch.manual_seed(1)
    return create_model("resnet8", normaliser=normaliser, num_classes=4, image_size=16, channels=1).double()


def outcome(model: Classifier, name: str, **spec: object) -> Losses:
    batch = Batch(IMAGES, LABELS, INDICES, {"augmented": AUGMENTED})
    return create_objective(name, **spec).loss(model, batch, Given(SPEC, "linf", 0.1, 0))


def gradients(model: Classifier, name: str, **spec: object) -> list[torch.Tensor]:
    outcome(model, name, **spec).loss.backward()  # type: ignore[no-untyped-call]
    return [torch.zeros_like(p) if p.grad is None else p.grad for p in model.parameters()]


def assert_all_close(first: list[torch.Tensor], second: list[torch.Tensor]) -> None:
    assert all(torch.allclose(a, b, atol=1e-10) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("batching", ["joint", "separate"])
def test_a_weight_of_zero_is_standard_training(batching: str) -> None:
    weighted = gradients(small("bn"), "sat", adversarial_weight=0, batching=batching)
    assert_all_close(weighted, gradients(small("bn"), "st"))


@pytest.mark.parametrize("batching", ["joint", "separate"])
def test_a_weight_of_one_is_pgd_adversarial_training(batching: str) -> None:
    weighted = gradients(small("bn"), "sat", adversarial_weight=1, batching=batching)
    model = small("bn")
    F.cross_entropy(model(ADVERSARIAL), LABELS).backward()  # type: ignore[no-untyped-call]
    assert_all_close(weighted, [p.grad for p in model.parameters() if p.grad is not None])


@pytest.mark.parametrize("weight", [0.25, 0.5])
def test_sat_is_the_weighted_sum_of_both_losses(weight: float) -> None:
    model = small("nf")
    clean, adversarial = (F.cross_entropy(model(images), LABELS) for images in (IMAGES, ADVERSARIAL))
    loss = outcome(model, "sat", adversarial_weight=weight).loss
    assert loss.item() == pytest.approx(((1 - weight) * clean + weight * adversarial).item())


def test_joint_and_separate_batches_are_equal_without_batch_statistics() -> None:
    joint, separate = (gradients(small("nf"), "sat", batching=batching) for batching in ("joint", "separate"))
    assert_all_close(joint, separate)


def test_joint_and_separate_batches_differ_with_batch_norm() -> None:
    joint, separate = (outcome(small("bn"), "sat", batching=batching).loss for batching in ("joint", "separate"))
    assert abs(joint.item() - separate.item()) > 1e-4


def test_mixture_bn_makes_joint_and_separate_batches_equal_again() -> None:
    joint, separate = (gradients(small("mbn"), "mbnat", batching=batching) for batching in ("joint", "separate"))
    assert_all_close(joint, separate)


def test_mbnat_crafts_against_the_adversarial_branch() -> None:
    model = small("mbn")
    seen = []

    def craft() -> torch.Tensor:
        seen.append(model.selector.domain)
        return ADVERSARIAL

    create_objective("mbnat")(model, Batch(IMAGES, LABELS), ObjectiveSpec(name="mbnat"), craft)
    assert seen == ["adversarial"]


def test_making_adversarial_images_touches_no_statistics_and_restores_every_mode() -> None:
    model = small("mbn").train()
    frozen = next(module for module in model.modules() if isinstance(module, nn.BatchNorm2d))
    frozen.eval()
    before = copy.deepcopy(model.state_dict())
    attack = create_attack("pgd", eps="8/255", steps=3, keep="last")
    attack(model, IMAGES, LABELS)
    assert all(torch.equal(model.state_dict()[name], value) for name, value in before.items())
    assert not frozen.training
    assert all(module.training for module in model.modules() if module is not frozen)


@pytest.mark.parametrize(
    ("objective", "normaliser", "updates"), [("st", "bn", 1), ("sat", "bn", 2), ("mbnat", "mbn", 1)]
)
def test_each_objective_moves_the_batch_statistics_as_often_as_the_paper_says(
    objective: str, normaliser: str, updates: int
) -> None:
    model = small(normaliser)
    outcome(model, objective)
    counts = {int(m.num_batches_tracked) for m in model.modules() if isinstance(m, nn.BatchNorm2d)}  # type: ignore[arg-type]
    assert counts == {updates}


@pytest.mark.parametrize("batching", ["joint", "separate"])
def test_the_three_losses_of_nofrost_star_weigh_a_third_each(batching: str) -> None:
    model = small("nf")
    losses = [F.cross_entropy(model(images), LABELS).item() for images in (IMAGES, AUGMENTED, ADVERSARIAL)]
    result = outcome(model, "multi-view", batching=batching)
    assert result.loss.item() == pytest.approx(sum(losses) / 3)
    assert set(result.correct) == {"clean", "augmented", "adversarial"}


def test_right_answers_are_counted_exactly() -> None:
    model = small("nf")
    correct = outcome(model, "sat").correct
    assert int(correct["clean"]) == int((model(IMAGES).argmax(1) == LABELS).sum())
    assert int(correct["adversarial"]) == int((model(ADVERSARIAL).argmax(1) == LABELS).sum())


def test_label_smoothing_is_in_the_training_loss() -> None:
    model = small("nf")
    smoothed = outcome(model, "st", label_smoothing=0.1).loss
    assert smoothed.item() == pytest.approx(F.cross_entropy(model(IMAGES), LABELS, label_smoothing=0.1).item())


def test_mixture_bn_is_the_only_normaliser_for_mbnat() -> None:
    with pytest.raises(UserError, match=r"set model\.normaliser to mbn"):
        outcome(small("bn"), "mbnat")


def test_an_unknown_objective_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(UserError, match=r"unknown objective .stt.:.*mbnat"):
        create_objective("stt")


def test_a_mixture_layer_cannot_be_asked_for_a_weight() -> None:
    model = small("mbn")
    layer = next(module for module in model.modules() if isinstance(module, MixtureBatchNorm2d))
    with pytest.raises(RuntimeError, match="call the model"):
        layer(torch.rand(2, 16, 4, 4, dtype=torch.float64))
