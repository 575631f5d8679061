"""Where models run, on how many threads and in how exact a float32; torch is left as the user had set it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import nn

from nofrost.errors import UserError
from nofrost.models import default_device, device_name, single_thread_if_small
from nofrost.models.device import GRAIN, exact_float32, model_device, on_device, usable_device


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize(("pixels", "threads"), [(GRAIN - 1, 1), (GRAIN, 2)])
def test_small_batches_are_computed_on_one_thread_and_the_number_comes_back(pixels: int, threads: int) -> None:
    with single_thread_if_small(torch.device("cpu"), pixels):
        assert torch.get_num_threads() == threads
    assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("two_threads")
def test_a_gpu_leaves_the_threads_of_the_cpu_alone() -> None:
    with single_thread_if_small(torch.device("cuda"), 1):
        assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("two_threads")
def test_the_cpu_is_named_with_its_threads() -> None:
    assert device_name(torch.device("cpu")) == "CPU, 2 threads"
    torch.set_num_threads(1)
    assert device_name(torch.device("cpu")) == "CPU, 1 thread"


@pytest.mark.parametrize(("there", "device"), [(True, "cuda"), (False, "cpu")])
def test_a_gpu_is_used_when_there_is_one(monkeypatch: pytest.MonkeyPatch, there: bool, device: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    assert default_device().type == device


@pytest.mark.parametrize(("place", "expected"), [("0", "cuda:0"), ("1", "cuda:1")])
def test_every_process_has_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch, place: str, expected: str) -> None:
    launcher = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": place, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}
    for name, value in launcher.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert str(default_device()) == expected
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(UserError, match="process 2 of this machine has no GPU of its own: start at most 2"):
        default_device()


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
    with on_device(Moved(2, 2), CPU):
        assert moves == [], "it is there already"
    with on_device(Moved(2, 2), torch.device("meta")):
        assert moves == ["meta"]
    with pytest.raises(KeyError), on_device(Moved(2, 2), torch.device("meta")):
        raise KeyError
    assert moves == ["meta", "cpu", "meta", "cpu"]


@pytest.mark.parametrize("name", ["gpu", "cuda:99", "xla"])
def test_a_device_that_cannot_be_used_is_refused_in_one_sentence(name: str) -> None:
    with pytest.raises(UserError, match=f"device '{name}' cannot be used"):
        usable_device(name)
    assert usable_device("cpu") == CPU
