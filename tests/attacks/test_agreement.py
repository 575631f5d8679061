"""Ours against an independent implementation, torchattacks: never weaker, and the same where both start alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torchattacks
from torch import Tensor, nn

from nofrost.attacks import Attack, create_attack
from nofrost.attacks.random import Noise
from nofrost.statistics import wilson_interval

Batch = tuple[Tensor, Tensor]
Case = tuple[nn.Module, float, Tensor, Tensor]
NORMS = {"linf": "Linf", "l2": "L2"}


@pytest.fixture(params=["natural", "robust"])
def case(request: pytest.FixtureRequest, digits: tuple[Batch, Batch]) -> Case:
    """A model, a budget at which some digits survive and some do not, and 400 test digits."""
    model: nn.Module = request.getfixturevalue(f"{request.param}_model")
    return model, {"natural": 0.1, "robust": 0.2}[request.param], *digits[1]


class FarFromTheBox(nn.Module):
    """A model that takes pixels of [0, 1] squeezed into [0.4, 0.6]."""

    scale = 0.2

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    @classmethod
    def scaled(cls, images: Tensor) -> Tensor:
        return 0.4 + cls.scale * images

    def forward(self, points: Tensor) -> Tensor:
        logits: Tensor = self.model((points - 0.4) / self.scale)
        return logits


def survivors(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    with torch.no_grad():
        return model(images).argmax(1) == labels


def apgd(model: nn.Module, norm: str, eps: float, steps: int, **settings: Any) -> Any:
    return torchattacks.APGD(model, norm=NORMS[norm], eps=eps, steps=steps, **settings)


def assert_in_interval(ours: Tensor, theirs: Tensor) -> None:
    """The robust accuracy is inside the interval of theirs, and says something: some images survive, some do not."""
    accuracy = ours.double().mean().item()
    assert 0.05 < accuracy < 0.95
    low, high = wilson_interval(int(theirs.sum()), len(theirs))
    assert low <= accuracy <= high


def assert_as_strong(ours: Tensor, theirs: Tensor) -> None:
    """And it is not more than one point weaker."""
    assert_in_interval(ours, theirs)
    assert ours.double().mean() <= theirs.double().mean() + 0.01


@pytest.fixture
def same_start(monkeypatch: pytest.MonkeyPatch) -> Callable[[Tensor], None]:
    """Make torchattacks start where our attacks with seed 0 do, for images of one shape."""

    def patch(images: Tensor) -> None:
        noise = Noise.of(0, torch.arange(len(images))).stream(0)
        cube = noise.uniform(images.shape[1:])
        normal = noise.stream(1).normal(images.shape[1:])
        monkeypatch.setattr(torch, "rand", lambda shape: (cube + 1) / 2)
        monkeypatch.setattr(torch, "randn", lambda shape: normal)
        monkeypatch.setattr(torch.Tensor, "uniform_", lambda self, low, high: self.copy_(high * cube))

    return patch


def test_fgsm_gives_the_same_images(case: Case) -> None:
    model, eps, images, labels = case
    ours = create_attack("fgsm", eps=eps)(model, images, labels)
    theirs = torchattacks.FGSM(model, eps=eps)(images, labels)
    assert ((ours - theirs).abs() < 1e-6).double().mean() > 0.999  # the sign of a gradient of zero is rounding
    assert_as_strong(survivors(model, ours, labels), survivors(model, theirs, labels))


def test_bim_gives_the_same_images_as_pgd_without_random_start(case: Case) -> None:
    model, eps, images, labels = case
    ours = create_attack("bim", eps=eps, steps=20, step_size=eps / 8, keep="last")(model, images, labels)
    theirs = torchattacks.PGD(model, eps=eps, alpha=eps / 8, steps=20, random_start=False)(images, labels)
    assert ((ours - theirs).abs().amax((1, 2, 3)) < 1e-5).double().mean() > 0.9
    assert_as_strong(survivors(model, ours, labels), survivors(model, theirs, labels))


@pytest.mark.parametrize("keep", ["last", "best"])
def test_pgd_from_the_same_start_is_as_strong(case: Case, keep: str, same_start: Callable[[Tensor], None]) -> None:
    model, eps, images, labels = case
    ours = create_attack("pgd", eps=eps, steps=20, step_size=eps / 8, keep=keep)(model, images, labels)
    same_start(images)
    theirs = torchattacks.PGD(model, eps=eps, alpha=eps / 8, steps=20)(images, labels)
    if keep == "last":
        assert ((ours - theirs).abs().amax((1, 2, 3)) < 1e-5).double().mean() > 0.9
    assert_as_strong(survivors(model, ours, labels), survivors(model, theirs, labels))


# with rho 0 it is a window without a new best point that halves the step
@pytest.mark.parametrize(
    ("loss", "norm", "steps", "rho"),
    [
        ("ce", "linf", 20, 0.75),
        pytest.param("ce", "linf", 100, 0.75, marks=pytest.mark.slow),
        ("ce", "l2", 20, 0.75),
        pytest.param("ce", "linf", 50, 0.0, marks=pytest.mark.slow),
        ("dlr", "linf", 20, 0.75),
        pytest.param("dlr", "l2", 40, 0.75, marks=pytest.mark.slow),
    ],
)
def test_apgd_from_the_same_start_takes_the_same_path(
    case: Case, loss: str, norm: str, steps: int, rho: float, same_start: Callable[[Tensor], None]
) -> None:
    model, eps, images, labels = case
    if norm == "l2":
        # theirs cuts at the box last and ours first, which is stronger: so put the box out of reach
        model, eps, images = FarFromTheBox(model), 3 * FarFromTheBox.scale * eps, FarFromTheBox.scaled(images)
    right = survivors(model, images, labels)  # theirs attacks only these
    images, labels = images[right], labels[right]
    ours = create_attack(f"apgd-{loss}", norm=norm, eps=eps, steps=steps, rho=rho)(model, images, labels)
    same_start(images)
    best, survived, _, _ = apgd(model, norm, eps, steps, rho=rho, loss=loss).attack_single_run(images, labels)
    left = survivors(model, ours, labels)
    assert_as_strong(left, survived)
    assert (left != survived).sum() <= 4  # rounding grows along the path
    on_path = ((ours - best).abs().amax((1, 2, 3)) < 1e-4)[left & survived]
    assert on_path.double().mean() > 0.6


@pytest.mark.parametrize(("norm", "wider"), [("linf", 1), ("l2", 4)])
def test_targeted_apgd_is_as_strong(case: Case, norm: str, wider: float) -> None:
    model, eps, images, labels = case
    right = survivors(model, images, labels)
    images, labels = images[right][:200], labels[right][:200]
    ours = create_attack("apgd-t", norm=norm, eps=wider * eps, steps=8, targets=4)(model, images, labels)
    with torch.random.fork_rng(devices=[]):  # it aims at all classes but one of as many as it is told
        theirs = torchattacks.APGDT(model, norm=NORMS[norm], eps=wider * eps, steps=8, n_classes=5)(images, labels)
    assert_as_strong(survivors(model, ours, labels), survivors(model, theirs, labels))


def test_pgd_in_the_euclidean_norm_is_as_strong(case: Case) -> None:
    model, eps, images, labels = case
    ours, theirs = [], []
    for seed in range(4):
        attack = create_attack("pgd", norm="l2", eps=4 * eps, steps=10, step_size=eps, seed=seed)
        ours.append(survivors(model, attack(model, images, labels), labels))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            result = torchattacks.PGDL2(model, eps=4 * eps, alpha=eps, steps=10)(images, labels)
        theirs.append(survivors(model, result, labels))
    assert_as_strong(torch.cat(ours), torch.cat(theirs))


@pytest.mark.slow
def test_from_starts_of_its_own_each_attack_is_in_the_interval_of_theirs(case: Case) -> None:
    """Other starts fool other images, some points more or less; hence several seeds, and the interval alone."""
    model, eps, images, labels = case
    pairs: list[tuple[Callable[[int], Attack], Callable[[int], Any]]] = [
        (
            lambda seed: create_attack("pgd", eps=eps, steps=20, step_size=eps / 8, seed=seed),
            lambda seed: torchattacks.PGD(model, eps=eps, alpha=eps / 8, steps=20),
        ),
        (
            lambda seed: create_attack("apgd-ce", eps=eps, steps=20, seed=seed),
            lambda seed: apgd(model, "linf", eps, 20, seed=seed),
        ),
    ]
    for our_attack, their_attack in pairs:
        ours, theirs = [], []
        for seed in range(3):
            ours.append(survivors(model, our_attack(seed)(model, images, labels), labels))
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                theirs.append(survivors(model, their_attack(seed)(images, labels), labels))
        assert_in_interval(torch.cat(ours), torch.cat(theirs))
