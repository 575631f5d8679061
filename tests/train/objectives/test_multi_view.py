"""The loss over several views of each image."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch.nn.functional as F
from torch import Tensor

from nofrost.errors import UserError
from nofrost.models import Classifier
from nofrost.train.objectives import Adversary, Batch, create_objective

Make = Callable[..., Classifier]


@pytest.mark.parametrize("batching", ["joint", "separate"])
def test_the_three_losses_of_nofrost_star_weigh_a_third_each(
    batching: str, small: Make, batch: Batch, fixed: Adversary, adversarial: Tensor
) -> None:
    model = small("nf")
    views = (batch.images, batch.augmented["augmented"], adversarial)
    losses = [F.cross_entropy(model(images), batch.labels).item() for images in views]
    result = create_objective("multi-view", batching=batching).loss(model, batch, fixed)
    assert result.loss.item() == pytest.approx(sum(losses) / 3)
    assert set(result.correct) == {"clean", "augmented", "adversarial"}


def test_its_code_has_a_view_for_each_augmentation_set(
    small: Make, batch: Batch, fixed: Adversary, adversarial: Tensor
) -> None:
    model = small("nf")
    sets = {"deepaugment": batch.images.flip(3), "tda": batch.images.flip(2)}
    views = (batch.images, *sets.values(), adversarial)
    objective = create_objective("multi-view", views=("clean", "deepaugment", "tda", "adversarial"))
    assert objective.augmented_views == ("deepaugment", "tda")
    loss = objective.loss(model, Batch(batch.images, batch.labels, batch.indices, sets), fixed).loss
    losses = [F.cross_entropy(model(images), batch.labels).item() for images in views]
    assert loss.item() == pytest.approx(sum(losses) / 4)


def test_without_an_adversarial_view_nothing_is_attacked(small: Make, batch: Batch, fixed: Adversary) -> None:
    objective = create_objective("multi-view", views=("augmented",))
    assert objective.robust_weight == 0
    assert set(objective.loss(small("nf"), batch, fixed).correct) == {"augmented"}


def test_a_view_missing_from_the_batch_is_named(small: Make, batch: Batch, fixed: Adversary) -> None:
    with pytest.raises(UserError, match=r"needs the view 'tda': name it in views\.augmentation_sets"):
        create_objective("multi-view", views=("clean", "tda")).loss(small("nf"), batch, fixed)
