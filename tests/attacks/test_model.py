"""The model as attacks see it: logits, losses and gradients are checked, whatever it returns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from nofrost.attacks import Attack, attack_settings, create_attack, list_attacks
from nofrost.attacks.losses import margin
from nofrost.attacks.model import CheckedModel
from nofrost.errors import UserError
from nofrost.models import create_model

Batch = tuple[Tensor, Tensor]
Quick = Callable[..., Attack]


def test_a_distributed_model_is_attacked_without_its_wrapper(
    natural_model: nn.Module, digits: tuple[Batch, Batch], monkeypatch: pytest.MonkeyPatch
) -> None:
    images, labels = digits[1][0][:8], digits[1][1][:8]
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    try:
        wrapped = DistributedDataParallel(natural_model)
        monkeypatch.setattr(wrapped, "forward", None)  # waits for the other processes
        attack = create_attack("pgd", eps=0.1, steps=3)
        assert torch.equal(attack(wrapped, images, labels), attack(natural_model, images, labels))
    finally:
        torch.distributed.destroy_process_group()


@pytest.mark.parametrize("error", [RuntimeError("CUDA error: device-side assert"), RuntimeError("cuDNN error: status")])
@pytest.mark.parametrize("fail_at", [1, 2])
def test_an_error_of_the_device_is_not_put_down_to_the_model(error: Exception, fail_at: int, batch: Batch) -> None:
    calls = iter(range(1, 9))

    def model(images: Tensor) -> Tensor:
        if next(calls) == fail_at:
            raise error
        return images.flatten(1)

    with pytest.raises(RuntimeError) as caught:
        create_attack("pgd", eps=0.1, steps=3)(model, *batch)
    assert caught.value is error


def test_a_bug_of_our_own_networks_keeps_its_traceback(batch: Batch) -> None:
    classifier = create_model("resnet8", num_classes=10, image_size=8, channels=1)
    calls = iter(range(1, 9))

    def fail(*_: object) -> None:
        if next(calls) == 2:
            raise RuntimeError("a bug")

    classifier.register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match=r"^a bug$"):
        create_attack("pgd", eps=0.1, steps=3)(classifier, *batch)
    with pytest.raises(UserError, match="channels"):
        create_attack("pgd", eps=0.1, steps=3)(classifier, batch[0].expand(-1, 2, -1, -1), batch[1])


each_attack_name = pytest.mark.parametrize("name", list_attacks())
EPS = 0.1


def flat(images: Tensor) -> Tensor:
    """Zeros [N, 5] that depend on the images."""
    return 0 * images.flatten(1).sum(1, keepdim=True).expand(-1, 5)


def assert_inside(adversarial: Tensor, images: Tensor) -> None:
    assert adversarial.isfinite().all()
    assert (adversarial - images).abs().max() <= EPS + 1e-6
    assert adversarial.min() >= 0
    assert adversarial.max() <= 1


@each_attack_name
@pytest.mark.parametrize("logits", [[9.0, 0.0, 1.0, 2.0, 3.0], [0.0] * 5, [1e30, 0.0, 0.0, 0.0, -torch.inf]])
def test_a_constant_model_is_fooled_by_nothing_and_raises_nothing(
    name: str, logits: list[float], batch: Batch, quick: Quick
) -> None:
    images = batch[0][:6]

    def constant(points: Tensor) -> Tensor:
        return flat(points) + torch.tensor(logits, dtype=points.dtype)

    assert_inside(quick(name, "linf", eps=EPS)(constant, images, torch.zeros(6, dtype=torch.int64)), images)


@each_attack_name
def test_a_model_that_gives_probabilities_is_attacked_all_the_same(
    name: str, natural_model: nn.Module, batch: Batch, quick: Quick
) -> None:
    images, labels = batch

    def softmax(points: Tensor) -> Tensor:
        return natural_model(points).softmax(1)

    adversarial = quick(name, "linf", eps=EPS)(softmax, images, labels)
    assert_inside(adversarial, images)
    with torch.no_grad():
        before, after = ((natural_model(each).argmax(1) == labels).sum() for each in (images, adversarial))
    # an l2 ball of this radius is far smaller than the linf one
    assert after < before or name in ("awgn", "cw-l2")


@each_attack_name
def test_a_model_that_answers_at_random_gives_the_same_result_again(name: str, batch: Batch, quick: Quick) -> None:
    images = batch[0][:6]

    def dice(points: Tensor) -> Tensor:
        return flat(points) + torch.randn(len(points), 5, dtype=points.dtype)

    attack = quick(name, "linf", eps=EPS)
    labels = torch.arange(6) % 5
    first = attack(dice, images, labels)
    assert_inside(first, images)
    assert torch.equal(attack(dice, images, labels), first)


@each_attack_name
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_model_that_gives_nan_is_named(name: str, value: float, batch: Batch, quick: Quick) -> None:
    def broken(points: Tensor) -> Tensor:
        return flat(points) + value

    with pytest.raises(UserError, match=r"^the model returned NaN or infinite logits"):
        quick(name, "linf", eps=EPS)(broken, batch[0][:6], torch.zeros(6, dtype=torch.int64))


WITH_EOT = [name for name in list_attacks() if "eot" in attack_settings(name)]
WEIGHTS = torch.randn(3, 12, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


class Turns:
    """A linear model with other weights at every call, in turn."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, images: Tensor) -> Tensor:
        self.calls += 1
        return images.flatten(1) @ WEIGHTS[(self.calls - 1) % 3].to(images.dtype)


