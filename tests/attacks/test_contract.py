"""What every attack promises, on images of every size and dtype."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from nofrost.attacks import Attack, attack_settings, create_attack, list_attacks
from nofrost.attacks.base import register
from nofrost.attacks.model import CheckedModel
from nofrost.attacks.random import Noise
from nofrost.errors import UserError

Batch = tuple[Tensor, Tensor]
Quick = Callable[..., Attack]
CASES = [(name, norm) for name in list_attacks() for norm in create_attack(name, eps=0).norms]
every_attack = pytest.mark.parametrize(("name", "norm"), CASES)
# Noise looks for nothing: whether it lowers accuracy is chance
every_search = pytest.mark.parametrize(("name", "norm"), [case for case in CASES if case[0] != "awgn"])
# These draw no random numbers
WITHOUT_CHANCE = ("bim", "cw-l2", "fgsm", "mim", "rays")
# These look for the nearest misclassified image, which may lie anywhere inside the ball
NEAREST = ("cw-l2", "fab", "fab-t", "rays")
BUDGET = {"linf": 0.1, "l2": 0.5}


def accuracy(model: Callable[[Tensor], Tensor], images: Tensor, labels: Tensor) -> float:
    with torch.no_grad():
        return float((model(images).argmax(1) == labels).double().mean())


def distance(first: Tensor, second: Tensor, norm: str) -> Tensor:
    change = (first.double() - second.double()).flatten(1)
    return change.abs().amax(1) if norm == "linf" else change.norm(dim=1)


def test_the_attacks_are_known_by_name_and_sorted() -> None:
    assert {"apgd-ce", "bim", "fgsm", "pgd", "pgd-targeted"} <= set(list_attacks())
    assert list_attacks() == sorted(list_attacks())


def check_inside(adversarial: Tensor, images: Tensor, norm: str) -> None:
    assert distance(adversarial, images, norm).max() <= BUDGET[norm] + 1e-6
    assert adversarial.min() >= 0
    assert adversarial.max() <= 1


@every_attack
def test_the_result_is_inside_ball_and_box_and_the_images_stay_as_they_were(
    name: str, norm: str, natural_model: nn.Module, batch: Batch, quick: Quick
) -> None:
    images, labels = batch
    before = images.clone()
    adversarial = quick(name, norm)(natural_model, images, labels)
    check_inside(adversarial, images, norm)
    assert adversarial.dtype == torch.float32
    assert not adversarial.requires_grad
    assert torch.equal(images, before)


@every_search
def test_the_result_lowers_accuracy_and_uses_the_budget(
    name: str, norm: str, natural_model: nn.Module, batch: Batch, quick: Quick
) -> None:
    images, labels = batch
    adversarial = quick(name, norm)(natural_model, images, labels)
    assert accuracy(natural_model, adversarial, labels) < accuracy(natural_model, images, labels)
    assert distance(adversarial, images, norm).max() > (0 if name in NEAREST else 0.9) * BUDGET[norm]


@every_attack
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_the_result_has_the_dtype_of_the_images_and_stays_inside(
    name: str, norm: str, dtype: torch.dtype, natural_model: nn.Module, batch: Batch, quick: Quick
) -> None:
    images = batch[0].to(dtype)
    adversarial = quick(name, norm)(natural_model, images, batch[1])
    assert adversarial.dtype == dtype
    assert adversarial.shape == images.shape
    assert adversarial.device == images.device
    check_inside(adversarial, images, norm)
    # rounding can undo a step that just crosses the boundary
    assert name == "awgn" or accuracy(natural_model, adversarial.float(), batch[1]) < (0.95 if name in NEAREST else 0.9)


@every_search
def test_a_model_in_half_precision_is_attacked_in_float32(
    name: str, norm: str, natural_model: nn.Module, batch: Batch, quick: Quick
) -> None:
    model = copy.deepcopy(natural_model).to(torch.bfloat16)
    adversarial = quick(name, norm)(model, batch[0].to(torch.bfloat16), batch[1])
    assert adversarial.dtype == torch.bfloat16
    assert accuracy(model, adversarial, batch[1]) < accuracy(model, batch[0].to(torch.bfloat16), batch[1])


@every_attack
def test_a_budget_of_zero_returns_the_clean_image(
    name: str, norm: str, natural_model: nn.Module, batch: Batch, quick: Quick
) -> None:
    adversarial = quick(name, norm, eps=0)(natural_model, *batch)
    assert torch.equal(adversarial, batch[0])
    assert adversarial.data_ptr() != batch[0].data_ptr()


@pytest.mark.parametrize("name", ["apgd-ce", "apgd-dlr", "apgd-t", "bim", "cw-linf", "mim", "pgd"])
def test_a_budget_of_the_whole_pixel_range_leaves_nothing_right(
    name: str, robust_model: nn.Module, digits: tuple[Batch, Batch]
) -> None:
    images, labels = digits[1]
    adversarial = create_attack(name, eps=1, steps=20)(robust_model, images, labels)
    assert accuracy(robust_model, adversarial, labels) == 0


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_an_attack_that_leaves_the_ball_is_brought_back(norm: str, natural_model: nn.Module, batch: Batch) -> None:
    @dataclass(frozen=True, kw_only=True)
    class Wild(Attack):
        name = "wild"

        def run(self, model: CheckedModel, images: Tensor, labels: Tensor, noise: Noise) -> Tensor:
            return 3 * images - 1

    adversarial = Wild(norm=norm, eps=0.1)(natural_model, *batch)
    assert 0.05 < distance(adversarial, batch[0], norm).max() <= 0.1 + 1e-6
    assert adversarial.min() >= 0
    assert adversarial.max() <= 1


def test_a_name_is_given_to_one_attack_only() -> None:
    with pytest.raises(ValueError, match="attack 'pgd' is registered twice"):
        register("pgd")(type(create_attack("bim", eps=0)))


@every_attack
def test_an_empty_batch_comes_back_empty_without_a_call(name: str, norm: str, quick: Quick) -> None:
    def model(images: Tensor) -> Tensor:
        raise AssertionError("called")

    adversarial = quick(name, norm)(model, torch.empty(0, 3, 8, 8), torch.empty(0, dtype=torch.int64))
    assert adversarial.shape == (0, 3, 8, 8)


@every_attack
def test_the_seed_decides_the_result(
    name: str, norm: str, smooth_model: nn.Module, smooth_batch: Batch, quick: Quick
) -> None:
    # a nearest image that is found from the clean one leaves nothing to random starts, so one step must not suffice
    steps = {"steps": 1} if name in ("fab", "fab-t") else {}
    first, again, other = (quick(name, norm, seed=seed, **steps)(smooth_model, *smooth_batch) for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert torch.equal(first, other) == (name in WITHOUT_CHANCE)


@every_attack
@pytest.mark.parametrize("sizes", [[1, 1, 5, 17], [24]])
def test_the_result_for_an_image_does_not_depend_on_batch_or_order(
    name: str, norm: str, sizes: list[int], smooth_model: nn.Module, smooth_batch: Batch, quick: Quick
) -> None:
    images, labels = smooth_batch
    attack = quick(name, norm, eps={"linf": 0.2, "l2": 1.0}[norm])
    full = attack(smooth_model, images, labels)
    order = torch.randperm(24, generator=torch.Generator().manual_seed(0))
    for rows in order.split(sizes):
        torch.testing.assert_close(
            attack(smooth_model, images[rows], labels[rows], indices=rows), full[rows], rtol=0, atol=1e-9
        )


@every_attack
def test_an_image_is_broken_or_not_however_the_images_are_packed(
    name: str, norm: str, natural_model: nn.Module, digits: tuple[Batch, Batch], quick: Quick
) -> None:
    """As when the images that a cascade leaves are packed anew: other sizes, another order, other images beside."""
    images, labels = digits[1][0][:60], digits[1][1][:60]
    attack = quick(name, norm, seed=1)
    order = torch.randperm(60, generator=torch.Generator().manual_seed(1))
    packs = order[:30].split((1, 5, 24))

    def right(rows: Tensor) -> Tensor:
        with torch.no_grad():
            return (
                natural_model(attack(natural_model, images[rows], labels[rows], indices=rows)).argmax(1) == labels[rows]
            )

    whole = right(torch.arange(60))
    for rows in packs:
        assert right(rows).tolist() == whole[rows].tolist()


@every_search
def test_a_saturated_model_is_attacked_as_well_as_a_mild_one(
    name: str, norm: str, natural_model: nn.Module, batch: Batch, quick: Quick
) -> None:
    right = natural_model(batch[0]).argmax(1) == batch[1]
    images, labels = batch[0][right], batch[1][right]

    def confident(images: Tensor) -> Tensor:
        return 1024 * natural_model(images)  # a power of two: the same decisions, and cross-entropy is exactly zero

    assert torch.nn.functional.cross_entropy(confident(images), labels) == 0
    attack = quick(name, norm, **({"steps": 20} if "steps" in attack_settings(name) else {}))
    mild, harsh = attack(natural_model, images, labels), attack(confident, images, labels)
    assert accuracy(natural_model, harsh, labels) <= accuracy(natural_model, mild, labels) + 0.1
    assert accuracy(natural_model, harsh, labels) < 1


FEWEST_CLASSES = {"apgd-dlr": 3, "apgd-t": 4}


def check_inside_ball_and_box(adversarial: Tensor, images: Tensor, norm: str) -> None:
    change = (adversarial.double() - images.double()).flatten(1)
    size = change.abs().amax(1) if norm == "linf" else change.norm(dim=1)
    assert size.max() <= BUDGET[norm] + 1e-6
    assert adversarial.min() >= 0
    assert adversarial.max() <= 1
    assert not torch.equal(adversarial, images)


@every_attack
@pytest.mark.parametrize(
    ("classes", "channels", "height", "width"),
    [(2, 1, 8, 8), (3, 3, 5, 9), (4, 1, 6, 6), (10, 4, 7, 7), (1000, 3, 8, 8)],
)
def test_any_number_of_classes_and_any_size_works(
    name: str, norm: str, classes: int, channels: int, height: int, width: int, quick: Quick
) -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(5, channels, height, width, generator=generator)
    weight = torch.randn(classes, images[0].numel(), generator=generator)

    def model(images: Tensor) -> Tensor:
        return images.flatten(1) @ weight.T.to(images.dtype)

    labels = model(images).argmax(1)
    fewest = FEWEST_CLASSES.get(name, 2)
    if classes < fewest:
        with pytest.raises(UserError, match=f"^the model has {classes} classes, but .* needs at least {fewest}: "):
            quick(name, norm)(model, images, labels)
        return
    adversarial = quick(name, norm)(model, images, labels)
    check_inside_ball_and_box(adversarial, images, norm)


@every_attack
def test_large_images_work(name: str, norm: str, quick: Quick) -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(2, 3, 224, 224, generator=generator)
    weight = torch.randn(5, 3, 32, 32, generator=generator)

    def model(images: Tensor) -> Tensor:
        return nn.functional.conv2d(images, weight, stride=32).relu().mean((2, 3))

    settings = {"queries": 20} if "queries" in attack_settings(name) else {}
    check_inside_ball_and_box(quick(name, norm, **settings)(model, images, model(images).argmax(1)), images, norm)
