"""A user's mistake gives one sentence that says what is wrong and what to do."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nofrost.attacks import create_attack
from nofrost.attacks.gradient import Pgd
from nofrost.config.fraction import PixelFraction
from nofrost.errors import UserError

Call = dict[str, Any]
GOOD: Call = {"name": "pgd", "eps": 0.1}

WHOLE = "input should be a valid integer"
POSITIVE = "input should be greater than 0"
SETTINGS: list[tuple[Call, str]] = [
    ({"stepz": 3}, r"unknown setting 'stepz': did you mean 'steps'\? allowed here are .*restarts"),
    ({"name": "fgsm", "steps": 3}, r"unknown setting 'steps': .*are eot, eps, norm, seed$"),
    ({"name": "bim", "restarts": 3}, "unknown setting 'restarts'"),
    ({"norm": "l1"}, "norm: unknown norm 'l1': .*known are l2, linf"),
    ({"norm": None}, "norm: input should be a valid string, got None"),
    ({"eps": -0.1}, "eps: '-0.1' is negative"),
    ({"eps": "8/0"}, "eps: '8/0' divides by zero"),
    ({"eps": "eight"}, "eps: 'eight' is not a fraction"),
    ({"eps": float("nan")}, "eps: 'nan' is not a fraction"),
    ({"eps": float("inf"), "norm": "l2"}, "eps: 'inf' is not a fraction"),
    ({"eps": float("-inf")}, "eps: '-inf' is not a fraction"),
    ({"eps": "1e400", "norm": "l2"}, "eps: '1e400' is more than any distance of images"),
    ({"eps": True}, "eps: True is not a fraction"),
    ({"eps": None}, "eps: None is not a fraction"),
    ({"eps": 8}, "eps is 8, more than the whole pixel range: write at most 1, such as 8/255"),
    ({"seed": -1}, "seed: input should be greater than or equal to 0, got -1"),
    ({"seed": 2**63}, "seed: input should be less than 9223372036854775808"),
    ({"seed": 0.5}, f"seed: {WHOLE}, got 0.5"),
    ({"steps": 0}, f"steps: {POSITIVE}, got 0"),
    ({"steps": 2.0}, f"steps: {WHOLE}, got 2.0"),
    ({"steps": True}, "steps: true is not a number"),
    ({"step_size": 0}, "step_size: 0 is no step: write more than 0"),
    ({"step_size": "-1/255"}, "step_size: '-1/255' is negative"),
    ({"keep": "first"}, "keep: input should be 'best' or 'last', got 'first'"),
    ({"early_stop": 1}, "early_stop: input should be a valid boolean, got 1"),
    ({"restarts": 0}, f"restarts: {POSITIVE}, got 0"),
    ({"name": "apgd-ce", "steps": 0}, f"steps: {POSITIVE}"),
    ({"name": "apgd-ce", "restarts": 0}, f"restarts: {POSITIVE}"),
    ({"name": "apgd-ce", "rho": 1.5}, "rho: input should be less than or equal to 1, got 1.5"),
    ({"name": "apgd-ce", "early_stop": "nein"}, "early_stop: input should be a valid boolean, got 'nein'"),
    *[({"name": name, "eot": 0}, f"eot: {POSITIVE}") for name in ("fgsm", "pgd", "apgd-ce")],
    ({"name": "apgd-t", "targets": 0}, f"targets: {POSITIVE}"),
    ({"name": "mim", "decay": -1}, "decay: input should be greater than or equal to 0, got -1"),
    ({"name": "mim", "decay": float("nan")}, "decay: input should be a finite number, got nan"),
    ({"name": "mim", "restarts": 2}, "unknown setting 'restarts'"),
    ({"name": "cw-linf", "confidence": float("inf")}, "confidence: input should be a finite number"),
    ({"name": "cw-linf", "norm": "l2"}, "norm: unknown norm 'l2': known are linf"),
    ({"name": "fab", "overshoot": 0.9}, "overshoot: input should be greater than or equal to 1, got 0.9"),
    ({"name": "autoattack", "version": "fast"}, "version: input should be 'standard', 'plus' or 'rand', got 'fast'"),
    ({"name": "awgn", "sigma": "0"}, "sigma: 0 is no step"),
]


@pytest.mark.parametrize(("change", "message"), SETTINGS, ids=[str(change) for change, _ in SETTINGS])
def test_a_wrong_setting_is_named(change: Call, message: str) -> None:
    call = GOOD | change
    with pytest.raises(UserError, match=f"^attack '{call['name']}': {message}") as caught:
        create_attack(**call)
    assert "\n" not in str(caught.value)


def test_an_unknown_name_gets_the_closest() -> None:
    with pytest.raises(UserError, match=r"^unknown attack 'pdg': did you mean 'pgd'\? known are apgd-ce, "):
        create_attack("pdg", eps=0.1)


def test_a_class_checks_its_settings_as_its_name_does() -> None:
    with pytest.raises(UserError, match=r"^attack 'pgd': steps: input should be greater than 0, got 0"):
        Pgd(eps=0.1, steps=0)


@pytest.mark.parametrize(
    "eps", [8 / 255, "8/255", "8 / 255", Fraction(8, 255), PixelFraction("8/255"), np.float64(8 / 255)]
)
def test_a_budget_may_be_written_in_any_form(eps: Any) -> None:
    attack = create_attack("pgd", eps=eps, step_size=eps)
    assert attack.eps == 8 / 255
    assert attack.step_size == 8 / 255  # type: ignore[attr-defined]


def test_an_attack_cannot_be_changed_and_equals_its_like() -> None:
    attack = create_attack("pgd", eps="8/255")
    assert attack == create_attack("pgd", eps=8 / 255)
    assert attack != create_attack("bim", eps=8 / 255)
    with pytest.raises(AttributeError):
        attack.eps = 0.5  # type: ignore[misc]


IMAGES, LABELS = torch.full((4, 1, 2, 2), 0.5), torch.tensor([0, 1, 2, 0])
NAN = torch.full((4, 1, 2, 2), torch.nan)
BATCHES: list[tuple[Call, str]] = [
    ({"images": IMAGES[0]}, r"images are a float32 tensor of shape \(1, 2, 2\): an attack needs floats \[N, C, H, W\]"),
    ({"images": (IMAGES * 255).to(torch.uint8)}, "images are a uint8 tensor"),
    ({"images": np.zeros((4, 1, 2, 2))}, "images are a ndarray"),
    ({"images": IMAGES * 255}, r"images run from 127.5 to 127.5: an attack needs pixels in \[0, 1\]"),
    ({"images": IMAGES - 0.6}, "images run from -0.1 to -0.1"),
    ({"images": NAN}, "images hold NaN or infinite values"),
    ({"images": IMAGES / 0}, "images hold NaN or infinite values"),
    ({"labels": LABELS.int()}, r"labels are a int32 tensor of shape \(4,\): an attack needs an int64 tensor \[N\]"),
    ({"labels": LABELS[:, None]}, r"labels are a int64 tensor of shape \(4, 1\)"),
    ({"labels": [0, 1, 2, 0]}, "labels are a list"),
    ({"labels": LABELS[:3]}, "there are 4 images but 3 labels: give one for each image"),
    ({"labels": LABELS.to("meta")}, "labels are on meta but images on cpu"),
    ({"labels": LABELS + 1}, "labels run from 1 to 3, but the model has 3 classes: they must be 0 to 2"),
    ({"labels": LABELS - 1}, "labels run from -1 to 1"),
    ({"eps": 2.001, "norm": "l2"}, r"eps is 2.001, but no two images of shape \(1, 2, 2\) are further apart than 2 "),
    ({"indices": LABELS[:2]}, "there are 4 images but 2 indices"),
    ({"indices": LABELS.float()}, "indices are a float32 tensor"),
]


def linear(images: Tensor) -> Tensor:
    return images.flatten(1) @ torch.arange(12.0, dtype=images.dtype).view(4, 3).cos()


@pytest.mark.parametrize("name", ["apgd-ce", "fgsm", "pgd", "pgd-targeted"])
@pytest.mark.parametrize(("change", "message"), BATCHES, ids=[message[:30] for _, message in BATCHES])
def test_a_wrong_batch_is_named(name: str, change: Call, message: str) -> None:
    given = {"images": IMAGES, "labels": LABELS, "indices": None, "eps": 0.1, "norm": "linf"} | change
    attack = create_attack(name, eps=given["eps"], norm=given["norm"])
    with pytest.raises(UserError, match=f"^{message}"):
        attack(linear, given["images"], given["labels"], indices=given["indices"])


def test_a_euclidean_budget_may_be_as_long_as_the_pixel_box() -> None:
    assert create_attack("bim", norm="l2", eps=2, steps=2)(linear, IMAGES, LABELS).isfinite().all()


def test_pixels_a_rounding_outside_the_box_are_accepted() -> None:
    adversarial = create_attack("pgd", eps=0.1)(linear, IMAGES * 2 + 5e-7, LABELS)
    assert adversarial.max() <= 1


class BreaksLater(nn.Module):
    """Gives NaN from the second call on."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, images: Tensor) -> Tensor:
        self.calls += 1
        return linear(images) * (1 if self.calls == 1 else torch.nan)


