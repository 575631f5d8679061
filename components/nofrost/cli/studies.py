"""`nofrost study`: list, show and select studies, and show the printed numbers that they stand beside."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from nofrost.cli.options import PATH, aligned, emit, json_option, set_option, size_option
from nofrost.cli.study_cost import study_plan
from nofrost.cli.study_list import references, study_list
from nofrost.cli.study_run import study_run

if TYPE_CHECKING:
    from nofrost.config import Printed, PrintedColumn, PrintedRow


@click.group()
def study() -> None:
    """List the shipped studies, show one, say what it costs, select or run some; and list printed numbers."""


study.add_command(study_list)
study.add_command(study_plan)
study.add_command(study_run)


@study.command("show")
@click.argument("name")
@set_option
@size_option
@json_option
def study_show(name: str, overrides: tuple[str, ...], size: str | None, as_json: bool) -> None:
    """Print the study NAME (shipped, or a YAML file) with everything spelled out."""
    from nofrost.config import load_study, study_as_yaml
    from nofrost.tasks import check_study

    loaded = check_study(load_study(name, overrides, size), name, overrides)
    emit(loaded, f"# Recipes of {references(loaded) or 'no paper'}.\n{study_as_yaml(loaded)}".rstrip(), as_json)


@study.command("select")
@click.argument("name")
@set_option
@size_option
@json_option
@click.option("--out", type=PATH, default=Path("params.yaml"), show_default=True, help="File to write.")
def study_select(name: str, overrides: tuple[str, ...], size: str | None, as_json: bool, out: Path) -> None:
    """Make NAME (shipped, or a YAML file) the active study: write it, spelled out, to params.yaml.

    The file is overwritten. DVC tracks it key by key, so that `dvc repro` then runs only what changed.
    """
    from nofrost.config import load_study, study_as_yaml
    from nofrost.files import write_text
    from nofrost.system_errors import explain_write_errors
    from nofrost.tasks import check_study

    loaded = check_study(load_study(name, overrides, size), name, overrides)
    with explain_write_errors(out):
        write_text(out, study_as_yaml(loaded))
    size = f", size {loaded.size}" if loaded.size else ""
    summary = f"study {loaded.name}{size}, {len(loaded.runs.recipes)} recipes, {len(loaded.runs.seed)} seeds"
    if loaded.datasets:
        summary += f", {1 + len(loaded.datasets)} datasets"
    emit(loaded, f"{out}: {summary}", as_json)


@study.command("printed")
@click.argument("name", required=False)
@json_option
def study_printed(name: str | None, as_json: bool) -> None:
    """Print the tables and figures whose printed numbers are here, or the numbers of one, NAME.

    A study that names one under its key `printed` gets a report in which its own numbers stand beside these: its
    recipes bear the names of the rows. An empty cell has no printed number, a ? one that cannot be read.
    """
    from nofrost.config import load_papers, load_printed, printed_names

    if name is not None:
        shown = load_printed(name)
        emit(shown, _table(shown), as_json)
        return
    listed = [load_printed(each) for paper in load_papers() for each in printed_names(paper)]
    values = [{"id": each.id, "title": each.title, "rows": len(each.rows)} for each in listed]
    emit(values, aligned([(each.id, f"{len(each.rows)} rows", each.title) for each in listed]), as_json)


def _table(shown: Printed) -> str:
    """Return the numbers of a table with its rows, claims and notes as text."""
    from nofrost.config import find_paper

    lines = [f"{find_paper(shown.paper).reference}, {shown.name}: {shown.title}", f"Unit: {shown.unit}"]
    headings = ("row", "training", *(_heading(column) for column in shown.columns.values()))
    rows = [(name, _training(row), *_values(shown, row)) for name, row in shown.rows.items()]
    lines += ["", aligned([headings, *rows])] if rows else []
    lines += ["", "Claims:", *(f"- {claim.text}" for claim in shown.claims)] if shown.claims else []
    axes = [f"Axis {name}: {axis.title}{'; ' if axis.values else ''}{axis.values}" for name, axis in shown.axes.items()]
    lines += ["", *axes] if axes else []
    lines += ["", *shown.notes] if shown.notes else []
    return "\n".join([*lines, *([f"Not readable: {shown.unreadable}"] if shown.unreadable else [])])


def _heading(column: PrintedColumn) -> str:
    return f"{column.title} ({column.unit})" if column.unit else column.title


def _training(row: PrintedRow) -> str:
    if row.difference_of:
        return " less ".join(row.difference_of)
    settings = " ".join(f"{key}={value}" for key, value in row.set.items())
    less = f"less {row.relative_to}" if row.relative_to else ""
    return " ".join(filter(None, (row.recipe or "-", settings, less)))


def _values(shown: Printed, row: PrintedRow) -> list[str]:
    cells = []
    for column in shown.columns:
        text = "?" if column in row.values else ""
        if (value := row.values.get(column)) is not None:
            text = " to ".join(f"{end:,.10g}" for end in (value if isinstance(value, tuple) else (value,)))
        cells.append(f"{text} ± {row.spread[column]:g}" if column in row.spread else text)
    return cells
