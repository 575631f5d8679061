"""A kill of one of two processes that train together, or of both, at random moments: the next run ends right."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nofrost.rendezvous import HEARTBEAT_S, LOST_AFTER

SEED, KILLS = os.environ.get("NOFROST_SEED", "0"), int(os.environ.get("NOFROST_KILLS", "4"))
# A process waits ten minutes for one that never comes, as one does not that is killed before it has joined; torchrun
# would end it. One that has joined is lost after LOST_AFTER heartbeats, which ends the other: it is given longer.
ENDED_AFTER_S = (LOST_AFTER + 20) * HEARTBEAT_S
Contents = Callable[[Path], dict[str, bytes]]


def ranks(arguments: list[str], *jobs: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the job of each rank, with what else is said of it."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = str(listener.getsockname()[1])
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "CUDA_VISIBLE_DEVICES": ""}
    return [
        {"arguments": arguments, "environment": {**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)}, **job}
        for rank, job in enumerate(jobs)
    ]


@pytest.mark.slow
@pytest.mark.timeout(300 + 90 * KILLS)
def test_ranks_that_are_killed(world: Any, content: Contents, tmp_path: Path) -> None:
    out = tmp_path / "work/out"
    command = world.commands["train"](out)
    first, second = world.run(*ranks(command, {"changes_below": str(out.parent)}, {}))
    assert (first.code, second.code) == (0, 0), first.errors + second.errors
    alone, choice = content(out), random.Random(SEED)
    for number in range(3 * KILLS):
        shutil.rmtree(out.parent)
        point, seconds = choice.randint(1, first.changes), choice.uniform(0.2, 1.0) * second.seconds
        before_a_change, after_a_while = {"changes_below": str(out.parent), "at": point}, {"limit_s": seconds}
        other = {"limit_s": ENDED_AFTER_S}
        jobs = ((before_a_change, other), (other, after_a_while), (after_a_while, after_a_while))[number % 3]
        told = f"{jobs}: {(ends := world.run(*ranks(command, *jobs)))}"
        for job, end in zip(jobs, ends, strict=True):
            is_killed = end.code in (None, -signal.SIGKILL)
            assert not is_killed or job is not other or "which has not started yet" in end.errors, told
            assert "Traceback" not in end.errors, told
            assert is_killed or end.code == 0 or "another process of this training has failed" in end.errors, told
        assert not out.exists() or content(out) == alone, told
        again = world.run(*ranks(command, {}, {}))
        assert [end.code for end in again] == [0, 0], f"{told}, then {again}"
        assert content(out.parent) == {"out": b"", **{f"out/{name}": text for name, text in alone.items()}}, told
