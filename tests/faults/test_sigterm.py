"""SIGTERM at any moment of a stage: exit code 143 and one sentence, or a finished result; what was saved is kept."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Contents = Callable[[Path], dict[str, bytes]]
RESUMABLE = ("train", "evaluate-adversarial", "evaluate-ood", "transfer")


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("stage", ["prepare", "augment", "report", *RESUMABLE])
def test_a_stage_that_is_stopped(stage: str, world: Any, content: Contents, tmp_path: Path) -> None:
    work = tmp_path / "work"
    job = {"arguments": world.commands[stage](work / "out"), "changes_below": str(work)}
    (end,) = world.run(job)
    changes = end.changes
    for at in sorted({1, 3, changes // 3, changes // 2, changes - 4, changes}):
        shutil.rmtree(work)
        (stopped,) = world.run({**job, "at": at, "signal": signal.SIGTERM})
        assert "Traceback" not in stopped.errors
        if stopped.code != 0:
            assert stopped.code == 143, stopped.errors
            (sentence,) = stopped.sentences
            assert "stopped" in sentence
            assert not (work / "out").exists()
            left = [] if not work.exists() else [path.name for path in work.iterdir()]
            assert left in ([], [".out.nofrost-partial"] if stage in RESUMABLE else [])
            assert world.run(job)[0].code == 0
        assert content(work / "out") == content(world.whole(stage))
        assert [path.name for path in work.iterdir()] == ["out"]
