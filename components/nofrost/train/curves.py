"""The curves of a training: one row for each epoch."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

from nofrost.train.phase import Phase
from nofrost.train.selection import Selection
from nofrost.train.state import State

KINDS = ("clean", "augmented", "adversarial")  # of images, which every row tells of


def mean_loss(state: State, phase: Phase, processes: int) -> float:
    """Return the mean over the steps of the epoch so far, their updates and the processes."""
    return state.sums["loss"] / (state.step * int(state.steps[phase.name]["updates"]) * processes)


def row(state: State, phase: Phase, processes: int, measured: Selection | None) -> dict[str, Any]:
    """Return the row of the epoch whose steps are done; `measured` is None where nothing was.

    Accuracies in training are over all images of a kind, as they were met; None for a kind of `KINDS` that was not.
    Views from a single augmentation set have an entry of their own where an objective asks for them.
    """
    attacked, views = measured.attacked if measured else None, phase.objective.augmented_views
    return {
        "epoch": state.epochs + 1,
        "phase": phase.name,
        "loss": mean_loss(state, phase, processes),
        "lr": phase.lr(state.epoch + 1 - 1 / phase.images.steps),
        "eps": phase.eps(state.epoch + 1),
        **{f"train_{kind}": _accuracy(state, phase, kind) for kind in dict.fromkeys([*KINDS, *views])},
        "selection_clean": measured.clean.accuracy if measured else None,
        "selection_attacked": attacked.accuracy if attacked else None,
    }


def as_csv(rows: Sequence[dict[str, Any]]) -> str:
    """Return the rows as CSV with a header; an entry that a row does not have is empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(key for row in rows for key in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _accuracy(state: State, phase: Phase, kind: str) -> float | None:
    images = state.steps[phase.name]["images"].get(kind)
    return state.sums[kind] / (state.step * images) if images and kind in state.sums else None
