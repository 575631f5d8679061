"""Tensors of odd kinds inside a model: what can be read has a checksum, what cannot be used is one sentence."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch._subclasses import FakeTensorMode

from nofrost.attacks import create_attack
from nofrost.errors import UserError
from nofrost.evaluate import evaluate_robustness, transfer
from nofrost.models.contents import check_contents, model_sha256
from nofrost.models.device import usable_device

IMAGES, LABELS = torch.full((4, 1, 2, 2), 0.5), torch.tensor([0, 1, 2, 0])


def linear() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(4, 3))


def on_meta() -> nn.Module:
    return linear().to("meta")


def fake() -> nn.Module:
    with FakeTensorMode():
        return linear()


def lazy() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(3))


def made_for_inference() -> nn.Module:
    with torch.inference_mode():
        return linear()


UNUSABLE = [
    (on_meta, "the model's '1.weight' is on the device meta"),
    (fake, "the model's '1.weight' is a fake tensor"),
    (lazy, "the model's '1.weight' has no shape yet"),
    (made_for_inference, r"the model's '1.weight' was made under torch\.inference_mode"),
]


@pytest.mark.parametrize(("make", "message"), UNUSABLE)
@pytest.mark.parametrize(
    "use",
    [
        check_contents,
        model_sha256,
        lambda model: create_attack("fgsm", eps=0.1)(model, IMAGES, LABELS),
        lambda model: evaluate_robustness(model, IMAGES, LABELS),
        lambda model: transfer({"a": model}, IMAGES, LABELS, create_attack("fgsm", eps=0.1)),
    ],
)
def test_models_without_usable_values_are_refused_by_name(
    use: Callable[[nn.Module], Any], make: Callable[[], nn.Module], message: str
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        use(make())
    assert "\n" not in str(caught.value)


def holding(value: Any) -> nn.Module:
    model = linear()
    model.register_buffer("extra", value)
    return model


ODD: list[Callable[[float], torch.Tensor]] = [
    lambda value: torch.tensor([[value, 0.0], [0.0, 2.0]]).to_sparse(),
    lambda value: torch.tensor([[value, 0.0], [0.0, 2.0]]).to_sparse_csr(),
    lambda value: torch.tensor([[value, 0.0], [0.0, 2.0]]).to_sparse_csc(),
    lambda value: torch.tensor([[value, 0.0], [0.0, 2.0]]).to_sparse_bsr((1, 1)),
    lambda value: torch.nested.nested_tensor([torch.tensor([value]), torch.ones(3)], layout=torch.jagged),
    lambda value: torch.nested.nested_tensor([torch.tensor([value]), torch.ones(3)]),
    lambda value: torch.quantize_per_tensor(torch.tensor([value]), 0.1, 0, torch.qint8),
    lambda value: torch.quantize_per_tensor(torch.tensor([3.0]), value, 0, torch.qint8),
    lambda value: torch.quantize_per_channel(torch.ones(1, 2), torch.tensor([value]), torch.zeros(1), 0, torch.qint8),
    lambda value: torch.tensor([value], dtype=torch.complex64).conj(),
    lambda value: torch.tensor([value]).to(torch.float8_e4m3fn),
    lambda value: torch.tensor(value),
]


@pytest.mark.parametrize("make", ODD, ids=range(len(ODD)))
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
def test_tensors_of_every_kind_count_in_the_checksum(make: Callable[[float], torch.Tensor]) -> None:
    one, again, other = (model_sha256(holding(make(value))) for value in (1.0, 1.0, 0.5))
    assert one == again != other


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
def test_weights_that_a_layer_packs_count_in_the_checksum() -> None:
    sums = set()
    for seed in (0, 1):
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
        sums.add(model_sha256(torch.ao.quantization.quantize_dynamic(model, {nn.Linear}, dtype=torch.qint8)))
    assert len(sums) == 2


def test_a_plain_model_has_the_checksum_that_it_always_had() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(2, 2, bias=False))
    nn.init.constant_(model[1].weight, 0.5)
    content = f"{model!r}1.weight torch.float32 [2, 2]".encode() + model[1].weight.detach().numpy().tobytes()
    assert model_sha256(model) == hashlib.sha256(content).hexdigest()


class Shy(nn.Module):
    def extra_repr(self) -> str:
        raise KeyError("not for you")


def test_a_model_that_cannot_be_shown_is_one_sentence() -> None:
    with pytest.raises(UserError, match="the model does not show what it holds: it raised KeyError: 'not for you'"):
        model_sha256(Shy())


@pytest.mark.parametrize("name", ["mps", "meta", "xla", "nonsense", "cuda:99", 7, object(), "cpu:3:4", ""])
def test_an_unusable_device_is_one_short_sentence(name: Any) -> None:
    with pytest.raises(UserError, match=r"^device .* cannot be used \(.*\): choose another, such as cpu$") as caught:
        usable_device(name)
    assert len(str(caught.value)) < 300
    with pytest.raises(UserError, match="cannot be used"):
        evaluate_robustness(linear(), IMAGES, LABELS, device=name)
