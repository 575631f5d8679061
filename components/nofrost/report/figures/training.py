"""Loss and accuracies over the epochs of a training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from nofrost.report.figures.style import MUTED, PAGE, figure, percent_axis, series, to_svg
from nofrost.results import Epoch

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def training_panels(runs: Sequence[tuple[int, int, Sequence[Epoch]]]) -> list[str]:
    """Return one drawing for each run, given as (position of its recipe, best epoch, epochs).

    Above the training loss; below the accuracy on the training adversary (dashed) and, on the selection split, clean
    (unbroken) and attacked (dotted). A vertical line marks the epoch whose checkpoint was kept, a dashed one the end of
    a phase.
    """
    drawings = []
    top = 1.05 * max([epoch.loss for _, _, epochs in runs for epoch in epochs], default=1.0)
    for index, (position, best, epochs) in enumerate(runs):
        name = f"training-{index}"
        with figure(name, 165, 205, rows=2) as (drawing, (above, below)):
            colour = series(position).colour
            _draw(above, epochs, lambda epoch: epoch.loss, colour, "-")
            above.set_ylim(0, top or 1.0)
            above.set_ylabel("training loss")
            above.grid(visible=False, axis="x")
            _draw(below, epochs, _percent(lambda epoch: epoch.train_adversarial), colour, (0, (5, 2)), width=0.9)
            _draw(below, epochs, _percent(lambda epoch: epoch.selection_clean), colour, "-", "o")
            _draw(below, epochs, _percent(lambda epoch: epoch.selection_attacked), colour, (0, (1.5, 1.5)), "s")
            percent_axis(below)
            below.set_xlabel("epoch")
            for axes in (above, below):
                for end in _ends(epochs):
                    axes.axvline(end, color=MUTED, linewidth=0.8, linestyle=(0, (4, 3)), zorder=2)
                axes.axvline(best, color=MUTED, linewidth=0.8, zorder=2)
            _whole_epochs(below)
            drawings.append(to_svg(drawing))
    return drawings


def _ends(epochs: Sequence[Epoch]) -> list[float]:
    """Return where one phase ends and the next begins, between two epochs."""
    return [(before.epoch + after.epoch) / 2 for before, after in pairwise(epochs) if before.phase != after.phase]


def _percent(value: Callable[[Epoch], float | None]) -> Callable[[Epoch], float | None]:
    def scaled(epoch: Epoch) -> float | None:
        share = value(epoch)
        return None if share is None else 100 * share

    return scaled


def _draw(
    axes: Axes,
    epochs: Sequence[Epoch],
    value: Callable[[Epoch], float | None],
    colour: str,
    linestyle: object,
    marker: str = "",
    width: float = 1.5,
) -> None:
    points = [(epoch.epoch, y) for epoch in epochs if (y := value(epoch)) is not None]
    markers = marker if len(points) <= 30 else ""
    axes.plot(
        [x for x, _ in points],
        [y for _, y in points],
        color=colour,
        linestyle=linestyle,
        linewidth=width,
        marker=markers,
        markersize=3.5,
        markeredgecolor=PAGE,
        zorder=3,
    )


def _whole_epochs(axes: Axes) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