MODELS: list[tuple[Any, str]] = [
    (lambda images: linear(images) * torch.nan, "the model returned NaN or infinite logits"),
    (lambda images: linear(images) + torch.inf, "the model returned NaN or infinite logits"),
    (BreaksLater(), "the model returned NaN or infinite logits"),
    (lambda images: images, r"the model returned shape \(4, 1, 2, 2\) for 4 images: an attack needs logits \[N, C\]"),
    (lambda images: linear(images)[:, :1], r"the model returned shape \(4, 1\)"),
    (lambda images: linear(images)[:3], r"the model returned shape \(3, 3\)"),
    (lambda images: {"logits": linear(images)}, "the model returned dict"),
    (lambda images: linear(images.detach()), "the model's logits have no gradient"),
    (lambda images: linear(images).round().detach().requires_grad_(), "the model's logits have no gradient"),
]


@pytest.mark.parametrize("name", ["apgd-ce", "pgd"])
@pytest.mark.parametrize(("model", "message"), MODELS)
def test_a_model_that_cannot_be_attacked_is_named(name: str, model: Any, message: str) -> None:
    if isinstance(model, BreaksLater):
        model.calls = 0
    with pytest.raises(UserError, match=f"^{message}"):
        create_attack(name, eps=0.1, steps=3)(model, IMAGES, torch.zeros_like(LABELS))


def test_a_gradient_that_is_nan_is_named() -> None:
    def model(images: Tensor) -> Tensor:
        return linear(images) + (images - 0.5).square().sum((1, 2, 3)).sqrt()[:, None]  # sqrt(0) at these images

    with pytest.raises(UserError, match=r"^the gradient of the model is NaN or infinite"):
        create_attack("fgsm", eps=0.1)(model, IMAGES, LABELS)
