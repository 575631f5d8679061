"""Loss and accuracies over the epochs of a training."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from nofrost.report.figures.style import MUTED, PAGE, figure, percent_axis, series, to_svg
from nofrost.results import Epoch

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def training_panels(runs: Sequence[tuple[int, int, Sequence[Epoch]]]) -> list[str]:
    """Return one SVG for each run, given as (position of its recipe, best epoch, epochs).

    Above, the training loss; below, the accuracy on the training adversary (dashed) and, on the selection split, the
    clean (unbroken) and attacked (dotted) accuracy. A vertical line marks the best epoch, a dashed one the end of a
    phase.
    """
    from matplotlib.ticker import MaxNLocator

    drawings = []
    top = 1.05 * max([epoch.loss for _, _, epochs in runs for epoch in epochs], default=1.0)
    for index, (position, best, epochs) in enumerate(runs):
        name = f"training-{index}"
        with figure(name, 165, 205, rows=2) as (drawing, (above, below)):
            colour = series(position).colour
            _draw(above, epochs, "loss", 1, colour, "-")
            above.set_ylim(0, top or 1.0)
            above.set_ylabel("training loss")
            above.grid(visible=False, axis="x")
            _draw(below, epochs, "train_adversarial", 100, colour, (0, (5, 2)), width=0.9)
            _draw(below, epochs, "selection_clean", 100, colour, "-", "o")
            _draw(below, epochs, "selection_attacked", 100, colour, (0, (1.5, 1.5)), "s")
            percent_axis(below)
            below.set_xlabel("epoch")
            for axes in (above, below):
                for end in _ends(epochs):
                    axes.axvline(end, color=MUTED, linewidth=0.8, linestyle=(0, (4, 3)), zorder=2)
                axes.axvline(best, color=MUTED, linewidth=0.8, zorder=2)
            below.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
            drawings.append(to_svg(drawing))
    return drawings


def _ends(epochs: Sequence[Epoch]) -> list[float]:
    """Return where one phase ends and the next begins, between two epochs."""
    return [(before.epoch + after.epoch) / 2 for before, after in pairwise(epochs) if before.phase != after.phase]


def _draw(
    axes: Axes,
    epochs: Sequence[Epoch],
    key: str,
    scale: int,
    colour: str,
    linestyle: object,
    marker: str = "",
    width: float = 1.5,
) -> None:
    """Draw a value of the epochs, its name in :class:`Epoch` given by `key`, times `scale`, where it was measured."""
    points = [(epoch.epoch, scale * value) for epoch in epochs if (value := getattr(epoch, key)) is not None]
    axes.plot(
        [x for x, _ in points],
        [y for _, y in points],
        color=colour,
        linestyle=linestyle,
        linewidth=width,
        marker=marker if len(points) <= 30 else "",
        markersize=3.5,
        markeredgecolor=PAGE,
        zorder=3,
    )
