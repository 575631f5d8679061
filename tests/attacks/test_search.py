"""Attempts side by side in one batch find what they find one after the other."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nofrost.attacks import Attack, WorstCase, create_attack

IMAGES = 24
SETTINGS: dict[str, dict[str, Any]] = {
    "apgd-t": {"steps": 12, "targets": 5},
    "apgd-t, two restarts": {"steps": 6, "targets": 3, "restarts": 2},
    "apgd-t, to the end": {"steps": 6, "targets": 5, "early_stop": False},
    "fab-t": {"steps": 12, "targets": 5},
    "fab-t, two restarts": {"steps": 6, "targets": 3, "restarts": 2},
}
each_setting = pytest.mark.parametrize("what", SETTINGS)
each_norm = pytest.mark.parametrize(("norm", "eps"), [("linf", 0.06), ("l2", 0.25)])


class Exact(nn.Module):
    """A network for 1 x 4 x 4 images whose answer for an image is the same bits in every batch: it has no matrix
    product, whose order of summation depends on the batch."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = torch.randn(6, 16, generator=generator, dtype=torch.float64)
        self.asked: list[tuple[int, bool]] = []

    def forward(self, images: Tensor) -> Tensor:
        self.asked.append((len(images), images.requires_grad))
        lead = (images.flatten(1)[:, None] * self.weight).sum(2)
        return lead - 0.02 * lead * lead * lead


@pytest.fixture
def model() -> Exact:
    return Exact()


@pytest.fixture
def images() -> Tensor:
    return torch.rand(IMAGES, 1, 4, 4, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


def assert_same(found: Tensor, expected: Tensor) -> None:
    """Compare points up to the last bits, which torch's own operations round by where an image lies in a batch."""
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-14)


def create(what: str, norm: str, eps: float) -> Attack:
    return create_attack(what.split(",")[0], norm=norm, eps=eps, seed=3, **SETTINGS[what])


@each_setting
@each_norm
@pytest.mark.parametrize("batch_size", [2 * IMAGES, 10 * IMAGES])
def test_targets_in_one_batch_find_the_same_points_as_one_after_the_other(
    what: str,
    norm: str,
    eps: float,
    batch_size: int,
    model: Exact,
    images: Tensor,
) -> None:
    labels, attack = model(images).argmax(1), create(what, norm, eps)
    expected = attack(model, images, labels)
    calls_alone = len(model.asked)
    model.asked.clear()
    found = attack(model, images, labels, batch_size=batch_size)
    assert len(model.asked) < calls_alone
    assert max(size for size, _ in model.asked) <= batch_size
    assert_same(found, expected)
    wrong = model(found).argmax(1) != labels
    assert wrong.tolist() == (model(expected).argmax(1) != labels).tolist()
    assert 2 < wrong.sum() < IMAGES - 2


def test_as_many_targets_share_a_batch_as_it_holds(model: Exact, images: Tensor) -> None:
    labels = model(images).argmax(1)
    for batch_size, sizes in ((1, [24] * 5), (47, [24] * 5), (71, [48, 48, 24]), (72, [72, 48]), (500, [120])):
        model.asked.clear()
        attack = create_attack("apgd-t", eps=1e-4, steps=1, targets=5)
        attack(model, images, labels, batch_size=batch_size)
        assert [size for size, needs_gradient in model.asked if needs_gradient] == sizes


def test_hardly_a_step_is_spent_on_targets_of_an_image_that_one_before_has_fooled(model: Exact, images: Tensor) -> None:
    labels = model(images).argmax(1)
    attack = create_attack("apgd-t", eps=0.2, steps=20, targets=5)
    steps = []
    for batch_size in (1, 5 * IMAGES):
        model.asked.clear()
        found = attack(model, images, labels, batch_size=batch_size)
        steps.append(sum(size for size, needs_gradient in model.asked if needs_gradient))
        assert (model(found).argmax(1) != labels).sum() > IMAGES * 0.9
    assert steps[1] < 2 * steps[0]


def test_the_members_of_a_cascade_share_the_batch_size(model: Exact, images: Tensor) -> None:
    labels = model(images).argmax(1)
    cascade = WorstCase.of(create("apgd-t", "linf", 0.04), create("fab-t", "linf", 0.04))
    expected = cascade(model, images, labels)
    calls_alone = len(model.asked)
    model.asked.clear()
    assert_same(cascade(model, images, labels, batch_size=200), expected)
    assert len(model.asked) < calls_alone / 2
