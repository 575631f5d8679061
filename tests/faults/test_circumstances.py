"""Whatever surrounds a command (limits, variables, masks, signals), it ends in equal bits, or in one sentence."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
Contents = Callable[[Path], dict[str, bytes]]
STAGES = ("prepare", "augment", "train", "evaluate-adversarial", "evaluate-ood", "transfer", "report")
# What changes nothing.
HARMLESS: tuple[dict[str, Any], ...] = (
    {
        "environment": {"HOME": None, "TMPDIR": "/nonexistent", "LC_ALL": "C", "PYTHONIOENCODING": "ascii"},
        "umask": 0o077,
        "open_files": 64,
    },
    {"environment": {"HOME": "/nonexistent", "LC_ALL": "tr_TR.UTF-8", "COLUMNS": "1", "TERM": "dumb"}, "umask": 0o777},
    {"after_s": [(0.1, signal.SIGSTOP), (0.3, signal.SIGCONT), (0.4, signal.SIGSTOP), (0.5, signal.SIGCONT)]},
)
FEW_FILES = (32, 16, 12, 8)


class Place(NamedTuple):
    """Where a command writes, the command, and what it writes there when all is well."""

    out: Path
    command: list[str]
    whole: dict[str, bytes]


@pytest.fixture(params=(*STAGES, "push", "pull"))
def place(request: pytest.FixtureRequest, world: Any, content: Contents, tmp_path: Path) -> Place:
    stage, out = request.param, tmp_path / "work/out"
    if stage in STAGES:
        return Place(out, world.commands[stage](out), content(world.whole(stage)))
    store = out if stage == "push" else tmp_path / "store"
    push = ["store", "push", str(world.whole("train")), "--store", str(store)]
    (end,) = world.run({"arguments": push})
    if stage == "push":
        whole = content(store)
        shutil.rmtree(store)
        return Place(out, push, whole)
    ref = end.output.strip().rpartition("@")[2]
    return Place(out, ["store", "pull", f"{out}@{ref}", "--store", str(store)], content(world.whole("train")))


def test_what_is_harmless(place: Place, world: Any, content: Contents) -> None:
    for circumstance in HARMLESS:
        (end,) = world.run({"arguments": place.command, **circumstance, "limit_s": 60})
        assert end.code == 0, (circumstance, end)
        assert content(place.out) == place.whole, circumstance
        assert [path.name for path in place.out.parent.iterdir()] == ["out"], circumstance
        shutil.rmtree(place.out.parent)


def test_few_open_files(place: Place, world: Any, content: Contents) -> None:
    refused = 0
    for number in FEW_FILES:
        (end,) = world.run({"arguments": place.command, "open_files": number, "limit_s": 60})
        if end.code != 0:
            refused += 1
            assert end.code == 2, end
            assert "Traceback" not in end.errors, end
            (sentence,) = [line for line in end.errors.splitlines() if line.startswith("nofrost: ")]
            assert "too many open files: raise the limit on open files (ulimit -n)" in sentence, end
    assert refused, "there were enough for all"
    (end,) = world.run({"arguments": place.command})
    assert end.code == 0, end
    assert content(place.out) == place.whole
    assert [path.name for path in place.out.parent.iterdir()] == ["out"]
