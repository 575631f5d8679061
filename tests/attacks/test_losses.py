"""The losses that attacks maximise, and the classes that targeted attacks aim at."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from nofrost.attacks.losses import dlr, error_log_odds, likeliest_wrong, margin, targeted_dlr, targeted_margin
from nofrost.errors import UserError

LOGITS = torch.tensor([[3.0, 1.0, 2.0, -1.0], [0.0, 5.0, 4.0, 3.0]], dtype=torch.float64)


def random_logits(count: int, classes: int) -> Tensor:
    return 3 * torch.randn(count, classes, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def pairs(labels: list[int], targets: list[int]) -> Tensor:
    return torch.tensor([labels, targets]).T


def gradient(loss: Callable[[Tensor, Tensor], Tensor], logits: Tensor, classes: Tensor) -> Tensor:
    logits = logits.clone().requires_grad_()
    return torch.autograd.grad(loss(logits, classes).sum(), logits)[0]


@pytest.mark.parametrize("classes", [2, 3, 10, 1000])
def test_its_softplus_is_cross_entropy_without_label_smoothing(classes: int) -> None:
    logits = 5 * torch.randn(50, classes, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    labels = torch.arange(50) % classes
    expected = F.cross_entropy(logits, labels, reduction="none")
    torch.testing.assert_close(F.softplus(error_log_odds(logits, labels), threshold=100), expected)


def test_its_gradient_points_where_that_of_cross_entropy_does() -> None:
    logits = torch.randn(50, 10, generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_()
    labels = torch.arange(50) % 10
    ours = torch.autograd.grad(error_log_odds(logits, labels).sum(), logits)[0]
    theirs = torch.autograd.grad(F.cross_entropy(logits, labels, reduction="sum"), logits)[0]
    torch.testing.assert_close(F.normalize(ours), F.normalize(theirs))


def test_it_stays_alive_where_cross_entropy_is_exactly_zero() -> None:
    logits = torch.tensor([[1000.0, 0.0, -5.0]], requires_grad=True)
    labels = torch.tensor([0])
    assert not torch.autograd.grad(F.cross_entropy(logits, labels), logits)[0].any()
    (gradient,) = torch.autograd.grad(error_log_odds(logits, labels).sum(), logits)
    assert gradient[0, 0] == -1
    assert gradient[0, 1:].sum().item() == pytest.approx(1)
    assert error_log_odds(logits, labels).item() == pytest.approx(-1000, abs=0.1)


def test_classes_ruled_out_by_minus_infinity_take_no_part() -> None:
    logits = torch.tensor([[1.0, 2.0, 0.5]], requires_grad=True)
    masked = torch.cat([logits, torch.full((1, 1), -torch.inf)], 1)
    value = error_log_odds(masked, torch.tensor([0]))
    assert torch.equal(value, error_log_odds(logits, torch.tensor([0])))
    assert torch.isfinite(torch.autograd.grad(value.sum(), logits)[0]).all()


def test_the_margin_is_the_lead_of_the_best_other_class() -> None:
    assert margin(LOGITS, torch.tensor([0, 3])).tolist() == [-1, 2]
    assert targeted_margin(LOGITS, pairs([0, 3], [1, 2])).tolist() == [-2, 1]
    assert gradient(margin, LOGITS, torch.tensor([0, 3])).tolist() == [[-1, 0, 1, 0], [0, 1, 0, -1]]


def test_the_ratio_has_its_closed_form() -> None:
    assert dlr(LOGITS, torch.tensor([0, 3])).tolist() == pytest.approx([-1 / 2, 2 / 2])
    assert targeted_dlr(LOGITS, pairs([0, 3], [1, 2])).tolist() == pytest.approx([-2 / 3, 1 / 3.5])
    three = torch.tensor([[1.0, 4.0, 0.0]])
    assert [dlr(three, torch.tensor([label])).item() for label in range(3)] == pytest.approx([3 / 4, -3 / 4, 1])


@pytest.mark.parametrize("classes", [3, 4, 10, 1000])
def test_the_ratio_and_its_gradient_are_those_of_the_paper(classes: int) -> None:
    logits, labels = random_logits(60, classes), torch.arange(60) % classes
    targets = (labels + 1) % classes

    def published(logits: Tensor, labels: Tensor) -> Tensor:
        ordered, at = logits.sort(1)[0], torch.arange(len(logits))
        right = (logits.argmax(1) == labels).double()
        best_other = right * ordered[:, -2] + (1 - right) * ordered[:, -1]
        return -(logits[at, labels] - best_other) / (ordered[:, -1] - ordered[:, -3] + 1e-12)

    def published_targeted(logits: Tensor, labels: Tensor) -> Tensor:
        ordered, at = logits.sort(1)[0], torch.arange(len(logits))
        unit = ordered[:, -1] - 0.5 * ordered[:, -3] - 0.5 * ordered[:, -4] + 1e-12
        return -(logits[at, labels[:, 0]] - logits[at, labels[:, 1]]) / unit

    torch.testing.assert_close(dlr(logits, labels), published(logits, labels))
    torch.testing.assert_close(gradient(dlr, logits, labels), gradient(published, logits, labels), rtol=1e-6, atol=1e-9)
    if classes > 3:
        both = torch.stack([labels, targets], 1)
        torch.testing.assert_close(targeted_dlr(logits, both), published_targeted(logits, both))
        expected = gradient(published_targeted, logits, both)
        torch.testing.assert_close(gradient(targeted_dlr, logits, both), expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("scale", [1e-30, 1e-14, 1e4, 1e30])
def test_the_ratio_and_the_direction_of_its_gradient_do_not_depend_on_scale_or_shift(scale: float) -> None:
    logits, labels = random_logits(40, 6).float(), torch.arange(40) % 6
    for loss, classes in ((dlr, labels), (targeted_dlr, torch.stack([labels, (labels + 1) % 6], 1))):
        torch.testing.assert_close(loss(scale * logits, classes), loss(logits, classes), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(loss(logits + 7, classes), loss(logits, classes), rtol=1e-4, atol=1e-5)
        scaled = gradient(loss, scale * logits, classes) * scale
        torch.testing.assert_close(scaled, gradient(loss, logits, classes), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    "row",
    [
        [0.0, 0.0, 0.0, 0.0],  # all tied
        [2e4, 2e4, 2e4, 0.0],  # the largest three tied, and the label not among them
        [1e30, 1e30, 1e30, -1e30],
        [1e-40, 0.0, 0.0, 0.0],
        [-torch.inf, -torch.inf, 1.0, 2.0],  # two classes left
        [-torch.inf, -torch.inf, -torch.inf, 2.0],  # the label alone
        [1.0, 2.0, 0.0, -torch.inf],  # the label ruled out
        [-torch.inf, -torch.inf, 1.0, -torch.inf],
    ],
)
def test_ties_and_classes_that_are_ruled_out_leave_ratio_and_gradient_finite(row: list[float]) -> None:
    logits, label = torch.tensor([row]), torch.tensor([3])
    for loss, classes in ((dlr, label), *((targeted_dlr, pairs([3], [target])) for target in range(3))):
        assert loss(logits, classes).isfinite().all()
        assert gradient(loss, logits, classes).isfinite().all()


def test_with_two_classes_left_the_ratio_still_rises_with_the_margin() -> None:
    """Were the second the third as well, it would be -1 whatever the margin."""
    logits, label = torch.tensor([[-torch.inf, 1.0, -torch.inf, 2.0]]), torch.tensor([3])
    assert gradient(dlr, logits, label).tolist() == [[0, 1, 0, -1]]


def test_the_ratio_is_blind_where_the_label_is_third() -> None:
    """A gap of the published loss, met only once the image is misclassified."""
    logits = torch.tensor([[4.0, 3.0, 1.0, 0.0]], dtype=torch.float64)
    assert dlr(logits, torch.tensor([2])).item() == pytest.approx(1)
    assert gradient(dlr, logits, torch.tensor([2])).abs().max() < 1e-11


def test_too_few_classes_for_a_ratio_are_refused() -> None:
    with pytest.raises(UserError, match=r"^the model has 2 classes, but the loss DLR needs at least 3: use apgd-ce"):
        dlr(torch.zeros(1, 2), torch.tensor([0]))
    with pytest.raises(UserError, match=r"^the model has 3 classes, but the loss targeted DLR needs at least 4"):
        targeted_dlr(torch.zeros(1, 3), pairs([0], [1]))


INF = torch.inf


def test_they_come_by_falling_logit_without_the_label() -> None:
    logits = torch.tensor([[4.0, 1.0, 3.0, 2.0], [0.0, 1.0, 2.0, 3.0]])
    assert likeliest_wrong(logits, torch.tensor([0, 1]), 2).tolist() == [[2, 3], [3, 2]]


def test_there_are_at_most_all_wrong_classes() -> None:
    assert likeliest_wrong(torch.tensor([[4.0, 1.0, 3.0]]), torch.tensor([2]), 9).tolist() == [[0, 1]]
    assert likeliest_wrong(torch.tensor([[4.0, 1.0]]), torch.tensor([0]), 9).tolist() == [[1]]


def test_neither_ties_nor_classes_ruled_out_bring_the_label_in() -> None:
    logits = torch.tensor([[0.0, 0.0, 0.0, 0.0], [-INF, 1.0, -INF, -INF]])
    assert likeliest_wrong(logits, torch.tensor([2, 2]), 3).tolist() == [[0, 1, 3], [1, 0, 3]]
