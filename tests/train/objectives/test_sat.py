"""Adversarial training on clean and adversarial images, and what the papers say of their batch statistics."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nofrost.models import Classifier
from nofrost.train.objectives import Adversary, Batch, create_objective

Make = Callable[..., Classifier]


def gradients(model: Classifier, batch: Batch, fixed: Adversary, name: str, **settings: object) -> list[Tensor]:
    create_objective(name, **settings).loss(model, batch, fixed).loss.backward()  # type: ignore[no-untyped-call]
    return [torch.zeros_like(p) if p.grad is None else p.grad for p in model.parameters()]


def assert_all_close(first: list[Tensor], second: list[Tensor]) -> None:
    assert all(torch.allclose(a, b, atol=1e-10) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("batching", ["joint", "separate"])
def test_a_weight_of_zero_is_standard_training(batching: str, small: Make, batch: Batch, fixed: Adversary) -> None:
    weighted = gradients(small("bn"), batch, fixed, "sat", adversarial_weight=0, batching=batching)
    assert_all_close(weighted, gradients(small("bn"), batch, fixed, "st"))


@pytest.mark.parametrize("settings", [{"adversarial_weight": 1}, {"clean_share": 0}])
@pytest.mark.parametrize("batching", ["joint", "separate"])
def test_a_weight_of_one_and_no_clean_images_are_adversarial_training(
    settings: dict[str, float], batching: str, small: Make, batch: Batch, fixed: Adversary, adversarial: Tensor
) -> None:
    weighted = gradients(small("bn"), batch, fixed, "sat", batching=batching, **settings)
    assert_all_close(weighted, gradients(small("bn"), batch, fixed, "pgdat"))
    model = small("bn")
    F.cross_entropy(model(adversarial), batch.labels).backward()  # type: ignore[no-untyped-call]
    assert_all_close(weighted, [p.grad for p in model.parameters() if p.grad is not None])


@pytest.mark.parametrize("weight", [0.25, 0.5])
def test_sat_is_the_weighted_sum_of_both_losses(
    weight: float, small: Make, batch: Batch, fixed: Adversary, adversarial: Tensor
) -> None:
    model = small("nf")
    clean, attacked = (F.cross_entropy(model(images), batch.labels) for images in (batch.images, adversarial))
    loss = create_objective("sat", adversarial_weight=weight).loss(model, batch, fixed).loss
    assert loss.item() == pytest.approx(((1 - weight) * clean + weight * attacked).item())


def test_joint_and_separate_batches_are_equal_without_batch_statistics(
    small: Make, batch: Batch, fixed: Adversary
) -> None:
    joint, separate = (gradients(small("nf"), batch, fixed, "sat", batching=each) for each in ("joint", "separate"))
    assert_all_close(joint, separate)


def test_joint_and_separate_batches_differ_with_batch_norm(small: Make, batch: Batch, fixed: Adversary) -> None:
    joint, separate = (
        create_objective("sat", batching=batching).loss(small("bn"), batch, fixed).loss
        for batching in ("joint", "separate")
    )
    assert abs(joint.item() - separate.item()) > 1e-4


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_mixture_batch_norm_makes_joint_and_separate_batches_equal_again(
    share: float, small: Make, batch: Batch, fixed: Adversary
) -> None:
    joint, separate = (
        gradients(small("mbn"), batch, fixed, "mbnat", batching=batching, clean_share=share)
        for batching in ("joint", "separate")
    )
    assert_all_close(joint, separate)


@pytest.mark.parametrize("name", ["mbnat", "alp"])
def test_the_attack_is_made_against_the_adversarial_branch(
    name: str, small: Make, batch: Batch, fixed: Adversary, adversarial: Tensor
) -> None:
    model = small("mbn")
    seen = []

    class Watching(Adversary):
        def craft(self, attacked: nn.Module, batch: Batch, attack: object = None) -> Tensor:
            seen.append(model.selector.branch)
            return adversarial

    watching = Watching(fixed.spec, fixed.norm, fixed.eps, fixed.seed)
    before = model.selector.branch
    create_objective(name).loss(model, batch, watching)
    assert seen == ["adversarial"]
    assert model.selector.branch == before


@pytest.mark.parametrize("batching", ["joint", "separate"])
@pytest.mark.parametrize(("share", "kept"), [(1.0, 12), (0.8, 10), (0.5, 6), (0.01, 1), (0.0, 0)])
def test_a_share_of_the_clean_images_is_trained_on(
    share: float, kept: int, batching: str, small: Make, batch: Batch, fixed: Adversary
) -> None:
    """The loss is the mean over all images trained on."""
    model = small("nf")
    sizes = []
    model.register_forward_hook(lambda _, inputs, output: sizes.append(len(output)))
    losses = create_objective("sat", batching=batching, clean_share=share).loss(model, batch, fixed)
    assert sum(sizes) == kept + 12
    assert set(losses.correct) == ({"clean", "adversarial"} if kept else {"adversarial"})


def test_the_loss_on_a_share_is_the_mean_over_the_images_trained_on(
    small: Make, batch: Batch, fixed: Adversary, adversarial: Tensor
) -> None:
    model = small("nf")
    passed = []
    model.register_forward_hook(lambda _, inputs, output: passed.append(inputs[0]))
    loss = create_objective("sat", batching="joint", clean_share=0.5).loss(model, batch, fixed).loss
    rows = [int((batch.images == image).flatten(1).all(1).nonzero()) for image in passed[0][:6]]
    assert rows == sorted(set(rows))  # in the batch's order, each once
    logits = model(torch.cat([batch.images[rows], adversarial]))
    expected = F.cross_entropy(logits, torch.cat([batch.labels[rows], batch.labels]))
    assert loss.item() == pytest.approx(expected.item())


def test_which_clean_images_are_trained_on_depends_on_the_seed_of_the_step(
    small: Make, batch: Batch, fixed: Adversary
) -> None:
    objective = create_objective("sat", clean_share=0.5)
    first, again, other = (
        objective.loss(small("nf"), batch, dataclasses.replace(fixed, seed=seed)).loss.item() for seed in (0, 0, 1)
    )
    assert first == again != other


def test_the_best_checkpoint_is_chosen_by_what_the_loss_weighs() -> None:
    weights = {
        ("sat", 1.0): 0.5, ("sat", 0.25): 0.8, ("sat", 0.0): 1.0, ("mbnat", 1.0): 0.5, ("alp", 1.0): 0.5,
    }  # fmt: skip
    for (name, share), weight in weights.items():
        assert create_objective(name, clean_share=share).robust_weight == pytest.approx(weight)
    assert create_objective("trades", beta=6.0).robust_weight == pytest.approx(6 / 7)
    assert create_objective("trades", beta=0.0).robust_weight == create_objective("st").robust_weight == 0
    for name in ("pgdat", "fat", "fast", "free"):
        assert create_objective(name).robust_weight == 1


def test_correct_predictions_are_counted(small: Make, batch: Batch, fixed: Adversary, adversarial: Tensor) -> None:
    model = small("nf")
    correct = create_objective("sat").loss(model, batch, fixed).correct
    assert int(correct["clean"]) == int((model(batch.images).argmax(1) == batch.labels).sum())
    assert int(correct["adversarial"]) == int((model(adversarial).argmax(1) == batch.labels).sum())


def test_label_smoothing_is_in_the_training_loss(small: Make, batch: Batch, fixed: Adversary) -> None:
    model = small("nf")
    smoothed = create_objective("st", label_smoothing=0.1).loss(model, batch, fixed).loss
    plain = F.cross_entropy(model(batch.images), batch.labels, label_smoothing=0.1)
    assert smoothed.item() == pytest.approx(plain.item())
