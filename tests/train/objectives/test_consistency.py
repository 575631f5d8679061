"""The loss of AugMix (Hendrycks et al. 2020, §3)."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F

from nofrost.models import Classifier
from nofrost.train.objectives import Adversary, Batch, create_objective
from nofrost.train.objectives.consistency import jensen_shannon

Make = Callable[..., Classifier]


def test_predictions_that_agree_have_no_divergence() -> None:
    logits = torch.randn(5, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert jensen_shannon(torch.stack([logits, logits + 3, logits])).abs().max() < 1e-12


def test_certain_predictions_of_different_classes_have_the_most() -> None:
    logits = 1e4 * torch.eye(3, dtype=torch.float64)[:, None]
    assert jensen_shannon(logits).tolist() == pytest.approx([math.log(3)])


def test_it_is_the_entropy_of_the_mean_less_the_mean_entropy() -> None:
    logits = 3 * torch.randn(3, 7, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    p = logits.softmax(2)

    def entropy(values: torch.Tensor) -> torch.Tensor:
        return -(values * values.log()).sum(-1)

    torch.testing.assert_close(jensen_shannon(logits), entropy(p.mean(0)) - entropy(p).mean(0))


@pytest.mark.parametrize("batching", ["joint", "separate"])
@pytest.mark.parametrize("weight", [0.0, 12.0])
def test_the_loss_is_that_of_the_clean_images_and_the_divergence(
    batching: str, weight: float, small: Make, batch: Batch, fixed: Adversary
) -> None:
    model = small("nf")
    views = {view: batch.augmented[view] for view in ("augmix", "augmix-2")}
    p = torch.stack([model(images).softmax(1) for images in (batch.images, *views.values())])
    mean = p.mean(0)
    divergence = (p * (p / mean).log()).sum(2).mean()
    expected = F.cross_entropy(model(batch.images), batch.labels) + weight * divergence
    objective = create_objective("augmix", batching=batching, consistency_weight=weight)
    assert objective.robust_weight == 0
    losses = objective.loss(model, batch, fixed)
    torch.testing.assert_close(losses.loss, expected)
    assert dict(losses.images) == {"clean": 12, "augmix": 12, "augmix-2": 12}
