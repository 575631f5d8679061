"""Gradient steps of fixed length: BIM, MIM, PGD, CW-linf, and PGD towards a random class."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torchattacks
from torch import Tensor, nn

from nofrost.attacks import create_attack
from nofrost.attacks.gradient import CwLinf, ProjectedGradient
from nofrost.attacks.losses import error_log_odds
from nofrost.attacks.norms import LinfBall
from nofrost.attacks.random import Noise
from nofrost.errors import UserError

Batch = tuple[Tensor, Tensor]


class Counting:
    """Counts the calls of a model, the images in them, and the images that a gradient was asked for."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.calls, self.images, self.gradients = 0, 0, 0

    def __call__(self, images: Tensor) -> Tensor:
        self.calls += 1
        self.images += len(images)
        if images.requires_grad:
            images.register_hook(self._count)
        logits: Tensor = self.model(images)
        return logits

    def _count(self, gradient: Tensor) -> None:
        self.gradients += len(gradient)


def wrong(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    with torch.no_grad():
        return model(images).argmax(1) != labels


@pytest.mark.parametrize(
    ("norm", "eps", "steps", "expected"),
    [
        ("linf", "8/255", 10, 1 / 255),  # the values of wang2022's code
        ("linf", "8/255", 20, 0.5 / 255),
        ("linf", "8/255", 5, 2 / 255),
        ("linf", "4/255", 10, 0.5 / 255),
        ("linf", "2/255", 10, 0.25 / 255),
        ("linf", "32/255", 10, 3.6 / 255),  # eps + 4/255 is the smaller reach
        ("l2", 0.5, 20, 0.05),
    ],
)
@pytest.mark.parametrize("name", ["bim", "mim", "pgd", "pgd-targeted"])
def test_the_default_step_follows_the_papers(name: str, norm: str, eps: Any, steps: int, expected: float) -> None:
    attack = create_attack(name, norm=norm, eps=eps, steps=steps)
    assert isinstance(attack, ProjectedGradient)
    assert attack.length() == pytest.approx(expected)


def test_a_given_step_is_taken(smooth_model: nn.Module, smooth_batch: Batch) -> None:
    attack = create_attack("bim", eps=0.2, steps=1, step_size="1/255", keep="last")
    change = (attack(smooth_model, *smooth_batch) - smooth_batch[0]).abs()
    assert change.max().item() == pytest.approx(1 / 255)


def test_bim_starts_at_the_clean_image_and_pgd_does_not(smooth_model: nn.Module, smooth_batch: Batch) -> None:
    images, _ = smooth_batch
    tiny = {"eps": 0.2, "steps": 1, "step_size": 1e-9, "keep": "last"}
    assert (create_attack("bim", **tiny)(smooth_model, *smooth_batch) - images).abs().max() <= 1e-8
    start = create_attack("pgd", **tiny)(smooth_model, *smooth_batch)
    assert (start - images).abs().max() > 0.19
    assert start.min() >= 0


@pytest.mark.parametrize(("keep", "forwards"), [("last", 7), ("best", 8)])
@pytest.mark.parametrize("name", ["bim", "mim", "pgd"])
def test_keeping_the_best_costs_one_more_forward_and_no_gradient(
    name: str, keep: str, forwards: int, robust_model: nn.Module, digits: tuple[Batch, Batch]
) -> None:
    model = Counting(robust_model)
    create_attack(name, eps=0.1, steps=7, keep=keep, early_stop=False)(model, *digits[1])
    assert (model.calls, model.images, model.gradients) == (forwards, 400 * forwards, 400 * 7)


def test_the_last_point_is_that_of_plain_iteration(smooth_model: nn.Module, smooth_batch: Batch) -> None:
    """Also for images that were misclassified on the way."""
    images, labels = smooth_batch
    points = images
    for _ in range(12):
        points = points.detach().requires_grad_()
        loss = nn.functional.cross_entropy(smooth_model(points), labels, reduction="sum")
        points = points + 0.03 * torch.autograd.grad(loss, points)[0].sign()
        points = torch.clamp(points, images - 0.2, images + 0.2).clamp(0, 1)
    result = create_attack("bim", eps=0.2, steps=12, step_size=0.03, keep="last")(smooth_model, images, labels)
    torch.testing.assert_close(result, points.detach())


@pytest.mark.parametrize("name", ["bim", "pgd", "pgd-targeted"])
def test_the_best_point_is_never_worse_than_the_last(
    name: str, robust_model: nn.Module, digits: tuple[Batch, Batch]
) -> None:
    images, labels = digits[1]
    settings = {"eps": 0.2, "steps": 10, "step_size": 0.1}  # long steps, so that the last is often not the best
    last = create_attack(name, keep="last", **settings)(robust_model, images, labels)
    best = create_attack(name, keep="best", early_stop=False, **settings)(robust_model, images, labels)
    first = create_attack(name, keep="best", **settings)(robust_model, images, labels)
    assert not (wrong(robust_model, last, labels) & ~wrong(robust_model, best, labels)).any()
    assert wrong(robust_model, best, labels).sum() > wrong(robust_model, last, labels).sum()
    # stopping early fools the same images
    assert torch.equal(wrong(robust_model, first, labels), wrong(robust_model, best, labels))
    if name != "pgd-targeted":
        same = wrong(robust_model, best, labels) == wrong(robust_model, last, labels)
        with torch.no_grad():
            gain = error_log_odds(robust_model(best), labels) - error_log_odds(robust_model(last), labels)
        assert (gain[same] >= -1e-4).all()


def test_stopping_early_spares_gradients(robust_model: nn.Module, digits: tuple[Batch, Batch]) -> None:
    early, late = Counting(robust_model), Counting(robust_model)
    create_attack("pgd", eps=0.25, steps=20)(early, *digits[1])
    create_attack("pgd", eps=0.25, steps=20, early_stop=False)(late, *digits[1])
    assert early.gradients < 0.85 * late.gradients


def test_nothing_is_done_once_every_image_is_fooled(natural_model: nn.Module, digits: tuple[Batch, Batch]) -> None:
    model = Counting(natural_model)
    create_attack("bim", eps=1, steps=500, step_size=0.5)(model, *digits[1])
    assert model.calls < 20


@pytest.mark.parametrize("keep", ["best", "last"])
def test_restarts_go_on_with_the_images_still_right(
    keep: str, robust_model: nn.Module, digits: tuple[Batch, Batch]
) -> None:
    images, labels = digits[1]
    settings: dict[str, Any] = {"eps": 0.2, "steps": 5, "keep": keep}
    once = create_attack("pgd", **settings)(robust_model, images, labels)
    model = Counting(robust_model)
    thrice = create_attack("pgd", restarts=3, **settings)(model, images, labels)
    fooled_once = wrong(robust_model, once, labels)
    assert torch.equal(thrice[fooled_once], once[fooled_once])
    assert wrong(robust_model, thrice, labels).sum() > fooled_once.sum()
    assert not (fooled_once & ~wrong(robust_model, thrice, labels)).any()
    assert model.gradients < 3 * 5 * 400 - 2 * 5 * 0.8 * int(fooled_once.sum())


def test_restarts_keep_the_highest_loss_of_images_never_fooled(
    robust_model: nn.Module, digits: tuple[Batch, Batch]
) -> None:
    images, labels = digits[1]
    settings: dict[str, Any] = {"eps": 0.1, "steps": 3, "keep": "last"}
    once = create_attack("pgd", **settings)(robust_model, images, labels)
    many = create_attack("pgd", restarts=4, **settings)(robust_model, images, labels)
    right = ~wrong(robust_model, many, labels)
    with torch.no_grad():
        gain = error_log_odds(robust_model(many), labels) - error_log_odds(robust_model(once), labels)
    assert (gain[right] >= -1e-4).all()
    assert (gain[right] > 1e-3).double().mean() > 0.5


def test_targets_are_every_wrong_class_alike(natural_model: nn.Module, digits: tuple[Batch, Batch]) -> None:
    """With the whole pixel range every image reaches its target; so the predictions show the targets."""
    images, labels = digits[1]
    settings: dict[str, Any] = {"eps": 1, "steps": 30, "step_size": 0.1, "keep": "last"}
    result = create_attack("pgd-targeted", **settings)(natural_model, images, labels)
    with torch.no_grad():
        offsets = (natural_model(result).argmax(1) - labels) % 10
    counts = torch.bincount(offsets, minlength=10)
    assert counts[0] == 0
    assert (counts[1:] > 400 / 9 * 0.6).all()
    again = create_attack("pgd-targeted", seed=1, **settings)(natural_model, images, labels)
    with torch.no_grad():
        assert ((natural_model(again).argmax(1) - labels) % 10 != offsets).double().mean() > 0.7


def test_of_two_classes_the_target_is_the_other() -> None:
    def model(images: Tensor) -> Tensor:
        score = images.mean((1, 2, 3)) - 0.5
        return torch.stack([-score, score], 1)

    images, labels = torch.full((8, 1, 2, 2), 0.5), torch.arange(8) % 2
    result = create_attack("pgd-targeted", eps=0.2, steps=20)(model, images, labels)
    assert torch.equal(model(result).argmax(1), 1 - labels)


def loop(model: nn.Module, images: Tensor, labels: Tensor, norm: str, eps: float, step: float, decay: float) -> Tensor:
    """Algorithm 1 of Dong et al. with cross-entropy, ten steps."""
    points, total = images, torch.zeros_like(images)
    for _ in range(10):
        points = points.detach().requires_grad_()
        loss = nn.functional.cross_entropy(model(points), labels, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, points)
        total = decay * total + gradient / gradient.flatten(1).norm(p=1, dim=1)[:, None, None, None]
        if norm == "linf":
            points = torch.clamp(points + step * total.sign(), images - eps, images + eps)
        else:
            points = points + step * total / total.flatten(1).norm(dim=1)[:, None, None, None]
            change = points.clamp(0, 1) - images
            points = images + change * (eps / change.flatten(1).norm(dim=1)).clamp(max=1)[:, None, None, None]
        points = points.clamp(0, 1)
    return points.detach()


@pytest.mark.parametrize("decay", [0.5, 1.0])
@pytest.mark.parametrize(("norm", "eps", "step"), [("linf", 0.1, 0.02), ("l2", 0.6, 0.1)])
def test_the_last_point_is_that_of_the_algorithm(
    norm: str, eps: float, step: float, decay: float, smooth_model: nn.Module, smooth_batch: Batch
) -> None:
    settings: dict[str, Any] = {"norm": norm, "eps": eps, "step_size": step, "steps": 10, "keep": "last"}
    result = create_attack("mim", decay=decay, **settings)(smooth_model, *smooth_batch)
    expected = loop(smooth_model, *smooth_batch, norm, eps, step, decay)
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-5)


