"""Processes that torchrun starts share one evaluation; what comes out is what one process makes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nofrost.errors import PeerLostError, UserError
from nofrost.evaluate import Shard, merge, run
from nofrost.evaluate.stage import PEER_LOST
from nofrost.processes import ProcessGroup
from pipelines.local_nodes import free_port
from tests.child_process import running
from tests.evaluate.shards import contents

MakeSuite = Callable[..., Any]


def torchrun(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run nofrost in two processes on the CPU."""
    launcher = ["torch.distributed.run", "--nproc-per-node", "2", "--master-addr", "127.0.0.1"]
    launcher += ["--master-port", str(free_port())]
    command = [sys.executable, "-m", *launcher, "-m", "nofrost", *map(str, arguments)]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=240)


@pytest.fixture
def suite_file(make_suite: MakeSuite, tmp_path: Path) -> Path:
    """A suite of eight batches in a file."""
    path = tmp_path / "suite.yaml"
    path.write_text(json.dumps(make_suite(batch_size=8).as_json()))
    return path


@pytest.mark.slow
def test_two_processes_write_the_bytes_that_one_writes_and_the_first_alone_prints(
    dataset: Path, plain_checkpoint: Path, make_suite: MakeSuite, suite_file: Path, tmp_path: Path
) -> None:
    inputs = ("evaluate", "--suite", suite_file, "--dataset", dataset, "--checkpoint", plain_checkpoint)
    run(dataset, plain_checkpoint, make_suite(batch_size=8), tmp_path / "one")
    done = torchrun(*inputs, "--json", "--out", "two", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert contents(tmp_path / "two") == contents(tmp_path / "one")
    assert json.loads(done.stdout) == json.loads((tmp_path / "one/metrics.json").read_text())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "suite.yaml", "two"]


@pytest.mark.slow
def test_a_shard_that_earlier_processes_finished_is_not_measured_again(
    dataset: Path, plain_checkpoint: Path, make_suite: MakeSuite, suite_file: Path, tmp_path: Path
) -> None:
    earlier = tmp_path / ".two.nofrost-shards/1-of-2"
    run(dataset, plain_checkpoint, make_suite(batch_size=8), earlier, Shard(1, 2))
    file = earlier / "conditions/predictions.npz"
    predictions = np.load(file)["values"]
    np.savez(file, values=(predictions + 1) % 10, reduced=0)  # nobody would measure these
    inputs = ("evaluate", "--suite", suite_file, "--dataset", dataset, "--checkpoint", plain_checkpoint)
    done = torchrun(*inputs, "--out", "two", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = np.load(tmp_path / "two/flags.npz")["predictions"]
    rows = Shard(1, 2).rows(len(found), 8)
    assert len(rows) == len(predictions) == 28
    assert np.array_equal(found[rows], (predictions + 1) % 10)


@pytest.mark.slow
def test_invalid_input_of_two_processes_is_reported_once_and_fails_both(
    dataset: Path, suite_file: Path, tmp_path: Path
) -> None:
    done = torchrun(
        "evaluate", "--suite", suite_file, "--dataset", dataset, "--checkpoint", "no", "--out", "out", cwd=tmp_path
    )
    assert done.returncode != 0
    assert done.stdout == ""
    assert done.stderr.count("nofrost: no is missing: name a .safetensors checkpoint") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["suite.yaml"]


def start(script: str, rank: int, count: int, port: int) -> AbstractContextManager[subprocess.Popen[str]]:
    environment = {**os.environ, "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count)}
    environment |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-c", script]
    return running(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


MEMBER = """
import sys
from nofrost.errors import PeerLostError, UserError
from nofrost.processes import ProcessGroup

with ProcessGroup.joined() as ours:
    try:
        ours.agree(lambda: None)
        with ours.report_local_error():
            if ours.rank == 1:
                raise UserError("the disk is full")
        ours.barrier()
    except PeerLostError as error:
        print(error)
        error.exit()
    except UserError:
        sys.exit(2)
"""


@pytest.mark.slow
def test_a_process_that_fails_alone_reports_its_error_and_the_others_fail_too() -> None:
    port = free_port()
    with start(MEMBER, 0, 2, port) as first, start(MEMBER, 1, 2, port) as second:
        ended = [process.communicate(timeout=120) for process in (first, second)]
    assert [first.returncode, second.returncode] == [200, 2]
    assert ended[0][0].startswith("another process has failed")
    assert "nofrost: process 1 of 2: the disk is full" in ended[1][1]


def test_without_torchrun_there_is_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)
    with ProcessGroup.joined() as alone:
        assert alone == ProcessGroup(0, 1)
        assert alone.is_rank_zero
        assert alone.agree(lambda: 3) == 3
        alone.barrier()


def test_a_shard_and_a_merge_are_not_for_several_processes(
    dataset: Path, plain_checkpoint: Path, make_suite: MakeSuite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Two(ProcessGroup):
        def agree(self, make: Callable[[], Any]) -> Any:
            return make()

    monkeypatch.setattr(ProcessGroup, "joined", lambda _: nullcontext(Two(0, 2)))
    with pytest.raises(UserError, match="torchrun makes shards by itself"):
        run(dataset, plain_checkpoint, make_suite(), tmp_path / "out", Shard(0, 2))
    with pytest.raises(UserError, match="start it without torchrun"):
        merge(dataset, plain_checkpoint, make_suite(), [tmp_path], tmp_path / "out")


def test_a_lost_connection_is_a_lost_peer(monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(*_: object) -> None:
        raise RuntimeError("Connection closed by peer")

    monkeypatch.setattr(torch.distributed, "all_reduce", lost)
    with pytest.raises(PeerLostError, match="start again, and it continues from what was measured"):
        ProcessGroup(0, 2, PEER_LOST).barrier()
