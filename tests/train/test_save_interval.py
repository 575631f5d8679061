"""A training saves as often as the environment says, and at the end of every epoch."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from nofrost.errors import StoppedError, UserError
from nofrost.processes import ProcessGroup
from nofrost.train import trainer as module
from nofrost.train.trainer import Trainer

VARIABLE = "NOFROST_SAVE_INTERVAL_S"


@pytest.mark.parametrize(("seconds", "steps"), [("60", 2), ("120", 3)])
def test_the_state_is_saved_once_in_each_interval(
    seconds: str, steps: int, make_trainer: Callable[..., Trainer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each step takes 45 seconds by the clock of the trainer, which is read once a step and once a save."""
    monkeypatch.setenv(VARIABLE, seconds)
    trainer = make_trainer({"name": "st"})
    trainer.folder = tmp_path
    clock = {"now": 0.0}
    step, saved = trainer.train_step, []

    def slow_step(batch: object) -> object:
        clock["now"] += 45.0
        return step(batch)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock["now"]))
    monkeypatch.setattr(trainer, "train_step", slow_step)
    monkeypatch.setattr(trainer, "save", lambda since: saved.append(trainer.state.step) or clock["now"])
    trainer.train_epoch()
    total = trainer.phase.images.steps
    assert total > steps, "the epoch is long enough"
    # 0 is the end of the epoch, at which the steps of the next begin.
    assert saved == [*itertools.takewhile(lambda step: step <= total, itertools.count(steps, steps)), 0]


def test_a_wrong_interval_is_an_error_before_the_training_begins(
    make_trainer: Callable[..., Trainer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, "30")
    with pytest.raises(UserError, match=f"{VARIABLE} is '30'"):
        make_trainer({"name": "st"})


def test_a_stop_ends_all_processes_only_when_the_save_is_written(
    make_trainer: Callable[..., Trainer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer, done = make_trainer({"name": "st"}), list[str]()
    trainer.folder = tmp_path
    stop = threading.Event()
    stop.set()
    monkeypatch.setattr(trainer, "save", lambda since: done.append("save") or 0.0)
    monkeypatch.setattr(ProcessGroup, "barrier", lambda _: done.append("barrier"))
    with pytest.raises(StoppedError):
        trainer.train_epoch(stop=stop)
    assert done == ["save", "barrier"]
