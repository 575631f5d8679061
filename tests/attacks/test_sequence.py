"""Worst cases: the first member that fools an image decides it, and nothing is spent on it after that."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nofrost.attacks import Attack, WorstCase, create_attack
from nofrost.attacks.model import NoGradientError
from nofrost.errors import UserError

Batch = tuple[Tensor, Tensor]
Quick = Callable[..., Attack]
NORMS = pytest.mark.parametrize("norm", ["linf", "l2"])


def survivors(model: Callable[[Tensor], Tensor], images: Tensor, labels: Tensor) -> Tensor:
    with torch.no_grad():
        return model(images).argmax(1) == labels


class Counted(nn.Module):
    """Counts the images that it is asked about, with and without a gradient to follow."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.asked: list[int] = []
        self.differentiated = 0

    def forward(self, images: Tensor) -> Tensor:
        self.asked.append(len(images))
        self.differentiated += len(images) * images.requires_grad
        logits: Tensor = self.model(images)
        return logits


class Rounded(nn.Module):
    """A model without a gradient: it rounds what it sees."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.model(images.detach())
        return logits


@NORMS
def test_an_image_survives_exactly_if_it_survives_every_member_alone(
    norm: str, natural_model: nn.Module, digits: tuple[Batch, Batch], quick: Quick
) -> None:
    images, labels = digits[1][0][:150], digits[1][1][:150]
    members = [quick(name, norm) for name in ("fgsm", "square", "apgd-dlr")]
    alone = [survivors(natural_model, member(natural_model, images, labels), labels) for member in members]
    assert len({int(each.sum()) for each in alone}) == 3, "the members differ"
    expected = survivors(natural_model, images, labels)
    for each in alone:
        expected &= each
    worst = WorstCase.of(*members)(natural_model, images, labels)
    assert survivors(natural_model, worst, labels).tolist() == expected.tolist()
    again = WorstCase.of(*reversed(members))(natural_model, images, labels)
    assert survivors(natural_model, again, labels).tolist() == expected.tolist(), "in any order"


@NORMS
def test_an_image_comes_back_as_the_first_member_left_it_that_fooled_it(
    norm: str, natural_model: nn.Module, batch: Batch, quick: Quick
) -> None:
    first, second = quick("square", norm, queries=20), quick("pgd", norm, steps=20)
    worst = WorstCase.of(first, second)(natural_model, *batch)
    clean = survivors(natural_model, *batch)
    after_first = clean & survivors(natural_model, first(natural_model, *batch), batch[1])
    assert 0 < after_first.sum() < clean.sum()
    assert torch.equal(worst[~clean], batch[0][~clean]), "what is wrong when clean is not touched"
    torch.testing.assert_close(worst[clean & ~after_first], first(natural_model, *batch)[clean & ~after_first])
    fooled_by_second = after_first & ~survivors(natural_model, worst, batch[1])
    assert fooled_by_second.any()
    torch.testing.assert_close(worst[fooled_by_second], second(natural_model, *batch)[fooled_by_second])


def test_what_no_member_fools_comes_back_as_the_point_with_the_highest_loss(
    robust_model: nn.Module, batch: Batch
) -> None:
    weak, strong = (create_attack("pgd", eps=0.02, steps=steps) for steps in (1, 10))
    worst = WorstCase.of(strong, weak)(robust_model, *batch)
    right = survivors(robust_model, worst, batch[1])
    assert right.any()
    torch.testing.assert_close(worst[right], strong(robust_model, *batch)[right], rtol=0, atol=1e-6)


def test_gradients_are_spent_on_images_that_are_still_right_alone(natural_model: nn.Module, batch: Batch) -> None:
    counted = Counted(natural_model)
    fgsm, more = create_attack("fgsm", eps=0.1), create_attack("bim", eps=0.1, steps=1, keep="last")
    WorstCase.of(fgsm, more)(counted, *batch)
    clean = int(survivors(natural_model, *batch).sum())
    left = int(survivors(natural_model, fgsm(natural_model, *batch), batch[1]).sum())
    assert clean < len(batch[0])
    assert counted.differentiated == clean + left


def test_nothing_is_asked_once_every_image_is_fooled(natural_model: nn.Module, batch: Batch) -> None:
    counted = Counted(natural_model)
    WorstCase.of(create_attack("apgd-ce", eps=1), create_attack("square", eps=1))(counted, *batch)
    assert len(counted.asked) < 200


def test_members_that_need_a_gradient_are_passed_over_where_there_is_none(
    natural_model: nn.Module, batch: Batch, quick: Quick
) -> None:
    model = Rounded(natural_model)
    square = quick("square", "linf", queries=100)
    worst = WorstCase.of(quick("apgd-ce", "linf"), square)(model, *batch)
    alone = survivors(model, square(model, *batch), batch[1])
    assert survivors(model, worst, batch[1]).tolist() == alone.tolist()
    assert alone.sum() < survivors(model, *batch).sum()
    with pytest.raises(NoGradientError, match="have no gradient"):
        WorstCase.of(quick("apgd-ce", "linf"), quick("pgd", "linf"))(model, *batch)


def test_a_worst_case_can_stand_in_another(natural_model: nn.Module, batch: Batch, quick: Quick) -> None:
    inner = WorstCase.of(quick("fgsm", "linf"), quick("bim", "linf"))
    nested = WorstCase.of(inner, quick("pgd", "linf"))(natural_model, *batch)
    flat = WorstCase.of(*inner.attacks, quick("pgd", "linf"))(natural_model, *batch)
    assert torch.equal(survivors(natural_model, nested, batch[1]), survivors(natural_model, flat, batch[1]))


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ([{"eps": 0.2}], r"attack 'pgd' has eps 0\.2, but the worst case has 0\.1: give all attacks"),
        ([{"norm": "l2"}], "attack 'pgd' has norm 'l2', but the worst case has 'linf'"),
        ([{}, {"seed": 1}], "attack 'pgd' has seed 1, but the worst case has 0"),
    ],
)
def test_members_with_another_threat_or_seed_are_refused(others: list[dict[str, Any]], message: str) -> None:
    attacks = [create_attack("pgd", **{"eps": 0.1, **other}) for other in ({}, *others)]
    with pytest.raises(UserError, match=message):
        WorstCase.of(*attacks)


def test_a_worst_case_over_nothing_is_refused() -> None:
    with pytest.raises(UserError, match="a worst case needs at least one attack"):
        WorstCase.of()