def test_without_momentum_it_is_bim(smooth_model: nn.Module, smooth_batch: Batch) -> None:
    settings: dict[str, Any] = {"eps": 0.1, "steps": 6, "keep": "last"}
    plain = create_attack("bim", **settings)(smooth_model, *smooth_batch)
    assert torch.equal(create_attack("mim", decay=0, **settings)(smooth_model, *smooth_batch), plain)
    assert not torch.equal(create_attack("mim", **settings)(smooth_model, *smooth_batch), plain)


def test_letting_images_go_early_fools_the_same(natural_model: nn.Module, digits: tuple[Batch, Batch]) -> None:
    """Each image keeps its own momentum when others leave."""
    images, labels = digits[1]
    right = []
    for early_stop in (True, False):
        result = create_attack("mim", eps=0.1, steps=15, early_stop=early_stop)(natural_model, images, labels)
        with torch.no_grad():
            right.append(natural_model(result).argmax(1) == labels)
    assert 0.3 < right[0].double().mean() < 0.7
    assert (right[0] != right[1]).sum() <= 1  # the rounding of a convolution depends on the size of the batch


@pytest.mark.parametrize("scale", [1e-30, 1e20])
def test_neither_vanishing_nor_huge_gradients_lose_the_momentum(
    scale: float, smooth_model: nn.Module, smooth_batch: Batch
) -> None:
    images, labels = smooth_batch[0].float(), smooth_batch[1]
    model = smooth_model.float()
    attack = create_attack("mim", eps=0.1, steps=6, keep="last")
    scaled = attack(lambda points: model(points) * scale, images, labels)
    # the loss is another, so only both ends can be compared: every pixel moved as far
    assert (scaled - images).abs().amax((1, 2, 3)).min() > 0.09


