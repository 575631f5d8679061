"""The attacked model: left exactly as it was, whatever it is and however the attack ends."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from nofrost.attacks import Attack, attack_settings, create_attack, list_attacks
from nofrost.attacks.losses import margin
from nofrost.attacks.model import CheckedModel
from nofrost.attacks.session import attack_mode, isolated_torch
from nofrost.errors import UserError
from nofrost.models import create_model

Batch = tuple[Tensor, Tensor]


class Stubborn(nn.Module):
    """Forbids eval(), as exported programs do."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(1)

    def train(self, mode: bool = True) -> Stubborn:
        raise NotImplementedError


def test_a_module_that_forbids_eval_is_still_put_in_eval_mode() -> None:
    model = Stubborn()
    with attack_mode(model):
        assert not model.training
        assert not model.norm.training
    assert model.training
    assert model.norm.training


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is:FutureWarning")
def test_a_scripted_module_is_put_in_eval_mode_and_back() -> None:
    model = torch.jit.script(nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(4, 2)))
    with attack_mode(model):
        assert not any(module.training for module in model.modules())
    assert all(module.training for module in model.modules())


def test_parameters_shared_by_modules_are_restored() -> None:
    layer = nn.Linear(2, 2)
    model = nn.Sequential(layer, nn.ReLU(), layer)
    layer.bias.requires_grad_(False)
    with attack_mode(model):
        assert not layer.weight.requires_grad
    assert layer.weight.requires_grad
    assert not layer.bias.requires_grad


def test_the_contents_of_a_model_are_checked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[nn.Module] = []
    monkeypatch.setattr("nofrost.attacks.session.check_contents", checked.append)
    model = nn.Linear(2, 2)
    for each in (model, model, copy.deepcopy(model)):
        with attack_mode(each):
            pass
    assert len(checked) == 2


def test_a_plain_callable_needs_no_guard(natural_model: nn.Module, digits: tuple[Batch, Batch]) -> None:
    images, labels = digits[1][0][:8], digits[1][1][:8]
    attack, model = create_attack("pgd", eps=0.1, steps=3), copy.deepcopy(natural_model)
    model.zero_grad()  # other tests' peers leave gradients
    through_callable = attack(lambda x: model(x), images, labels)
    assert torch.equal(through_callable, attack(model, images, labels))
    assert all(parameter.grad is None for parameter in model.parameters())


def test_random_numbers_go_on_as_if_none_had_been_drawn() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    with isolated_torch(torch.device("cpu"), seed=0):
        inside = torch.rand(3)
    assert torch.equal(torch.rand(3), expected)
    torch.manual_seed(0)
    assert not torch.equal(torch.rand(3), inside)


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


Quick = Callable[..., Attack]
CASES = [(name, norm) for name in list_attacks() for norm in create_attack(name, eps=0).norms]
each_attack_and_norm = pytest.mark.parametrize(("name", "norm"), CASES)
CALL_ONCE = ("awgn", "fgsm")


class Mixed(nn.Module):
    """A model in train mode with a frozen batch norm, dropout, a frozen parameter and a stale gradient."""

    def __init__(self, fail_at: int = 0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5))
        self.second = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())
        self.head = nn.Linear(256, 10)
        self.calls, self.fail_at = 0, fail_at
        self.train()
        self.second[1].eval()
        self.head.bias.requires_grad_(False)
        self.head.weight.grad = torch.ones_like(self.head.weight)

    def forward(self, images: Tensor) -> Tensor:
        self.calls += 1
        if self.calls == self.fail_at:
            raise RuntimeError("the model broke")
        assert not any(module.training for module in self.modules())
        assert not any(parameter.requires_grad for parameter in self.parameters())
        # a model that draws random numbers even in eval mode
        return self.head(self.second(self.first(images + 0.01 * torch.randn_like(images))).flatten(1))

    def snapshot(self) -> dict[str, Any]:
        return {
            "modes": {name: module.training for name, module in self.named_modules()},
            "requires": {name: parameter.requires_grad for name, parameter in self.named_parameters()},
            "grads": {name: parameter.grad for name, parameter in self.named_parameters()},
            "tensors": {name: tensor.clone() for name, tensor in self.state_dict().items()},
            "rng": torch.get_rng_state(),
        }


def assert_same(first: dict[str, Any], second: dict[str, Any]) -> None:
    assert first["modes"] == second["modes"]
    assert first["requires"] == second["requires"]
    assert all(first["grads"][name] is second["grads"][name] for name in first["grads"])
    assert all(torch.equal(first["tensors"][name], second["tensors"][name]) for name in first["tensors"])
    assert torch.equal(first["rng"], second["rng"])


@each_attack_and_norm
def test_the_model_and_the_generators_are_left_as_found(name: str, norm: str, batch: Batch, quick: Quick) -> None:
    model = Mixed()
    before = model.snapshot()
    adversarial = quick(name, norm)(model, *batch)
    assert model.calls > 0
    assert_same(before, model.snapshot())
    torch.manual_seed(99)  # even a model that draws random numbers meets the same ones
    assert torch.equal(quick(name, norm)(model, *batch), adversarial)


@pytest.mark.parametrize(
    ("name", "norm", "fail_at"),
    [(*case, call) for case in CASES for call in (1, 2) if call == 1 or case[0] not in CALL_ONCE],
)
def test_the_model_is_left_as_found_when_it_fails_in_the_attack(
    name: str, norm: str, fail_at: int, batch: Batch, quick: Quick
) -> None:
    model = Mixed(fail_at=fail_at)
    before = model.snapshot()
    settings = {"early_stop": False} if "early_stop" in attack_settings(name) else {}
    with pytest.raises(UserError, match="the model broke"):
        quick(name, norm, **settings)(model, *batch)
    assert_same(before, model.snapshot())


@each_attack_and_norm
@pytest.mark.parametrize(
    "surrounding",
    [torch.no_grad, torch.inference_mode, lambda: torch.autocast("cpu", dtype=torch.bfloat16)],
    ids=["no_grad", "inference_mode", "autocast"],
)
def test_the_callers_torch_modes_change_nothing(
    name: str, norm: str, surrounding: Callable[[], Any], natural_model: nn.Module, batch: Batch, quick: Quick
) -> None:
    attack = quick(name, norm)
    expected = attack(natural_model, *batch)
    with surrounding():
        images, labels = batch[0].clone(), batch[1].clone()
        modes = torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.is_autocast_enabled("cpu")
        result = attack(natural_model, images, labels)
        assert modes == (torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.is_autocast_enabled("cpu"))
    assert torch.equal(result, expected)


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
    assert after < before or name == "awgn"


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
