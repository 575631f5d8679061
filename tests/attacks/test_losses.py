"""The loss of the attacks is cross-entropy on a scale that does not saturate."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from nofrost.attacks.losses import error_log_odds


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
