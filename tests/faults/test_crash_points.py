"""A kill before any change to the disk, of any stage, push or pull: the next run ends right, and nothing is left over.

NOFROST_CRASH_POINTS is the number of changes of each command that are tried, spread over all; "all" tries each.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

POINTS = os.environ.get("NOFROST_CRASH_POINTS", "8")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600 if POINTS == "all" else 600)]
Contents = Callable[[Path], dict[str, bytes]]


def points(changes: int) -> list[int]:
    if POINTS == "all" or int(POINTS) >= changes:
        return list(range(1, changes + 1))
    return sorted({1 + round(number * (changes - 1) / (int(POINTS) - 1)) for number in range(int(POINTS))})


@pytest.mark.parametrize(
    "stage", ["prepare", "augment", "train", "evaluate-adversarial", "evaluate-ood", "transfer", "report"]
)
@pytest.mark.parametrize("earlier", [True, False])
def test_a_killed_stage(stage: str, earlier: bool, world: Any, content: Contents, tmp_path: Path) -> None:
    work, out = tmp_path / "work", tmp_path / "work/out"
    job = {"arguments": world.commands[stage](out), "changes_below": str(work)}

    def begin() -> None:
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        if earlier:
            shutil.copytree(world.whole(stage), out)
            (out / "metrics.json").write_text("an earlier result")

    begin()
    (end,) = world.run(job)
    assert end.code == 0, end.errors
    assert not end.uncounted, "a kill in the middle of these would not be tried"
    alone = content(work)
    assert {path.removeprefix("out/") for path in alone} == {"out", *content(world.whole(stage))}
    for point in points(end.changes):
        begin()
        (killed,) = world.run({**job, "at": point})
        assert killed.code == -signal.SIGKILL, f"point {point}: {killed.errors}"
        if earlier and out.exists():
            before = (out / "metrics.json").read_text()
            assert before == "an earlier result" or content(work / "out") == content(world.whole(stage))
        (again,) = world.run(job)
        assert again.code == 0, f"point {point}: {again.errors}"
        assert content(work) == alone, f"point {point} of {end.changes}"


@pytest.mark.parametrize("stage", ["prepare", "train"])
def test_a_killed_push_and_a_killed_pull(stage: str, world: Any, content: Contents, tmp_path: Path) -> None:
    store, out = tmp_path / "store", tmp_path / "work" / "out"
    push = {"arguments": ["store", "push", str(world.whole(stage)), "--store", str(store)], "changes_below": str(store)}
    (end,) = world.run(push)
    assert end.code == 0, end.errors
    alone = content(store)
    for point in points(end.changes):
        shutil.rmtree(store)
        (killed,) = world.run({**push, "at": point})
        # Threads may meet at a folder that both would make: the number of changes is not always the same.
        assert killed.code == -signal.SIGKILL or killed.changes < point
        (again,) = world.run(push)
        assert again.code == 0, f"point {point}: {again.errors}"
        assert content(store) == alone, f"point {point} of {end.changes}"
    ref = again.output.strip().rpartition("@")[2]
    pull = {"arguments": ["store", "pull", f"{out}@{ref}", "--store", str(store)], "changes_below": str(out.parent)}
    (end,) = world.run(pull)
    assert end.code == 0, end.errors
    assert content(out) == content(world.whole(stage))
    for point in points(end.changes):
        shutil.rmtree(out.parent)
        (killed,) = world.run({**pull, "at": point})
        assert killed.code == -signal.SIGKILL or killed.changes < point
        (again,) = world.run(pull)
        assert again.code == 0, f"point {point}: {again.errors}"
        assert content(out) == content(world.whole(stage))
        assert [path.name for path in out.parent.iterdir()] == ["out"]
