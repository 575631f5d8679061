"""FAB: smallest perturbations, beside closed forms and the authors' code."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
import torchattacks
from torch import Tensor, nn

from nofrost.attacks import create_attack
from nofrost.attacks.fab import FastAdaptiveBoundary
from nofrost.attacks.hyperplanes import Hyperplanes, length
from nofrost.errors import UserError

Batch = tuple[Tensor, Tensor]
NAMES = ["fab", "fab-t"]
# How near to the exact distance 40 steps come; where the box cuts, steps in the maximum norm change direction
NEAR = {"linf": 1.01, "l2": 1.002}
each_name = pytest.mark.parametrize("name", NAMES)
each_norm = pytest.mark.parametrize("norm", ["linf", "l2"])


def fab(name: str, **settings: Any) -> FastAdaptiveBoundary:
    attack = create_attack(name, **{"eps": 0.3, "steps": 10, **settings})
    assert isinstance(attack, FastAdaptiveBoundary)
    return attack


class Linear(nn.Module):
    """Logits that are linear in the pixels of 1 x 4 x 4 images; every step then ends where it aims."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(classes)
        self.weight = torch.randn(classes, 16, generator=generator, dtype=torch.float64)
        self.calls, self.gradients = 0, 0

    def forward(self, images: Tensor) -> Tensor:
        self.calls += len(images)
        self.gradients += len(images) * images.requires_grad
        return images.flatten(1) @ self.weight.to(images.dtype).T

    def boundaries(self, images: Tensor, labels: Tensor, norm: str) -> Tensor:
        """Return the exact distance to the boundary with each class, inside the box, [N, C]; 0 for the own."""
        result = []
        for other in range(len(self.weight)):
            normal = (self.weight[other] - self.weight[labels]).view_as(images)
            rise = -(normal * images).flatten(1).sum(1)
            change = Hyperplanes(normal, norm).step(images, rise)
            met = ((normal * change).flatten(1).sum(1) - rise).abs() < 1e-9
            result.append(torch.where(met, length(change, norm), torch.inf))
        return torch.stack(result, 1)


class Scaled(nn.Module):
    def __init__(self, model: nn.Module, factor: float) -> None:
        super().__init__()
        self.model, self.factor = model, factor

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.model(images)
        return self.factor * logits


