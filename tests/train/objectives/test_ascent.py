"""The attacks of FAT and TRADES: early stopping, the divergence, and what they have in common with PGD."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nofrost.attacks import create_attack
from nofrost.config import AttackSpec
from nofrost.models import Classifier
from nofrost.train.objectives import Adversary, Batch, create_objective
from nofrost.train.objectives.friendly import Ascent
from nofrost.train.objectives.trades import DivergenceAscent, divergence

Make = Callable[..., Classifier]
LINF: dict[str, Any] = {"norm": "linf", "eps": 0.1, "seed": 3, "steps": 6}
L2: dict[str, Any] = {"norm": "l2", "eps": 1.0, "seed": 3, "steps": 6}
NO_STEP = {"steps": 1, "step_size": 1e-12}  # ends where it starts


def images_passed(model: nn.Module) -> list[int]:
    """Return a list that grows by the number of images of each forward pass."""
    sizes: list[int] = []
    model.register_forward_hook(lambda _, inputs, output: sizes.append(len(output)))
    return sizes


@pytest.fixture
def right(small: Make, batch: Batch) -> Batch:
    """The batch with labels of which the untrained model gets the even ones right."""
    with torch.no_grad():
        answers = small("bn").eval()(batch.images).argmax(1)
    return Batch(batch.images, (answers + torch.arange(12) % 2) % 4, batch.indices)


@pytest.mark.parametrize("tau", [None, 6, 9])
@pytest.mark.parametrize("threat", [LINF, L2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_tau_of_all_steps_is_pgd_to_the_bit(
    tau: int | None, threat: dict[str, Any], dtype: torch.dtype, small: Make, right: Batch
) -> None:
    model, images = small("bn").to(dtype), right.images.to(dtype)
    pgd = create_attack("pgd", keep="last", **threat)(model, images, right.labels, indices=right.indices)
    adversarial = Ascent(tau=tau, **threat)(model, images, right.labels, indices=right.indices)
    assert torch.equal(adversarial, pgd)


@pytest.mark.parametrize("threat", [LINF, L2])
def test_with_tau_zero_images_misclassified_at_the_start_are_not_attacked(
    threat: dict[str, Any], small: Make, right: Batch
) -> None:
    model = small("bn").eval()
    start = Ascent(**{**threat, **NO_STEP})(model, right.images, right.labels, indices=right.indices)
    with torch.no_grad():
        wrong = model(start).argmax(1) != right.labels
    assert 0 < wrong.sum() < 12
    adversarial = Ascent(tau=0, **threat)(model, right.images, right.labels, indices=right.indices)
    torch.testing.assert_close(adversarial[wrong], start[wrong], atol=1e-10, rtol=0)
    moved = (adversarial - start).abs().amax((1, 2, 3))
    assert (moved[~wrong] > 1e-3).all()


def test_each_image_stops_where_it_would_alone(small: Make, right: Batch) -> None:
    """So a result depends on no other image of the batch, nor on the process that holds it."""
    model = small("bn")
    attack = Ascent(tau=1, step_noise=0.01, **LINF)
    adversarial = attack(model, right.images, right.labels, indices=right.indices)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    shuffled = attack(model, right.images[order], right.labels[order], indices=right.indices[order])
    torch.testing.assert_close(shuffled, adversarial[order], atol=1e-9, rtol=0)
    alone = attack(model, right.images[3:4], right.labels[3:4], indices=right.indices[3:4])
    torch.testing.assert_close(alone, adversarial[3:4], atol=1e-9, rtol=0)


def test_finished_images_cost_nothing(small: Make, right: Batch) -> None:
    model = small("bn")
    sizes = images_passed(model)
    Ascent(tau=0, **LINF)(model, right.images, right.labels, indices=right.indices)
    assert sizes[0] == 12
    assert sizes[1] < 12
    assert sizes == sorted(sizes, reverse=True)
    sizes.clear()
    with torch.no_grad():
        wrong = (small("bn").eval()(right.images).argmax(1) + 1) % 4
    Ascent(tau=0, **{**LINF, "eps": 1e-6})(model, right.images, wrong, indices=right.indices)
    assert sizes == [12]


def test_a_larger_tau_attacks_longer(small: Make, right: Batch) -> None:
    model = small("bn")
    passes = []
    for tau in (0, 1, 3):
        sizes = images_passed(model)
        Ascent(tau=tau, **LINF)(model, right.images, right.labels, indices=right.indices)
        passes.append(sum(sizes))
    assert passes == sorted(set(passes))


def test_step_noise_is_drawn_anew_at_each_step_and_stays_inside_the_ball(small: Make, right: Batch) -> None:
    model = small("bn")
    far = {**LINF, "eps": 0.3, "step_size": 1e-12}
    images = torch.full_like(right.images, 0.5)
    start = Ascent(**{**far, **NO_STEP})(model, images, right.labels, indices=right.indices)
    moves = []
    for steps in (1, 2):
        noisy = Ascent(step_noise=0.001, **{**far, "steps": steps})(model, images, right.labels, indices=right.indices)
        moves.append((noisy - start).std().item())
        assert (noisy - images).abs().max() <= 0.3 + 1e-9
    assert moves[0] == pytest.approx(0.001, rel=0.05)
    assert moves[1] == pytest.approx(0.001 * 2**0.5, rel=0.05)


@pytest.mark.parametrize("threat", [LINF, L2])
def test_trades_starts_beside_the_clean_image_and_climbs_the_divergence(
    threat: dict[str, Any], small: Make, right: Batch
) -> None:
    model = small("bn").eval()
    images = right.images * 0.5 + 0.25
    start = DivergenceAscent(**{**threat, **NO_STEP})(model, images, right.labels, indices=right.indices)
    assert (start - images).std().item() == pytest.approx(0.001, rel=0.05)
    adversarial = DivergenceAscent(**threat)(model, images, right.labels, indices=right.indices)
    with torch.no_grad():
        clean = model(images)
        before, after = (divergence(clean, model(points)) for points in (start, adversarial))
    assert (after > before).all()


def test_trades_computes_the_clean_logits_of_its_attack_once(small: Make, right: Batch) -> None:
    model = small("bn")
    sizes = images_passed(model)
    DivergenceAscent(**LINF)(model, right.images, right.labels, indices=right.indices)
    assert sizes == [12] * (1 + 6)


@pytest.mark.parametrize("scale", [1.0, 1e2, 1e4])
def test_the_divergence_is_finite_at_extreme_logits(scale: float) -> None:
    clean = torch.tensor([[scale, 0.0, -scale], [0.0, 0.0, scale]], requires_grad=True)
    adversarial = torch.tensor([[-scale, scale, 0.0], [0.0, 0.0, scale]], requires_grad=True)
    values = divergence(clean, adversarial)
    values.sum().backward()  # type: ignore[no-untyped-call]
    assert values[1].item() == 0
    assert values[0].isfinite()
    assert values[0] > 0.5
    for logits in (clean, adversarial):
        assert logits.grad is not None
        assert logits.grad.isfinite().all()


def test_trades_is_finite_on_a_model_with_extreme_logits(small: Make, right: Batch) -> None:
    class Confident(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = small("bn").float()

        def forward(self, images: Tensor) -> Tensor:
            logits: Tensor = self.inner(images)
            return logits * 1e4

    model = Confident()
    adversary = Adversary(AttackSpec(name="pgd", steps=2, keep="last"), "linf", 0.1, 0)
    batch = Batch(right.images.float(), right.labels, right.indices)
    loss = create_objective("trades", beta=6.0).loss(model, batch, adversary).loss
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.isfinite()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("name", ["fat", "trades-fat"])
def test_tau_grows_at_the_milestones(name: str, small: Make, right: Batch) -> None:
    spec = AttackSpec(name="pgd", steps=4, keep="last")

    def adversarial_loss(epochs_done: float, **settings: Any) -> float:
        adversary = Adversary(spec, "linf", 0.1, 3, epochs_done)
        return create_objective(name, **settings).loss(small("bn"), right, adversary).loss.item()

    growing = {"tau": 0, "tau_milestones": (50, 90)}
    constant = [adversarial_loss(0, tau=tau) for tau in (0, 1, 2)]
    assert len(set(constant)) == 3
    assert [adversarial_loss(epoch, **growing) for epoch in (0, 49.9, 50, 89.9, 90, 119)] == [
        constant[tau] for tau in (0, 0, 1, 1, 2, 2)
    ]


def test_trades_without_weight_is_standard_training_without_attack(small: Make, right: Batch) -> None:
    model = small("bn")
    sizes = images_passed(model)
    adversary = Adversary(AttackSpec(name="pgd", steps=6, keep="last"), "linf", 0.1, 3)
    losses = create_objective("trades", beta=0.0).loss(model, right, adversary)
    assert sizes == [12]
    assert losses.loss.item() == create_objective("st").loss(small("bn"), right, adversary).loss.item()