@pytest.mark.parametrize("keep", ["last", "best"])
def test_it_is_as_strong_as_torchattacks(
    keep: str, request: pytest.FixtureRequest, digits: tuple[Batch, Batch]
) -> None:
    images, labels = digits[1][0][:200], digits[1][1][:200]
    for name, eps in (("natural_model", 0.1), ("robust_model", 0.2)):
        model = request.getfixturevalue(name)
        ours = create_attack("mim", eps=eps, steps=20, step_size=eps / 20, keep=keep)(model, images, labels)
        theirs = torchattacks.MIFGSM(model, eps=eps, alpha=eps / 20, steps=20, decay=1.0)(images, labels)
        with torch.no_grad():
            left, survived = (model(each).argmax(1) == labels for each in (ours, theirs))
        assert 0.05 < left.double().mean() < 0.95
        assert left.double().mean() <= survived.double().mean() + 0.005
        if keep == "last":
            assert ((ours - theirs).abs().amax((1, 2, 3)) < 1e-5).double().mean() > 0.9


def test_the_loss_is_minus_the_hinge_of_the_papers_up_to_a_constant() -> None:
    logits = torch.tensor([[60.0, 0.0, 5.0], [0.0, 60.0, 5.0], [0.0, 1.0, 15.0]], requires_grad=True)
    attack = create_attack("cw-linf", eps=0.1, confidence=20)
    assert isinstance(attack, CwLinf)
    loss = attack.loss(logits, torch.tensor([0, 0, 0]))
    hinge = torch.tensor([55.0, -60.0, -15.0]) + 20
    torch.testing.assert_close(loss.detach() - 20, -hinge.clamp(min=0))
    (gradient,) = torch.autograd.grad(loss.sum(), logits)
    # and none once the lead is longer
    assert gradient.tolist() == [[-1, 0, 1], [0, 0, 0], [-1, 0, 1]]


