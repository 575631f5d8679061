"""A signal at any moment of a stage: its exit code and one sentence, or a finished result; what was saved is kept.

A second signal comes while the command still cleans up after the first.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from signal import SIGHUP, SIGINT, SIGTERM
from typing import Any

import pytest

Contents = Callable[[Path], dict[str, bytes]]
RESUMABLE = ("augment", "train", "evaluate-adversarial", "evaluate-ood", "transfer")
# With the exit codes that they may lead to.
SIGNALS = {
    (SIGTERM,): (143,),
    (SIGTERM, SIGTERM): (143, -SIGTERM),
    (SIGINT,): (130,),
    (SIGINT, SIGINT): (130,),
    (SIGINT, SIGTERM): (130, 143, -SIGTERM),
    (SIGTERM, SIGINT): (130, 143),
    (SIGHUP,): (-SIGHUP,),
}


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("stage", ["prepare", "report", *RESUMABLE])
def test_a_stage_that_is_stopped(stage: str, world: Any, content: Contents, tmp_path: Path) -> None:
    work = tmp_path / "work"
    job = {"arguments": world.commands[stage](work / "out"), "changes_below": str(work)}
    (end,) = world.run(job)
    changes = end.changes
    for signals, codes in SIGNALS.items():
        moments = {1, 3, changes // 3, changes // 2, changes - 4, changes}
        for at in sorted(moments if signals == (SIGTERM,) else {2, changes // 2, changes - 2}):
            told = f"{signals} at change {at} of {changes}"
            shutil.rmtree(work)
            (stopped,) = world.run({**job, "at": at, "signals": signals})
            assert "Traceback" not in stopped.errors, told
            if stopped.code != 0:
                assert stopped.code in codes, f"{told}: {stopped}"
                if stopped.code > 0:
                    assert len(stopped.sentences) == 1, f"{told}: {stopped}"
                    assert ("stopped" if stopped.code == 143 else "interrupted") in stopped.sentences[0], told
                # A Ctrl-C when the output is in its place leaves it there.
                assert not (work / "out").exists() or content(work / "out") == content(world.whole(stage)), told
                if signals == (SIGTERM,):
                    assert not (work / "out").exists(), told
                    left = [] if not work.exists() else [path.name for path in work.iterdir()]
                    assert left in ([], [".out.nofrost-partial"] if stage in RESUMABLE else []), told
                (again,) = world.run(job)
                assert again.code == 0, f"{told}: {again}"
            assert content(work / "out") == content(world.whole(stage)), told
            assert [path.name for path in work.iterdir()] == ["out"], told
