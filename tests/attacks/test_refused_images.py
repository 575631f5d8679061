"""Images of another shape than a model takes, and whatever else its code raises, are told in a sentence."""

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


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("broke. And more\nof it"),
        KeyError("broke"),
        EOFError("broke"),
        SystemExit("broke"),
        StopIteration(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_whatever_a_model_raises_is_a_sentence(error: BaseException, first: bool) -> None:
    calls: list[int] = []

    def model(images: Tensor) -> Tensor:
        calls.append(len(images))
        if first or len(calls) > 1:
            raise error
        return images.flatten(1)

    remedy = "give it images" if first else "look for a fault in its code"
    with pytest.raises(
        UserError, match=rf"^the model failed on .*\({type(error).__name__}\b.*\): .*{remedy}"
    ) as caught:
        create_attack("pgd", eps=0.1, early_stop=False)(model, IMAGES, LABELS)
    assert "more" not in str(caught.value)
    assert caught.value.__cause__ is error


class NoBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor) -> Tensor:
        return images.flatten(1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        raise NotImplementedError("this one has no backward pass")


def test_a_backward_pass_that_fails_is_a_sentence() -> None:
    with pytest.raises(UserError, match=r"the model's gradient on .* failed \(NotImplementedError: this one has no b"):
        create_attack("pgd", eps=0.1)(NoBackward.apply, IMAGES, LABELS)


def test_a_number_of_classes_that_changes_is_a_sentence() -> None:
    calls: list[int] = []

    def model(images: Tensor) -> Tensor:
        calls.append(len(images))
        return images.flatten(1)[:, : 4 if len(calls) == 1 else 3]

    with pytest.raises(UserError, match="the model returned 4 and then 3 logits an image"):
        create_attack("pgd", eps=0.1, early_stop=False)(model, IMAGES, LABELS)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda logits: logits.to(torch.complex64), "complex64 tensor"),
        (lambda logits: logits.detach().to("meta"), "strided tensor of float32 on meta"),
        (lambda logits: logits.to_sparse(), "sparse_coo tensor of float32"),
        (lambda logits: torch.quantize_per_tensor(logits.detach(), 0.1, 0, torch.qint8), "qint8 on cpu"),
        (lambda logits: torch.nested.nested_tensor(list(logits)), "nested tensor"),
        (lambda logits: None, "NoneType"),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
def test_answers_that_are_no_logits_are_named(answer: Any, words: str) -> None:
    with pytest.raises(UserError, match=f"the model returned .*{words}.*an attack needs logits") as caught:
        create_attack("square", eps=0.1, queries=3)(lambda images: answer(images.flatten(1)), IMAGES, LABELS)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.bool, torch.float64])
def test_answers_of_other_types_count_as_logits(dtype: torch.dtype) -> None:
    def model(images: Tensor) -> Tensor:
        return (images.flatten(1) * 7).to(dtype)

    assert create_attack("square", eps=0.1, queries=3)(model, IMAGES, LABELS).shape == IMAGES.shape


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (IMAGES.to("meta"), "strided tensor of float32 on meta"),
        (IMAGES.to_sparse(), "sparse_coo tensor of float32"),
        (IMAGES.to(torch.complex64), "complex64"),
    ],
)
def test_images_without_plain_values_are_refused(images: Tensor, words: str) -> None:
    with pytest.raises(UserError, match=f"images are .*{words}.*: an attack needs floats"):
        create_attack("fgsm", eps=0.1)(nn.Flatten(), images, LABELS)


def test_a_model_that_changes_its_images_is_named() -> None:
    def model(images: Tensor) -> Tensor:
        return images.sub_(0.5).flatten(1)

    with pytest.raises(UserError, match="the model changes its input images in place: write its normalisation"):
        create_attack("square", eps=0.1, queries=3)(model, IMAGES, LABELS)
