"""What ends a collective: the loss of another process, or an error of this one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import distributed

from nofrost import processes
from nofrost.errors import PeerLostError, UserError
from nofrost.processes import ProcessGroup
from nofrost.system_errors import as_reported


def fail(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a collective fail."""

    def all_reduce(*_: object) -> None:
        raise error

    monkeypatch.setattr(distributed, "all_reduce", all_reduce)
    ProcessGroup(0, 2).any(True)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        distributed.DistBackendError(
            "NCCL error in: x.cpp:1, unhandled cuda error\nncclUnhandledCudaError: Call failed."
        ),
        distributed.DistBackendError("NCCL error in: x.cpp:1, invalid usage\nncclInvalidUsage: This usually reflects"),
        RuntimeError("[enforce fail at pair.cc:446] op.preamble.length <= op.nbytes. 8 vs 4"),
        RuntimeError("[enforce fail at device.cc:84] ifa != nullptr. Unable to find address for: eth7"),
    ],
)
def test_an_error_of_this_process_is_no_loss_of_another(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(type(error)) as end:
        fail(error, monkeypatch)
    assert end.value is error
    if isinstance(error, torch.OutOfMemoryError):
        reported = as_reported(end.value)
        assert isinstance(reported, UserError)
        assert "not enough memory" in str(reported)


@pytest.mark.parametrize(
    "error",
    [
        distributed.DistNetworkError("Connection reset by peer"),
        distributed.DistBackendError("NCCL error in: x.cpp:1, remote process exited or there was a network error"),
        RuntimeError("[/pytorch/third_party/gloo/pair.cc:534] Connection closed by peer [127.0.0.1]:1"),
        RuntimeError("Timed out waiting 1800000ms for send operation to complete"),
    ],
)
def test_any_other_error_of_a_collective_is_the_loss_of_a_process(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(PeerLostError, match="another process has failed"):
        fail(error, monkeypatch)


@pytest.fixture
def order(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the end of a group does, in order."""
    done: list[str] = []

    @contextmanager
    def watched(*_: object) -> Iterator[None]:
        try:
            yield
        finally:
            done.append("last sign")

    def note(name: str) -> Any:
        return lambda *_, **__: done.append(name)

    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", "29500")
    monkeypatch.setattr(processes, "watched", watched)
    monkeypatch.setattr(distributed, "init_process_group", note("begun"))
    monkeypatch.setattr(distributed, "destroy_process_group", note("destroyed"))
    monkeypatch.setattr(distributed, "is_initialized", lambda: "begun" in done)
    return done


def test_the_others_hear_of_the_end_before_the_group_is_destroyed_which_may_wait_for_them(order: list[str]) -> None:
    with pytest.raises(KeyError), ProcessGroup.joined():
        raise KeyError
    assert order == ["begun", "last sign", "destroyed"]


@pytest.mark.parametrize(("number", "code"), [(5, 1), (28, 1), (12, 2)])
def test_a_broken_disk_of_one_machine_is_not_told_as_wrong_input(
    number: int, code: int, order: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(tmp_path / "error.json"))
    with pytest.raises(OSError, match="refused"), ProcessGroup.joined():
        raise OSError(number, "refused", "/data/state.json")
    assert json.loads((tmp_path / "error.json").read_text())["exit_code"] == code
    assert order[-1] == "destroyed"
