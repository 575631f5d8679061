"""Figures of tables whose rows or columns lie on axes: ours and the printed numbers over what was swept."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from nofrost.config import Coordinate, PrintedAxis, Value, find_paper
from nofrost.measures.trainable_depth import LEAST_BATCH, largest_trainable_depth
from nofrost.report import figures, text
from nofrost.report.compare import Estimate
from nofrost.report.document import Figure, Panel
from nofrost.report.figures import Axis, SweptLine
from nofrost.report.measurement import NotMeasuredError
from nofrost.report.printed_numbers import Ours, PrintedComparison

_FACTORS = {"share": 100.0}
_IN_PERCENT = ("percent", "share")
# So many columns of a heat map have room in a panel beside others.
NARROW = 4


@dataclass(frozen=True)
class SweptValue:
    """A value of a table that lies on axes: its `line`, its place `at` each axis, and the recipe that measured it."""

    value: Value
    line: str
    at: Mapping[str, Coordinate]
    run: str | None
    ours: Ours | None
    printed: float | None
    spread: float


def swept_figures(comparison: PrintedComparison, positions: Mapping[str, int]) -> Iterator[Figure]:
    """Yield the figures of a table with axes: lines where its values lie along one, heat maps where along two.

    Args:
        positions: of the recipes in the study.
    """
    by_panel = {title: list(values) for title, values in _by_panel(comparison) if any(each.ours for each in values)}
    everything = [each for values in by_panel.values() for each in values]
    axes = {
        name: found
        for name, axis in comparison.printed.axes.items()
        if len((found := _axis(axis, name, everything)).ticks) > 1
    }
    if not axes:
        return
    draw = _lines if len(axes) == 1 else _maps
    lines: dict[str, int] = {}
    for each in everything:
        if each.ours and each.run is not None:
            lines.setdefault(_line(each, axes), positions[each.run])
    yield draw(comparison, axes, by_panel, lines)


def swept_values(comparison: PrintedComparison) -> set[Value]:
    """Return the values of a table that lie on axes, which its bars then need not show."""
    return {each.value for _, values in _by_panel(comparison) for each in values}


def _by_panel(comparison: PrintedComparison) -> Iterator[tuple[str, Sequence[SweptValue]]]:
    """Yield the values of each column, or of all together where the columns lie on an axis themselves."""
    table = comparison.printed
    along_columns = [name for name, column in table.columns.items() if column.at]
    if along_columns:
        yield "", [each for column in along_columns for each in _values(comparison, column)]
    for name, column in table.columns.items():
        if not column.at and (values := list(_values(comparison, name))):
            yield column.title, values


def _values(comparison: PrintedComparison, column: str) -> Iterator[SweptValue]:
    table = comparison.printed
    for name, row in table.rows.items():
        at = {**row.at, **table.columns[column].at}
        if not at or row.difference_of:
            continue
        value = Value(name, column)
        try:
            ours = comparison.absolute(value)
        except NotMeasuredError:
            ours = None
        spread = 0.0 if row.relative_to else row.spread.get(column, 0.0)
        yield SweptValue(
            value, row.line or row.label, at, table.run_of(name, column), ours, table.absolute(name, column), spread
        )


def _axis(axis: PrintedAxis, name: str, values: Sequence[SweptValue]) -> Axis:
    found = list(dict.fromkeys(each.at[name] for each in values if name in each.at))
    numbers = [tick for tick in found if not isinstance(tick, str)]
    return Axis(axis.title, sorted(numbers) if len(numbers) == len(found) else found)


def _line(value: SweptValue, axes: Mapping[str, Axis]) -> str:
    """Return the name of a line: with its place on the third axis and further ones, which no drawing has."""
    return ", ".join([value.line, *(f"{name} {value.at[name]}" for name in list(axes)[2:] if name in value.at)])


def _unit(comparison: PrintedComparison, value: Value) -> tuple[str, float]:
    """Return what an axis of such values shows, and the factor to its unit."""
    unit = comparison.printed.unit_of(value.row, value.column)
    measure = comparison.printed.columns[value.column].measure
    if unit in _IN_PERCENT:
        return f"{measure}, %", _FACTORS.get(unit, 1.0)
    return (f"{measure}, {unit}" if unit != "none" else measure), 1.0


def _lines(
    comparison: PrintedComparison,
    axes: Mapping[str, Axis],
    by_panel: Mapping[str, Sequence[SweptValue]],
    lines: Mapping[str, int],
) -> Figure:
    ((name, axis),) = axes.items()
    panels = []
    for number, (title, values) in enumerate(by_panel.items()):
        unit, factor = _unit(comparison, values[0].value)
        swept, words = [], []
        for line, position in lines.items():
            of_line = [each for each in values if _line(each, axes) == line and name in each.at]
            ours = [(each.at[name], _estimate(each.ours, factor, comparison)) for each in of_line if each.ours]
            theirs = [
                (each.at[name], factor * each.printed, factor * each.spread)
                for each in of_line
                if each.printed is not None
            ]
            in_order = SweptLine(position, _sorted(axis, ours), _sorted(axis, theirs))
            if ours:
                swept.append(in_order)
                words.append(_in_words(line, axis, in_order))
        svg = figures.swept_lines(
            f"swept-{comparison.printed.id}-{number}", axis, swept, unit, alone=len(by_panel) == 1
        )
        panels.append(
            Panel(
                title if len(by_panel) > 1 else "",
                svg,
                f"{_of(title)}Lines of {unit} by {axis.noun}: {'; '.join(words)}.",
            )
        )
    caption = (
        f"{_name(comparison, by_panel)} by {axis.noun}: filled markers are ours with their range, hollow ones "
        f"the printed numbers with their spread. The numbers stand in the table above.{_places(comparison)}"
    )
    return Figure(caption, panels, list(lines.items()), wide=axis.is_list)


def _name(comparison: PrintedComparison, by_panel: Mapping[str, object]) -> str:
    """Return how a caption names the table, and the only panel where no heading does."""
    table = comparison.printed
    panel = ", ".join(filter(None, by_panel)) if len(by_panel) == 1 else ""
    return f"{find_paper(table.paper).reference}, {table.name}{': ' if panel else ''}{panel}"


def _places(comparison: PrintedComparison) -> str:
    """Return what a caption says of places at a size where trainings and attacks have other settings than they name."""
    if comparison.size == "paper":
        return ""
    return " Ours stand at the places of their rows and columns; the list below says where settings differ, if any do."


def _of(panel: str) -> str:
    """Return the beginning of a text alternative: the heading of the panel."""
    return f"{panel}. " if panel else ""


def _sorted(axis: Axis, points: list[tuple]) -> list[tuple]:  # type: ignore[type-arg]
    return sorted(points, key=lambda point: axis.ticks.index(point[0]))


def _estimate(ours: Ours, factor: float, comparison: PrintedComparison) -> Estimate:
    low, high = ours.range(comparison.with_error)
    return Estimate(factor * ours.value, factor * low, factor * high, ours.deviation, ours.trainings)


def _in_words(line: str, axis: Axis, swept: SweptLine) -> str:
    points = [f"{estimate.value:.3g} at {axis.label(tick)}" for tick, estimate in swept.ours]
    printed = [f"{value:.3g} at {axis.label(tick)}" for tick, value, _ in swept.printed]
    return f"{line} {text.listed(points)}" + (f" (printed {text.listed(printed)})" if printed else "")


def _maps(
    comparison: PrintedComparison,
    axes: Mapping[str, Axis],
    by_panel: Mapping[str, Sequence[SweptValue]],
    lines: Mapping[str, int],
) -> Figure:
    (first, down), (second, along) = list(axes.items())[:2]
    panels: list[Panel] = []
    bordered = False
    for title, values in by_panel.items():
        unit, factor = _unit(comparison, values[0].value)
        for line, position in lines.items():
            cells = {
                (each.at[first], each.at[second]): factor * each.ours.value
                for each in values
                if each.ours and _line(each, axes) == line and {first, second} <= set(each.at)
            }
            if not cells:
                continue
            border = _trainable if _has_border(comparison, values, line, axes) else None
            bordered = bordered or border is not None
            name = f"swept-{comparison.printed.id}-{len(panels)}"
            svg = figures.swept_map(name, down, along, cells, position, border)
            ends = ", ".join(
                f"{word} {value:.3g} at {down.noun} {down.label(row)} and {along.noun} {along.label(column)}"
                for word, ((row, column), value) in (
                    ("least", min(cells.items(), key=lambda cell: cell[1])),
                    ("most", max(cells.items(), key=lambda cell: cell[1])),
                )
            )
            panels.append(Panel(f"{title}, {line}", svg, f"{_of(title)}Heat map of {unit}, {line}: {ends}.", position))
    caption = (
        f"{_name(comparison, {})}: ours by {down.noun} and {along.noun}, the larger the more coloured. The numbers "
        f"with their ranges stand in the table above.{_places(comparison)}"
    )
    if bordered:
        depths = [f"{_trainable(float(batch)):.0f} with {along.label(batch)} images" for batch in along.ticks]
        caption += (
            " The dashed line, where the rows reach it, is the largest trainable depth with batch norm (Yang et al. "
            "2019, theorem 3.10), at which the gradient has grown by what float32 resolves beside 1: "
            f"{text.listed(depths)}."
        )
    return Figure(caption, panels, list(lines.items()), wide=len(along.ticks) > NARROW)


def _trainable(batch: float) -> float:
    return largest_trainable_depth(int(batch))


def _has_border(
    comparison: PrintedComparison, values: Sequence[SweptValue], line: str, axes: Mapping[str, Axis]
) -> bool:
    """Return whether the largest trainable depth is drawn over these axes for a line."""
    table, names = comparison.printed, list(axes)[:2]
    depth = table.trainable_depth
    if depth is None or names != [depth.depth, depth.batch] or not all(axes[name].is_numeric for name in names):
        return False
    if any(isinstance(tick, str) or tick < LEAST_BATCH or tick != int(tick) for tick in axes[depth.batch].ticks):
        return False
    with_line = {table.rows[row].line or table.rows[row].label for row in depth.rows}
    return any(each.line in with_line and _line(each, axes) == line for each in values)
