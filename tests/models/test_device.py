"""Where models run, and on how many threads."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from nofrost.errors import UserError
from nofrost.models import default_device, device_name, fitting_threads
from nofrost.models.device import GRAIN


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize(("pixels", "threads"), [(GRAIN - 1, 1), (GRAIN, 2)])
def test_small_batches_are_computed_on_one_thread_and_the_number_comes_back(pixels: int, threads: int) -> None:
    with fitting_threads(torch.device("cpu"), pixels):
        assert torch.get_num_threads() == threads
    assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("two_threads")
def test_a_gpu_leaves_the_threads_of_the_cpu_alone() -> None:
    with fitting_threads(torch.device("cuda"), 1):
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
    for name, value in {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": place}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert str(default_device()) == expected
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(UserError, match="process 2 of this machine has no GPU of its own: start at most 2"):
        default_device()
