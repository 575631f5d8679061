"""What a training states of itself while it runs: the epoch, the loss at every save, the measurements of an epoch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from nofrost.telemetry import Progress
from nofrost.train.trainer import Trainer


class Kept(Progress):
    """A progress that keeps the figures at each step."""

    def __init__(self, total: int) -> None:
        super().__init__(total)
        self.kept: list[dict[str, float]] = []

    def _show(self, units: int, note: str) -> None:
        self.kept.append(self.figures)


def test_the_loss_is_stated_at_every_save_and_all_measurements_at_the_end_of_an_epoch(
    make_trainer: Callable[..., Trainer], tmp_path: Path
) -> None:
    trainer = make_trainer({"name": "pgdat"})
    trainer.folder, trainer.save_interval_s = tmp_path, -1  # a save after every step
    work = Kept(trainer.phase.images.steps)
    trainer.train_epoch(work)
    assert work.done == work.total == len(work.kept)
    waited = [figures.pop("data_wait") for figures in work.kept]
    assert all(0 <= share < 1 for share in waited)
    assert work.kept[0] == {"epoch": 1, "epochs": 1}
    losses = [figures["loss"] for figures in work.kept[1:]]
    assert len(set(losses)) == len(losses)
    (row,) = trainer.state.curves
    assert work.figures["loss"] == row.loss == pytest.approx(losses[-1], rel=0.2)
    assert work.figures["selection_attacked"] == row.selection_attacked
    assert "selection_clean" in work.figures
    assert "train_clean" not in work.figures, "not a view of this objective"