@pytest.fixture
def images() -> Tensor:
    return torch.rand(20, 1, 4, 4, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


@each_name
@each_norm
@pytest.mark.parametrize("classes", [2, 3, 4, 10])
def test_on_a_linear_model_the_distance_is_that_to_the_nearest_boundary(
    name: str, norm: str, classes: int, images: Tensor
) -> None:
    model = Linear(classes)
    labels = model(images).argmax(1)
    others = model.boundaries(images, labels, norm).scatter(1, labels[:, None], torch.inf)
    # as many images as can be: FAB cannot see the box when it picks a class, and then may go to the second nearest
    share = 1.0 if name == "fab-t" or classes == 2 else 0.8
    result = fab(name, norm=norm, steps=40).distances(model, images, labels)
    nearest = others.amin(1)
    assert (result >= nearest * (1 - 1e-9)).all()
    assert (result <= nearest * NEAR[norm]).double().mean() >= share


@each_norm
def test_the_targets_are_the_likeliest_wrong_classes(norm: str, images: Tensor) -> None:
    model = Linear(10)
    logits = model(images)
    labels = logits.argmax(1)
    second = logits.argsort(1, descending=True)[:, 1:2]
    to_second = model.boundaries(images, labels, norm).gather(1, second).squeeze(1)
    result = fab("fab-t", norm=norm, steps=40, targets=1).distances(model, images, labels)
    assert (result <= to_second * NEAR[norm]).all()
    assert (result > fab("fab-t", norm=norm, steps=40).distances(model, images, labels) * 1.01).any()


@each_norm
def test_with_two_classes_there_is_one_boundary(norm: str, images: Tensor) -> None:
    model = Linear(2)
    labels = model(images).argmax(1)
    untargeted, targeted = (fab(name, norm=norm).distances(model, images, labels) for name in NAMES)
    torch.testing.assert_close(targeted, untargeted)


@each_name
@each_norm
def test_an_image_is_fooled_exactly_if_its_distance_is_within_the_budget(name: str, norm: str, images: Tensor) -> None:
    model = Linear(4)
    labels = model(images).argmax(1)
    distances = fab(name, norm=norm).distances(model, images, labels)
    for eps in (distances.sort().values[[3, 10, 16]] * 1.0001).tolist():
        adversarial = fab(name, norm=norm, eps=eps)(model, images, labels)
        assert torch.equal(model(adversarial).argmax(1) != labels, distances <= eps)
        assert (length(adversarial - images, norm) <= eps + 1e-6).all()


@each_name
def test_what_is_found_within_the_budget_is_returned_as_found(name: str, images: Tensor) -> None:
    """Not stretched to the ball's surface: a nearest point is what FAB is for."""
    model = Linear(4)
    labels = model(images).argmax(1)
    distances = fab(name).distances(model, images, labels)
    adversarial = fab(name, eps=1.0)(model, images, labels)
    # the first found, a step beyond the boundary of its class
    assert (length(adversarial - images, "linf") <= 1.06 * distances).double().mean() >= 0.8


@each_name
def test_no_gradient_is_spent_on_images_that_are_misclassified(name: str, images: Tensor) -> None:
    model = Linear(4)
    labels = model(images).argmax(1)
    wrong = (labels + 1) % 4
    model.gradients = 0
    assert torch.equal(fab(name)(model, images, wrong), images)
    assert torch.equal(fab(name).distances(model, images, wrong), torch.zeros(20, dtype=torch.float64))
    assert model.gradients == 0
    fab(name, eps=1.0, steps=50, restarts=3)(model, images, labels)
    assert model.gradients <= 3 * 20  # a step or two each, not 50 times 3 targets times 3 restarts


def test_the_work_is_a_forward_for_the_gradient_and_one_to_look(images: Tensor) -> None:
    for name, runs in (("fab", 1), ("fab-t", 3)):
        model = Linear(4)
        labels = model(images).argmax(1)
        model.calls = model.gradients = 0
        fab(name, steps=7).distances(model, images, labels)
        assert model.gradients == 20 * 7 * runs
        assert model.calls == 20 * (2 * 7 * runs + 1 + 5)  # the clean images, and the final search


@each_name
@each_norm
def test_where_nothing_is_found_the_distance_is_infinite_and_the_image_comes_back(
    name: str, norm: str, images: Tensor
) -> None:
    def sure(points: Tensor) -> Tensor:
        """Class 0 wins by 1 + the sum of all pixels."""
        total = points.flatten(1).sum(1)
        return torch.stack([1 + total, torch.zeros_like(total), -total], 1)

    labels = torch.zeros(20, dtype=torch.int64)
    assert fab(name, norm=norm).distances(sure, images, labels).isinf().all()
    assert torch.equal(fab(name, norm=norm)(sure, images, labels), images)


@each_name
def test_where_the_model_is_flat_nothing_moves_and_nothing_breaks(name: str, images: Tensor) -> None:
    def flat(points: Tensor) -> Tensor:
        total = (0 * points).flatten(1).sum(1)
        return torch.stack([total + 1, total, total], 1)

    labels = torch.zeros(20, dtype=torch.int64)
    assert torch.equal(fab(name, restarts=2)(flat, images, labels), images)


@each_name
def test_classes_that_a_model_rules_out_are_no_boundary(name: str, images: Tensor) -> None:
    model = Linear(3)

    def masked(points: Tensor) -> Tensor:
        logits = model(points)
        return torch.cat([logits, torch.full_like(logits[:, :2], -torch.inf)], 1)

    labels = model(images).argmax(1)
    expected = fab(name).distances(model, images, labels)
    torch.testing.assert_close(fab(name).distances(masked, images, labels), expected)


@each_name
@each_norm
def test_the_scale_of_the_logits_changes_nothing(name: str, norm: str, natural_model: nn.Module, batch: Batch) -> None:
    attack = fab(name, norm=norm, targets=2) if name == "fab-t" else fab(name, norm=norm)
    plain = attack.distances(natural_model, *batch)
    for power in (-40, 20):
        scaled = attack.distances(Scaled(natural_model, 2.0**power), *batch)
        torch.testing.assert_close(scaled, plain)


@each_name
def test_distances_depend_neither_on_budget_nor_on_batch(
    name: str, smooth_model: nn.Module, smooth_batch: Batch
) -> None:
    images, labels = smooth_batch
    attack = fab(name, norm="l2", eps=0.5, restarts=2)
    full = attack.distances(smooth_model, images, labels)
    rows = torch.tensor([17, 2, 9])
    part = attack.distances(smooth_model, images[rows], labels[rows], indices=rows)
    torch.testing.assert_close(part, full[rows], rtol=1e-9, atol=0)
    once, other = (fab(name, norm="l2", eps=eps).distances(smooth_model, images, labels) for eps in (0.5, 0.01))
    assert torch.equal(once, other)
    # the final search may be luckier by a hair from what a first run found
    assert (full <= once * 1.001).all()
    assert (full < once * 0.999).any()


@each_name
@each_norm
def test_more_steps_come_nearer(name: str, norm: str, robust_model: nn.Module, batch: Batch) -> None:
    few, many = (fab(name, norm=norm, steps=steps).distances(robust_model, *batch) for steps in (3, 20))
    assert (many <= few * 1.01).double().mean() > 0.95
    assert many.median() < 0.98 * few.median()


@each_name
def test_distances_leave_the_model_as_it_was_and_take_any_float(
    name: str, natural_model: nn.Module, batch: Batch
) -> None:
    attack, model = fab(name, steps=2), copy.deepcopy(natural_model)
    modules = list(model.children())
    modules[1].train()
    result = attack.distances(model, batch[0].half(), batch[1])
    assert [module.training for module in modules] == [False, True, *[False] * 6]
    assert result.dtype == torch.float32
    # sixteenths are exact in half precision
    torch.testing.assert_close(result, attack.distances(natural_model, *batch))
    assert attack.distances(natural_model, batch[0][:0], batch[1][:0]).shape == (0,)


@pytest.mark.parametrize(
    ("name", "setting", "value", "message"),
    [
        ("fab", "steps", 0, "steps: input should be greater than 0"),
        ("fab", "restarts", 0, "restarts: input"),
        ("fab-t", "targets", 0, "targets: input"),
        ("fab-t", "alpha_max", 1.1, "alpha_max: input should be less than or equal to 1"),
        ("fab", "overshoot", 0.9, "overshoot: input should be greater than or equal to 1"),
        ("fab", "overshoot", math.nan, "overshoot: input should be a finite number"),
        ("fab", "backward_step", -0.1, "backward_step: input"),
        ("fab", "targets", 3, "unknown setting 'targets'"),
    ],
)
def test_a_setting_out_of_range_is_one_sentence(name: str, setting: str, value: Any, message: str) -> None:
    with pytest.raises(UserError, match=f"^attack '{name}': {message}"):
        create_attack(name, eps=0.1, **{setting: value})


@each_name
def test_a_model_without_gradient_or_with_nan_is_refused(name: str, images: Tensor) -> None:
    model = Linear(3)
    labels = model(images).argmax(1)
    with pytest.raises(UserError, match="have no gradient"):
        fab(name, eps=0.01)(lambda points: model(points.detach()), images, labels)
    with pytest.raises(UserError, match="NaN or infinite logits"):
        fab(name).distances(lambda points: model(points) * torch.nan, images, labels)


STEPS = 15
# A budget that leaves about half of the digits right
CASES = [("natural", "linf", 0.1), ("natural", "l2", 0.4), ("robust", "linf", 0.2), ("robust", "l2", 0.8)]
each_case = pytest.mark.parametrize(("kind", "norm", "eps"), CASES)


@pytest.fixture
def model(request: pytest.FixtureRequest, kind: str) -> nn.Module:
    result: nn.Module = request.getfixturevalue(f"{kind}_model")
    return result


@pytest.fixture
def right(model: nn.Module, digits: tuple[Batch, Batch]) -> Batch:
    """60 test digits, less those that `model` gets wrong: torchattacks leaves them alone."""
    images, labels = (part[:60] for part in digits[1])
    rows = correct(model, images, labels)
    return images[rows], labels[rows]


def correct(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    with torch.no_grad():
        logits: Tensor = model(images)
    return logits.argmax(1) == labels


def peer(model: nn.Module, norm: str, eps: float, multi_targeted: bool) -> torchattacks.FAB:
    return torchattacks.FAB(
        model, norm={"linf": "Linf", "l2": "L2"}[norm], eps=eps, steps=STEPS, multi_targeted=multi_targeted
    )


@each_case
def test_the_distances_are_as_small_and_the_accuracy_as_low_at_every_budget(
    norm: str, eps: float, model: nn.Module, right: Batch
) -> None:
    attack = create_attack("fab", norm=norm, eps=eps, steps=STEPS)
    assert isinstance(attack, FastAdaptiveBoundary)
    ours = attack.distances(model, *right)
    farthest = {"linf": 1.0, "l2": 8.0}[norm]
    theirs = length(peer(model, norm, farthest, multi_targeted=False)(*right) - right[0], norm)
    assert ours.median() <= theirs.median()
    assert (ours <= theirs * 1.02).double().mean() > 0.98
    for budget in (0.5 * eps, 0.75 * eps, eps, 1.25 * eps, 1.5 * eps):
        survive = (ours > budget).double().mean()
        assert survive <= (theirs > budget).double().mean() + 0.005
    assert 0.2 < (ours > eps).double().mean() < 0.8


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "multi_targeted", "kind", "norm", "eps"),
    [("fab", False, *case) for case in CASES] + [("fab-t", True, *case) for case in CASES[1:3]],
)
def test_within_a_budget_as_many_images_are_fooled(
    name: str, multi_targeted: bool, norm: str, eps: float, model: nn.Module, right: Batch
) -> None:
    images, labels = right
    ours = create_attack(name, norm=norm, eps=eps, steps=STEPS)(model, images, labels)
    theirs = peer(model, norm, eps, multi_targeted)(images, labels)
    survivors = correct(model, ours, labels).double().mean()
    assert survivors <= correct(model, theirs, labels).double().mean() + 0.005
    assert 0.2 < survivors < 0.8
