"""Additive white Gaussian noise: how much of it, and which draw is kept."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from nofrost.attacks import create_attack
from nofrost.attacks.losses import error_log_odds
from nofrost.errors import UserError
from nofrost.models import Classifier, create_model

Batch = tuple[Tensor, Tensor]
GREY = torch.full((40, 3, 16, 16), 0.5)
LABELS = torch.zeros(40, dtype=torch.int64)


def unmoved(images: Tensor) -> Tensor:
    return torch.tensor([1.0, 0.0]).expand(len(images), 2)


def change(**settings: Any) -> Tensor:
    return create_attack("awgn", **settings)(unmoved, GREY, LABELS) - GREY


def test_in_the_euclidean_norm_the_noise_is_as_long_as_the_budget() -> None:
    result = change(norm="l2", eps=2.0)
    lengths = result.flatten(1).norm(dim=1)
    assert lengths.max() <= 2 + 1e-6
    assert 0.96 * 2 < lengths.mean() < 2  # the longer half of the draws is cut to 2
    assert result.std().item() == pytest.approx(2 / 768**0.5, rel=0.03)


def test_in_the_maximum_norm_the_budget_is_two_deviations() -> None:
    result = change(eps=0.1)
    assert (result.abs() > 0.1 - 1e-6).double().mean().item() == pytest.approx(0.0455, abs=0.005)
    assert (result.abs() < 0.05).double().mean().item() == pytest.approx(0.6827, abs=0.01)
    assert abs(result.mean().item()) < 1e-3


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_a_deviation_of_ones_own_is_taken_as_it_is(norm: str) -> None:
    assert change(norm=norm, eps=1.0, sigma="4/255").std().item() == pytest.approx(4 / 255, rel=0.02)


def test_wide_noise_is_cut_by_the_box_alone_where_the_ball_is_the_box() -> None:
    result = change(eps=1, sigma=1) + 0.5
    assert (result == 0).double().mean().item() == pytest.approx(0.3085, abs=0.01)  # a normal is below -1/2 so often
    assert (result == 1).double().mean().item() == pytest.approx(0.3085, abs=0.01)


def test_of_several_draws_the_worst_is_kept(natural_model: nn.Module, digits: tuple[Batch, Batch]) -> None:
    images, labels = digits[1]

    def outcome(draws: int) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            logits = natural_model(create_attack("awgn", eps=0.4, draws=draws)(natural_model, images, labels))
        return logits.argmax(1) != labels, error_log_odds(logits, labels)

    (once, first), (often, worst) = outcome(1), outcome(8)
    assert (often | ~once).all()
    assert often.sum() > once.sum()
    assert (worst >= first - 1e-4)[~once & ~often].all()


def test_no_further_draw_is_made_for_an_image_that_is_misclassified() -> None:
    sizes = []

    def wrong_for_half(images: Tensor) -> Tensor:
        sizes.append(len(images))
        return torch.tensor([[1.0, 0.0], [0.0, 1.0]]).repeat(20, 1)[: len(images)]

    create_attack("awgn", eps=0.1, draws=3)(wrong_for_half, GREY, LABELS)
    assert sizes == [40, 20, 10]


@pytest.mark.parametrize(("setting", "value"), [("sigma", 0), ("sigma", "-1/255"), ("sigma", "wide"), ("draws", 0)])
def test_a_setting_out_of_range_is_one_sentence(setting: str, value: Any) -> None:
    with pytest.raises(UserError, match=f"^attack 'awgn': {setting}: "):
        create_attack("awgn", eps=0.1, **{setting: value})


def of_this_package(std: tuple[float, ...]) -> Classifier:
    return create_model("linear", normaliser="none", num_classes=2, image_size=16, mean=(0.5,) * 3, std=std)


def test_in_the_normalised_space_sigma_is_a_multiple_of_the_deviation_of_each_channel() -> None:
    deviations = (0.1, 0.2, 0.3)
    attack = create_attack("awgn", eps=1, sigma=0.5, space="normalised", clip=False)
    result = attack(of_this_package(deviations), GREY, LABELS) - GREY
    for channel, deviation in enumerate(deviations):
        assert result[:, channel].std().item() == pytest.approx(0.5 * deviation, rel=0.03)


def test_noise_that_is_not_clipped_leaves_ball_and_box_and_is_the_same_draw() -> None:
    free, cut = (change(eps=0.5, sigma=1, clip=clip) for clip in (False, True))
    assert free.std().item() == pytest.approx(1, rel=0.01)
    assert torch.equal(free.clamp(-0.5, 0.5), cut)


def test_noise_before_the_resize_is_that_of_the_small_images_enlarged_by_pillow() -> None:
    """What `nofrost prepare --image-size` makes of an image is what it makes of the noise, but for rounding."""
    small = create_attack("awgn", eps=1, sigma=0.2, clip=False)(unmoved, GREY[:2, :, :8, :8], LABELS[:2]) - 0.5
    large = create_attack("awgn", eps=1, sigma=0.2, clip=False, before_resize=8)(unmoved, GREY[:2], LABELS[:2]) - 0.5
    for before, after in zip(small.flatten(0, 1), large.flatten(0, 1), strict=True):
        enlarged = Image.fromarray(before.numpy()).resize((16, 16), Image.Resampling.BICUBIC)
        assert np.allclose(np.asarray(enlarged), after.numpy(), atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"space": "normalised"}, "set it, such as sigma: 1"),
        ({"sigma": 1, "space": "normalised"}, "write space: pixel"),
    ],
)
def test_a_normalised_space_without_its_unit_is_one_sentence(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        change(eps=1, **settings)
