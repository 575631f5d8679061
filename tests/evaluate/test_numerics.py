"""Numbers are measured in plain float32 with the model in evaluation mode, and everything is put back after."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import nn

from nofrost.errors import UserError
from nofrost.evaluate.measuring.numerics import evaluation_mode, exact_float32, model_device, usable_device

CPU = torch.device("cpu")
SWITCHES: dict[str, Callable[[], None]] = {
    "nothing": lambda: None,
    "high": lambda: torch.set_float32_matmul_precision("high"),
    "medium": lambda: torch.set_float32_matmul_precision("medium"),
    "cudnn": lambda: setattr(torch.backends.cudnn, "allow_tf32", False),
    "benchmark": lambda: setattr(torch.backends.cudnn, "benchmark", True),
}


def settings() -> tuple[object, ...]:
    backends = torch.backends
    return (
        torch.get_float32_matmul_precision(),
        backends.cuda.matmul.allow_tf32,
        backends.cudnn.allow_tf32,
        backends.cudnn.benchmark,
        backends.cudnn.deterministic,
        torch.is_autocast_enabled("cpu"),
    )


@pytest.fixture
def _restored() -> Iterator[None]:
    before = settings()
    yield
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = False
    assert settings() == before


@pytest.mark.usefixtures("_restored")
@pytest.mark.parametrize("switch", SWITCHES)
def test_torch_is_left_as_the_user_had_set_it_also_after_an_error(switch: str) -> None:
    SWITCHES[switch]()
    before = settings()
    with exact_float32(CPU):
        pass
    assert settings() == before
    with pytest.raises(KeyError), exact_float32(CPU):
        raise KeyError
    assert settings() == before


@pytest.mark.usefixtures("_restored")
def test_inside_products_keep_every_bit_of_float32_whatever_was_set_before() -> None:
    torch.set_float32_matmul_precision("medium")
    left, right = torch.rand(64, 64), torch.rand(64, 64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert (left @ right).dtype == torch.bfloat16
        with exact_float32(CPU):
            product = left @ right
            assert not torch.is_autocast_enabled("cpu")
            assert not torch.backends.cudnn.benchmark
            assert torch.backends.cudnn.deterministic
            assert torch.backends.cuda.matmul.fp32_precision != "tf32"
    assert product.dtype == torch.float32
    assert torch.allclose(product.double(), left.double() @ right.double(), rtol=1e-6)


def test_every_module_gets_its_own_mode_back_also_after_an_error() -> None:
    model = nn.Sequential(nn.BatchNorm2d(3), nn.Dropout(), nn.Sequential(nn.ReLU()))
    model.train()
    model[0].eval()  # a frozen batch norm inside a model in training mode
    before = [module.training for module in model.modules()]
    with evaluation_mode(model, CPU):
        assert not any(module.training for module in model.modules())
    assert [module.training for module in model.modules()] == before
    with pytest.raises(KeyError), evaluation_mode(model, CPU):
        raise KeyError
    assert [module.training for module in model.modules()] == before


def test_a_model_lives_where_its_first_tensor_lives() -> None:
    assert model_device(nn.Linear(2, 2).to("meta")).type == "meta"
    assert model_device(nn.ReLU()) == CPU
    assert model_device(nn.BatchNorm2d(3, affine=False, device="meta")).type == "meta"


def test_a_model_is_moved_to_the_device_and_back_home_also_after_an_error() -> None:
    class Moved(nn.Linear):
        def to(self, device: torch.device) -> nn.Module:  # type: ignore[override]
            moves.append(device.type)
            return self

    moves: list[str] = []
    with evaluation_mode(Moved(2, 2), CPU):
        assert moves == [], "it is there already"
    with evaluation_mode(Moved(2, 2), torch.device("meta")):
        assert moves == ["meta"]
    with pytest.raises(KeyError), evaluation_mode(Moved(2, 2), torch.device("meta")):
        raise KeyError
    assert moves == ["meta", "cpu", "meta", "cpu"]


@pytest.mark.parametrize("name", ["gpu", "cuda:99", "xla"])
def test_a_device_that_cannot_be_used_is_refused_in_one_sentence(name: str) -> None:
    with pytest.raises(UserError, match=f"device '{name}' cannot be used"):
        usable_device(name)
    assert usable_device("cpu") == CPU