def test_the_last_point_is_that_of_plain_iteration_of_cw_linf(smooth_model: nn.Module, smooth_batch: Batch) -> None:
    images, labels = smooth_batch
    noise = Noise.of(0, torch.arange(len(images))).stream(0)
    points = LinfBall(images, 0.1).random_inside(noise)
    for _ in range(8):
        points = points.detach().requires_grad_()
        logits = smooth_model(points)
        own = logits.gather(1, labels[:, None])[:, 0]
        other = logits.scatter(1, labels[:, None], -torch.inf).amax(1)
        hinge = (own - other + 50).clamp(min=0).sum()
        points = points - 0.02 * torch.autograd.grad(hinge, points)[0].sign()
        points = torch.clamp(points, images - 0.1, images + 0.1).clamp(0, 1)
    settings: dict[str, Any] = {"eps": 0.1, "steps": 8, "step_size": 0.02, "keep": "last"}
    torch.testing.assert_close(create_attack("cw-linf", **settings)(smooth_model, images, labels), points.detach())


IMAGES = torch.rand(500, 3, 4, 4, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
LABELS = torch.arange(500) % 4


def started_clean(model: nn.Module, seed: int = 0, rows: slice = slice(None), **settings: float) -> Tensor:
    """Return which images' attack began at the image itself: [N] bool, from steps too small to matter."""
    attack = create_attack("pgd-targeted", eps=0.2, steps=1, step_size=1e-9, keep="last", seed=seed, **settings)
    result = attack(model, IMAGES[rows], LABELS[rows], indices=torch.arange(500)[rows])
    return (result - IMAGES[rows]).abs().amax((1, 2, 3)) < 1e-8


@pytest.mark.parametrize(("chance", "least", "most"), [(0, 0, 0), (0.2, 80, 120), (1, 500, 500)])
def test_so_many_images_are_attacked_from_themselves(
    chance: float, least: int, most: int, smooth_model: nn.Module
) -> None:
    assert least <= int(started_clean(smooth_model, clean_start=chance).sum()) <= most


def test_by_default_every_start_is_random(smooth_model: nn.Module) -> None:
    assert not started_clean(smooth_model).any()


def test_the_chance_belongs_to_the_image_and_the_seed(smooth_model: nn.Module) -> None:
    whole = started_clean(smooth_model, clean_start=0.5)
    assert torch.equal(started_clean(smooth_model, rows=slice(100, 150), clean_start=0.5), whole[100:150])
    assert not torch.equal(started_clean(smooth_model, seed=1, clean_start=0.5), whole)


def test_the_other_starts_and_the_targets_are_as_without(smooth_model: nn.Module) -> None:
    settings = {"eps": 0.2, "steps": 3, "keep": "last"}
    clean = started_clean(smooth_model, clean_start=0.5)
    some, none = (
        create_attack("pgd-targeted", clean_start=chance, **settings)(smooth_model, IMAGES, LABELS)
        for chance in (0.5, 0.0)
    )
    assert torch.equal(some[~clean], none[~clean])


@pytest.mark.parametrize("chance", [-0.1, 1.1, True])
def test_a_chance_is_from_0_to_1(chance: float) -> None:
    with pytest.raises(UserError, match=r"clean_start: (input should be .*, got|true is not a number)"):
        create_attack("pgd-targeted", eps=0.2, clean_start=chance)


def test_other_attacks_have_no_clean_start() -> None:
    with pytest.raises(UserError, match="attack 'pgd': unknown setting 'clean_start'"):
        create_attack("pgd", eps=0.2, clean_start=0.2)
