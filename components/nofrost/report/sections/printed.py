"""The study's numbers beside those that a paper printed, and what the paper claims of them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from nofrost.config import Printed, Value, find_paper, load_printed
from nofrost.report import cells, figures, text
from nofrost.report.cells import ICONS
from nofrost.report.compare import Estimate
from nofrost.report.document import Block, Cell, Column, Facts, Figure, Panel, Paragraph, Section, Table
from nofrost.report.measurement import Measurements
from nofrost.report.printed_numbers import NOT_RUN, SWEPT, DecidedClaim, Ours, PrintedComparison, PrintedValue
from nofrost.report.runs import Attacked, Collected, Shifted
from nofrost.report.sections.printed_settings import changed_attacks, changed_trainings, has_printed_settings
from nofrost.report.sections.swept import swept_figures, swept_values
from nofrost.results import Status

UNITS = {"percent": "%", "degrees": "°", "nats": "nats"}
_STATUS: Mapping[str, Status] = {"holds": "pass", "does not hold": "fail"}
_BLANK = "\N{EN DASH}"
# As many are named in the words for a figure.
_NAMES = 12


def printed(collected: Collected) -> Section | None:
    """Return the section, or None where the study names no printed numbers."""
    if not collected.study.printed:
        return None
    blocks: list[Block] = [_introduction(collected)]
    for comparison in comparisons(collected):
        positions = {recipe.name: recipe.position for recipe in collected.recipes}
        blocks += [_table(comparison, collected), *swept_figures(comparison, positions)]
        blocks += _bars(comparison, positions)
        if comparison.decisions:
            blocks.append(_claims(comparison))
        blocks.append(_remarks(comparison, collected))
    return Section("printed", "Beside the printed numbers", "Printed numbers", blocks)


def comparisons(collected: Collected) -> list[PrintedComparison]:
    """Return what the study measured beside each table or figure that it names."""
    attacked, shifted = collected.attacked_runs, collected.shifted_runs
    runs = {
        recipe.name: [
            Measurements(
                run.train,
                {suite: each.adversarial for suite, each in attacked.get(run.name, {}).items()},
                {suite: each.ood for suite, each in shifted.get(run.name, {}).items()},
                {suite: each.flags for suite, each in attacked.get(run.name, {}).items()},
                {suite: each.flags.by_set for suite, each in shifted.get(run.name, {}).items()},
            )
            for run in recipe.runs
        ]
        for recipe in collected.recipes
    }
    study = collected.study
    return [PrintedComparison(load_printed(name), runs, study.size, study.places) for name in study.printed]


def _introduction(collected: Collected) -> Paragraph:
    several = len(collected.study.runs.seed) > 1
    spread = "the mean and its spread over seeds" if several else "the value and its 95 % interval over images"
    return Paragraph(
        f"Each cell gives ours ({spread}), the printed number with the spread that the paper prints, and ours less "
        f"the printed one. {ICONS['pass']} inside: the range of ours and that of the printed number meet; "
        f"{ICONS['fail']} outside: they do not."
    )


def _table(comparison: PrintedComparison, collected: Collected) -> Table:
    table = comparison.printed
    columns = [Column("row", text=True), *(Column(_heading(table, name)) for name in table.columns)]
    most = cells.digits(collected)
    rows = [
        [
            _row_cell(comparison, collected, row),
            *(_cell(comparison, Value(row, column), most) for column in table.columns),
        ]
        for row in table.rows
    ]
    title = f"{find_paper(table.paper).reference}, {table.name}: {table.title}"
    return Table(_caption(comparison, collected), columns, rows, title=title)


def _heading(table: Printed, column: str) -> str:
    heading = table.columns[column]
    unit = UNITS.get(heading.unit or table.unit)
    return f"{heading.title}, {unit}" if unit else heading.title


def _row_cell(comparison: PrintedComparison, collected: Collected, row: str) -> Cell:
    entry = comparison.printed.rows[row]
    names = comparison.printed.runs_of(row)
    run = [recipe for recipe in collected.recipes if recipe.name in names]
    if entry.difference_of:
        note = f"{entry.difference_of[0]} less {entry.difference_of[1]}"
    elif entry.ratio_of:
        note = f"{entry.ratio_of[0]} over {entry.ratio_of[1]}"
    elif entry.relative_to:
        note = f"less {entry.relative_to}"
    elif names & comparison.swept:
        note = SWEPT
    else:
        note = "" if run else NOT_RUN
    return Cell(entry.label, small=note, hint=entry.note, recipe=run[0].position if len(run) == 1 else None)


def _cell(comparison: PrintedComparison, value: Value, most: int) -> Cell:
    entry, decimals = comparison.entries[value], comparison.decimals(value)
    printed = _printed(entry, decimals)
    if entry.ours is None:
        return Cell(_BLANK, small=printed, hint=entry.reason)
    carried = min(decimals, comparison.carried_decimals(value, most))
    lines = [_spread(entry.ours, carried, comparison.with_error), printed]
    if entry.difference is not None:
        mark = f"{ICONS['pass']} inside" if entry.inside else f"{ICONS['fail']} outside"
        lines.append(f"{_signed(entry.difference, carried)} {mark}")
    return Cell(_number(entry.ours.value, carried), small="\n".join(filter(None, lines)))


def _printed(entry: PrintedValue, decimals: int) -> str:
    if entry.printed is None:
        return ""
    ends = entry.printed if isinstance(entry.printed, tuple) else (entry.printed,)
    number = " to ".join(_number(end, decimals) for end in ends)
    return f"printed {number}" + (f" ± {_number(entry.spread, decimals)}" if entry.spread is not None else "")


def _spread(ours: Ours, decimals: int, with_error: bool) -> str:
    if ours.interval is not None:
        return " to ".join(_number(end, decimals) for end in ours.interval)
    spread = ours.standard_error if with_error else ours.deviation
    return "" if spread is None else f"± {_number(spread, decimals)} (n = {ours.trainings})"


def _number(value: float, decimals: int) -> str:
    return f"{round(value, decimals) + 0.0:,.{decimals}f}".replace("-", "\N{MINUS SIGN}")


def _signed(value: float, decimals: int) -> str:
    return f"{round(value, decimals) + 0.0:+,.{decimals}f}".replace("-", "\N{MINUS SIGN}")


def _caption(comparison: PrintedComparison, collected: Collected) -> str:
    """Return on what the printed numbers were measured, and on what ours."""
    table, study = comparison.printed, collected.study
    theirs = [
        _words(table.dataset),
        table.threat,
        f"{table.seeds} seeds" if table.seeds else "",
        f"the spread is {table.spread_is}" if table.spread_is else "",
    ]
    networks = dict.fromkeys(study.recipes[name].model.arch for name in study.runs.recipes)
    threats = dict.fromkeys(
        text.threat(suite.threat.norm, suite.threat.eps) for suite in study.suites.adversarial.values()
    )
    ours = [
        text.listed(
            f"{part.manifest.name}, {text.count(part.recipes[0].runs[0].train.training_images)} training images"
            for part in collected.by_dataset
        ),
        f"{text.listed(map(text.count, dict.fromkeys(each.samples for each in _suites(collected))))} test images",
        text.listed(networks),
        text.listed(threats),
        text.seeds(study.runs.seed),
    ]
    kind = "standard error" if comparison.with_error else "sample standard deviation"
    spread = f"; the spread of ours is the {kind} over seeds" if len(study.runs.seed) > 1 else ""
    size = f" (size {study.size})" if study.size else " (own settings, of no size)"
    if study.size == "paper":
        expected = ""
    elif has_printed_settings(study):
        expected = " All settings but the seeds are those of the size paper."
    else:
        expected = " At another size than the paper's, numbers are not expected to match."
    return (
        f"Printed: {'; '.join(filter(None, theirs)) or 'the paper does not say on what'}. "
        f"Ours{size}: {', '.join(ours)}{spread}.{expected}"
    )


def _suites(collected: Collected) -> Sequence[Attacked | Shifted]:
    return (*collected.attacked, *collected.shifted)


def _words(values: Mapping[str, Any]) -> str:
    name = str(values.get("name", ""))
    return ", ".join([name, *(f"{key} {value}" for key, value in values.items() if key != "name")]).strip(", ")


def _bars(comparison: PrintedComparison, positions: Mapping[str, int]) -> Iterator[Figure]:
    """Yield the accuracies of the rows that were run as bars, with the printed numbers, if both are there."""
    elsewhere = swept_values(comparison)
    groups: dict[str, list[figures.Bar]] = {}
    shown: dict[str, int] = {}
    for value, entry in comparison.entries.items():
        column, row = comparison.printed.columns[value.column], comparison.printed.rows[value.row]
        unit, run = (
            comparison.printed.unit_of(value.row, value.column),
            comparison.printed.run_of(value.row, value.column),
        )
        if column.measure != "accuracy" or unit not in ("percent", "share") or row.relative_to or run is None:
            continue
        if entry.ours is None or not isinstance(entry.printed, float | int) or value in elsewhere:
            continue
        scale = 100.0 if unit == "percent" else 1.0
        low, high = entry.ours.range(comparison.with_error)
        estimate = Estimate(
            entry.ours.value / scale, low / scale, high / scale, entry.ours.deviation, entry.ours.trainings
        )
        bar = figures.Bar(positions[run], estimate, entry.printed / scale)
        groups.setdefault(column.title, []).append(bar)
        shown[run] = positions[run]
    if groups:
        name = f"printed-{comparison.printed.id}"
        # A list of dozens is nothing to be read out; the legend names them.
        names = text.listed(shown) if len(shown) <= _NAMES else text.plural(len(shown), "recipe")
        alt = f"Accuracies of {names} with the printed numbers, by column: {text.listed(groups)}."
        panel = Panel("", figures.bar_panel(name, groups), alt)
        caption = f"{comparison.printed.name}: accuracies that were run; a short upright line is the printed number."
        yield Figure(caption, [panel], list(shown.items()))


def _claims(comparison: PrintedComparison) -> Table:
    rows = [[Cell(each.claim.text), _verdict(each), _grounds(each)] for each in comparison.decisions]
    columns = [Column("claim", text=True), Column("verdict", text=True), Column("grounds", text=True)]
    noise = (
        "over seeds, by Student's t, and over the test images"
        if any(len(runs) > 1 for runs in comparison.runs.values())
        else "over the test images; with another seed more may turn round"
    )
    place = "in its text" if comparison.printed.name == "text" else f"of {comparison.printed.name}"
    caption = (
        f"What the paper says {place}, in our words, and whether it holds of our numbers. A margin is within the noise "
        f"where its 95 % interval has zero in it: {noise}."
    )
    return Table(caption, columns, rows)


def _verdict(decision: DecidedClaim) -> Cell:
    status = _STATUS.get(decision.verdict)
    return Cell(decision.verdict, small=decision.remark, status="warn" if status and decision.in_noise else status)


def _grounds(decision: DecidedClaim) -> Cell:
    if not decision.margins:
        return Cell(decision.reason)
    lines = [
        f"{inequality}: by {margin:.3g}".replace("by -", "by \N{MINUS SIGN}") for inequality, margin in decision.margins
    ]
    return Cell("", small="\n".join(lines))


def _remarks(comparison: PrintedComparison, collected: Collected) -> Facts:
    """Return what is not run or measured, with the reasons, and how the attacks differ from those of the paper."""
    table = comparison.printed
    not_run = [row for row in table.rows if _reasons(comparison, row) == {NOT_RUN}]
    no_recipe = {row.label: row.not_run for row in table.rows.values() if row.not_run and not table.columns}
    missing: dict[str, list[str]] = {}
    for value, entry in comparison.entries.items():
        is_said = not entry.reason or entry.reason == SWEPT or value.row in not_run
        titles = [] if is_said else missing.setdefault(entry.reason, [])
        if (title := table.columns[value.column].title) not in titles:
            titles.append(title)
    has_gaps = any(None in row.values.values() for row in table.rows.values())
    facts = {
        "Not run": "; ".join(table.rows[row].label for row in not_run),
        "Not measured": "; ".join(
            [
                *(f"{text.listed(titles)}: {reason}" for reason, titles in missing.items()),
                *(f"{label}: {reason}" for label, reason in no_recipe.items()),
            ]
        ),
        "Trainings that differ": "; ".join(changed_trainings(table, collected.study)),
        "Attacks that differ": "; ".join(changed_attacks(table, collected.study)),
        "Values of the axes": "; ".join(f"{axis.title}: {axis.values}" for axis in table.axes.values() if axis.values),
        "Not readable": table.unreadable if has_gaps else "",
        "Remarks": " ".join(note if note.endswith(".") else f"{note}." for note in table.notes),
    }
    return Facts([(name, value) for name, value in facts.items() if value])


def _reasons(comparison: PrintedComparison, row: str) -> set[str]:
    return {comparison.entries[Value(row, column)].reason for column in comparison.printed.columns}