def test_every_attack_by_gradients_has_it() -> None:
    assert {"fgsm", "bim", "pgd", "pgd-targeted", "mim", "cw-linf", "apgd-ce", "apgd-dlr", "apgd-t"} <= set(WITH_EOT)


def test_loss_gradient_and_decision_are_those_of_the_mean() -> None:
    images = torch.rand(5, 3, 2, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    logits = images.flatten(1) @ WEIGHTS  # [3, 5, 4]
    labels = logits.mean(0).argmax(1)
    labels[0] = (labels[0] + 1) % 4
    loss, fooled, gradient = CheckedModel(Turns(), labels).loss_and_grad(images, labels, margin, passes=3)
    torch.testing.assert_close(loss, torch.stack([margin(each, labels) for each in logits]).mean(0))
    assert fooled.tolist() == [True, False, False, False, False]
    assert (logits.argmax(2) != labels).any(0).sum() > 1  # by single passes more would count
    rivals = torch.stack([each.scatter(1, labels[:, None], -torch.inf).argmax(1) for each in logits])
    at = torch.arange(3)[:, None]
    expected = (WEIGHTS.mT[at, rivals] - WEIGHTS.mT[at, labels]).mean(0)
    torch.testing.assert_close(gradient.flatten(1), expected)
    judged = CheckedModel(Turns(), labels).loss(images, labels, margin, passes=3)
    torch.testing.assert_close(judged, (loss, fooled))


@pytest.mark.parametrize("name", WITH_EOT)
def test_passes_multiply_the_calls_and_change_nothing_for_a_model_without_chance(
    name: str, smooth_model: nn.Module, smooth_batch: Batch
) -> None:
    settings: dict[str, Any] = {"eps": 0.1} | ({} if name == "fgsm" else {"steps": 4, "early_stop": False})
    calls: list[int] = []

    def model(images: Tensor) -> Tensor:
        calls[-1] += images.requires_grad
        logits: Tensor = smooth_model(images)
        return logits

    result = []
    for eot in (1, 3):
        calls.append(0)
        result.append(create_attack(name, eot=eot, **settings)(model, *smooth_batch))
    torch.testing.assert_close(result[0], result[1])
    assert calls[1] == 3 * calls[0]


@pytest.mark.parametrize("name", ["fgsm", "pgd", "apgd-ce"])
def test_more_passes_fool_a_noisy_model_more_often(
    name: str, natural_model: nn.Module, digits: tuple[Batch, Batch]
) -> None:
    images, labels = digits[1][0][:200], digits[1][1][:200]

    def noisy(points: Tensor) -> Tensor:
        return natural_model(points + 0.5 * torch.randn_like(points))

    settings: dict[str, Any] = {"eps": 0.1} | ({} if name == "fgsm" else {"steps": 8})
    right = []
    for eot in (1, 12):
        result = create_attack(name, eot=eot, **settings)(noisy, images, labels)
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(7)
            right.append(sum((noisy(result).argmax(1) == labels).double().mean().item() for _ in range(20)) / 20)
    assert right[1] < right[0] - 0.02
