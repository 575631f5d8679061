"""Losses, batch statistics and one step of descent against formulas that are written out here, in float64."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from nofrost.attacks.random import Noise
from nofrost.config import AttackSpec
from nofrost.config.fraction import PixelFraction
from nofrost.models import Classifier, branch
from nofrost.train.objectives import Adversary, Batch, Losses

EPS, LENGTH, STEPS, SEED = 0.06, 0.02, 3, 7
PGD = AttackSpec(name="pgd", steps=STEPS, step_size=PixelFraction(str(LENGTH)), keep="last")
ONE_STEP = AttackSpec(name="pgd", steps=1)


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """The mean over images of log(Σ exp z) - z_y."""
    return (logits.exp().sum(1).log() - logits[range(len(labels)), labels]).mean()


def kl(clean: Tensor, adversarial: Tensor) -> Tensor:
    """Σ p log(p / q), over classes and images."""
    p, q = clean.softmax(1), adversarial.softmax(1)
    return (p * (p / q).log()).sum()


def clipped(points: Tensor, images: Tensor, eps: float = EPS) -> Tensor:
    return torch.minimum(torch.maximum(points, images - eps), images + eps).clamp(0, 1)


def gradient(loss: Tensor, points: Tensor) -> Tensor:
    return torch.autograd.grad(loss, points)[0]


def step_up(points: Tensor, images: Tensor, value: Callable[[Tensor], Tensor], length: float = LENGTH) -> Tensor:
    points = points.detach().requires_grad_()
    return clipped(points + length * gradient(value(points), points).sign(), images).detach()


def uniform_start(batch: Batch) -> Tensor:
    noise = Noise.of(SEED, batch.indices).stream(0).uniform((1, 16, 16), torch.float64)
    return clipped(batch.images + EPS * noise, batch.images)


def normal_start(batch: Batch) -> Tensor:
    noise = Noise.of(SEED, batch.indices).stream(0).normal((1, 16, 16), torch.float64)
    return clipped(batch.images + 0.001 * noise, batch.images)


def descended(model: nn.Module, loss: Tensor, lr: float = 0.1) -> None:
    gradients = torch.autograd.grad(loss, list(model.parameters()))
    with torch.no_grad():
        for parameter, slope in zip(model.parameters(), gradients, strict=True):
            parameter -= lr * slope


def early_stopped(model: nn.Module, batch: Batch, start: Tensor, tau: int, of: Callable[..., Tensor]) -> Tensor:
    """The early stopping of Zhang et al. 2020, one image after the other."""
    results = []
    for image, label, point in zip(batch.images, batch.labels, start, strict=True):
        images, points, patience = image[None], point[None], tau
        for _ in range(STEPS):
            wrong = int(model(points).argmax()) != int(label)
            if wrong and patience == 0:
                break
            patience -= wrong
            points = step_up(points, images, lambda x, images=images, label=label: of(x, images, label[None]))
        results.append(points)
    return torch.cat(results)


def trades(model: Classifier, batch: Batch, beta: float, tau: int | None) -> Tensor:
    model.eval()
    if tau is None:
        clean, points = model(batch.images).detach(), normal_start(batch)
        for _ in range(STEPS):
            points = step_up(points, batch.images, lambda x: kl(clean, model(x)))
    else:
        points = early_stopped(
            model, batch, normal_start(batch), tau, lambda x, images, label: kl(model(images).detach(), model(x))
        )
    model.train()
    clean, attacked = model(batch.images), model(points)
    return cross_entropy(clean, batch.labels) + beta * kl(clean, attacked) / len(batch.labels)


def fat(model: Classifier, batch: Batch, tau: int) -> Tensor:
    model.eval()
    points = early_stopped(
        model, batch, uniform_start(batch), tau, lambda x, images, label: cross_entropy(model(x), label)
    )
    model.train()
    return cross_entropy(model(points), batch.labels)


def pgdat(model: Classifier, batch: Batch) -> Tensor:
    model.eval()
    points = uniform_start(batch)
    for _ in range(STEPS):
        points = step_up(points, batch.images, lambda x: cross_entropy(model(x), batch.labels))
    model.train()
    return cross_entropy(model(points), batch.labels)


def fast(model: Classifier, batch: Batch, length: float) -> Tensor:
    points = step_up(uniform_start(batch), batch.images, lambda x: cross_entropy(model(x), batch.labels), length)
    return cross_entropy(model(points), batch.labels)


def assert_same(model: nn.Module, reference: nn.Module) -> None:
    """Parameters and batch statistics alike."""
    for (name, value), expected in zip(model.state_dict().items(), reference.state_dict().values(), strict=True):
        torch.testing.assert_close(value, expected, atol=1e-10, rtol=1e-9, msg=name)


@pytest.fixture
def half_right(small: Callable[..., Classifier], batch: Batch) -> Batch:
    """The batch with labels of which the untrained model gets every other one right."""
    with torch.no_grad():
        answers = small("bn").eval()(batch.images).argmax(1)
    return Batch(batch.images, (answers + torch.arange(12) % 2) % 4, batch.indices)


@pytest.mark.parametrize(
    ("name", "settings", "formula"),
    [
        ("pgdat", {}, pgdat),
        ("trades", {"beta": 1.0}, lambda model, batch: trades(model, batch, 1.0, None)),
        ("trades", {"beta": 6.0}, lambda model, batch: trades(model, batch, 6.0, None)),
        ("fat", {"tau": 0}, lambda model, batch: fat(model, batch, 0)),
        ("fat", {"tau": 1}, lambda model, batch: fat(model, batch, 1)),
        ("trades-fat", {"beta": 6.0, "tau": 0}, lambda model, batch: trades(model, batch, 6.0, 0)),
        ("trades-fat", {"beta": 1.0, "tau": 1}, lambda model, batch: trades(model, batch, 1.0, 1)),
    ],
)
def test_a_step_against_an_attack_of_many(
    name: str,
    settings: dict[str, float],
    formula: Callable[..., Tensor],
    small: Callable[..., Classifier],
    half_right: Batch,
    descend: Callable[..., list[Losses]],
) -> None:
    model = small("bn")
    reference = copy.deepcopy(model)
    (losses,) = descend(model, Adversary(PGD, "linf", EPS, SEED), name, batch=half_right, **settings)
    expected = formula(reference, half_right)
    descended(reference, expected)
    torch.testing.assert_close(losses.loss, expected, atol=1e-12, rtol=1e-12)
    assert_same(model, reference)


@pytest.mark.parametrize(("step_size", "length"), [(None, 1.25 * EPS), ("0.03", 0.03)])
def test_a_step_of_fast(
    step_size: str | None,
    length: float,
    small: Callable[..., Classifier],
    batch: Batch,
    descend: Callable[..., list[Losses]],
) -> None:
    """Made in training mode: statistics of the batch in the attack too, and running ones that move twice."""
    model = small("bn")
    reference = copy.deepcopy(model)
    spec = AttackSpec(name="pgd", steps=1, step_size=PixelFraction(step_size) if step_size else None)
    (losses,) = descend(model, Adversary(spec, "linf", EPS, SEED), "fast")
    expected = fast(reference, batch, length)
    descended(reference, expected)
    torch.testing.assert_close(losses.loss, expected, atol=1e-12, rtol=1e-12)
    assert_same(model, reference)


@pytest.mark.parametrize(("step_size", "length"), [(None, EPS), ("0.02", 0.02)])
def test_two_batches_of_free(
    step_size: str | None,
    length: float,
    small: Callable[..., Classifier],
    batch: Batch,
    descend: Callable[..., list[Losses]],
) -> None:
    """Weights and noise move by the gradients of one pass; the second batch begins with the noise of the first."""
    model = small("bn")
    reference = copy.deepcopy(model)
    spec = AttackSpec(name="pgd", step_size=PixelFraction(step_size) if step_size else None)
    second = Batch(batch.images.flip(0), batch.labels.flip(0), batch.indices.flip(0))
    memory: dict[str, Tensor] = {}
    noise = torch.zeros_like(batch.images)
    for part in (batch, second):
        seen = descend(model, Adversary(spec, "linf", EPS, SEED), "free", batch=part, memory=memory, replays=3)
        for losses in seen:
            noise.requires_grad_()
            expected = cross_entropy(reference((part.images + noise).clamp(0, 1)), part.labels)
            slope = torch.autograd.grad(expected, noise, retain_graph=True)[0]
            descended(reference, expected)
            noise = (noise.detach() + length * slope.sign()).clamp(-EPS, EPS)
            torch.testing.assert_close(losses.loss, expected, atol=1e-12, rtol=1e-12)
        assert len(seen) == 3
    assert_same(model, reference)
    torch.testing.assert_close(memory["free.noise"], noise)
    assert not memory["free.noise"].requires_grad


@pytest.mark.parametrize("normaliser", ["bn", "mbn"])
@pytest.mark.parametrize("batching", ["joint", "separate"])
def test_a_step_of_alp(
    normaliser: str,
    batching: str,
    small: Callable[..., Classifier],
    batch: Batch,
    adversarial: Tensor,
    fixed: Adversary,
    descend: Callable[..., list[Losses]],
) -> None:
    """With mixture batch norm each view has its branch, and joint and separate batches are equal."""
    model = small(normaliser)
    reference = copy.deepcopy(model)
    (losses,) = descend(model, fixed, "alp", batching=batching, pairing_weight=0.7)
    if normaliser == "bn" and batching == "joint":
        clean, attacked = reference(torch.cat([batch.images, adversarial])).chunk(2)
    else:
        with branch(reference, "clean"):
            clean = reference(batch.images)
        with branch(reference, "adversarial"):
            attacked = reference(adversarial)
    sizes = ((clean - attacked) ** 2).sum(1) / clean.shape[1]
    expected = (cross_entropy(clean, batch.labels) + cross_entropy(attacked, batch.labels)) / 2 + 0.7 * sizes.mean()
    descended(reference, expected)
    torch.testing.assert_close(losses.loss, expected, atol=1e-12, rtol=1e-12)
    assert_same(model, reference)
