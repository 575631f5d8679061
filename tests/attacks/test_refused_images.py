"""Images of another shape than a model takes are the user's mistake; what else a model raises is not."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nofrost.attacks import create_attack
from nofrost.errors import UserError

IMAGES, LABELS = torch.full((4, 1, 2, 2), 0.5), torch.tensor([0, 1, 2, 0])

REFUSALS = [
    (nn.Sequential(nn.Flatten(), nn.Linear(9, 3)), r"RuntimeError: .*mat1 and mat2 shapes cannot be multiplied"),
    (nn.Sequential(nn.Conv2d(3, 3, 1), nn.Flatten()), "RuntimeError: Given groups=1, weight of size"),
    (lambda images: images.unflatten(1, (3, 7)), r"RuntimeError: .*unflatten"),
    (lambda images: images.flatten(1)[:, torch.arange(5)], "IndexError: "),
    (lambda images, mask: images, "TypeError: "),
]


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize(("model", "reason"), REFUSALS)
def test_images_that_a_model_does_not_take_are_named(norm: str, model: Any, reason: str) -> None:
    message = rf"^the model failed on a float32 tensor of shape \(4, 1, 2, 2\) \({reason}.*\): give it images of the "
    with pytest.raises(UserError, match=message) as caught:
        create_attack("apgd-ce", eps=0.1, norm=norm)(model, IMAGES, LABELS)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400
    assert not isinstance(caught.value.__cause__, UserError)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory."),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory"),
        UserError("the model has a sentence of its own"),
        KeyboardInterrupt(),
    ],
)
def test_a_lack_of_memory_is_not_taken_for_wrong_images(error: BaseException) -> None:
    def model(images: Tensor) -> Tensor:
        raise error

    with pytest.raises(type(error)) as caught:
        create_attack("pgd", eps=0.1)(model, IMAGES, LABELS)
    assert caught.value is error


def test_what_fails_after_the_first_call_is_no_mistake_of_the_user() -> None:
    calls: list[int] = []

    def model(images: Tensor) -> Tensor:
        calls.append(len(images))
        if len(calls) > 1:
            raise RuntimeError("broke")
        return images.flatten(1)

    with pytest.raises(RuntimeError, match=r"^broke$"):
        create_attack("pgd", eps=0.1, early_stop=False)(model, IMAGES, LABELS)


def test_a_model_that_changes_its_images_is_named() -> None:
    def model(images: Tensor) -> Tensor:
        return images.sub_(0.5).flatten(1)

    with pytest.raises(UserError, match="the model changes its input images in place: write its normalisation"):
        create_attack("square", eps=0.1, queries=3)(model, IMAGES, LABELS)
