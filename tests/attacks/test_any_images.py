"""Every attack takes images of any size, of any number of channels and classes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from nofrost.attacks import Attack, attack_settings, create_attack, list_attacks
from nofrost.errors import UserError

Quick = Callable[..., Attack]
CASES = [(name, norm) for name in list_attacks() for norm in create_attack(name, eps=0).norms]
every_attack = pytest.mark.parametrize(("name", "norm"), CASES)
FEWEST_CLASSES = {"apgd-dlr": 3, "apgd-t": 4}
BUDGET = {"linf": 0.1, "l2": 0.5}


def check_inside(adversarial: Tensor, images: Tensor, norm: str) -> None:
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
    check_inside(adversarial, images, norm)


@every_attack
def test_large_images_work(name: str, norm: str, quick: Quick) -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(2, 3, 224, 224, generator=generator)
    weight = torch.randn(5, 3, 32, 32, generator=generator)

    def model(images: Tensor) -> Tensor:
        return nn.functional.conv2d(images, weight, stride=32).relu().mean((2, 3))

    settings = {"queries": 20} if "queries" in attack_settings(name) else {}
    check_inside(quick(name, norm, **settings)(model, images, model(images).argmax(1)), images, norm)
