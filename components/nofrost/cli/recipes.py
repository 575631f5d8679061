"""`nofrost recipes|papers`: list, show and compare what can be trained, and the papers behind it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from textwrap import indent, wrap
from typing import TYPE_CHECKING

import click

from nofrost.cli.models import settings_table
from nofrost.cli.options import aligned, emit, json_option, set_option

if TYPE_CHECKING:
    from nofrost.config import Recipe

COLUMNS = ("recipe", "model", "objective", "threat", "schedule", "citation")


@click.command()
@json_option
def papers(as_json: bool) -> None:
    """Print the papers whose methods are here.

    For each: key, authors, title, venue, year, link and summary. Citations of recipes and suites begin with the key, so
    that `nofrost recipes list --paper wang2022` lists the recipes of a paper.
    """
    from nofrost.config import load_papers

    entries = []
    for key, paper in load_papers().items():
        lines = [", ".join(paper.authors), paper.title, f"{paper.venue} {paper.year}, {paper.link}"]
        lines += wrap(paper.summary, 96)
        entries.append(f"{key}: {paper.reference}\n" + indent("\n".join(lines), "    "))
    values = [{"key": key, "reference": paper.reference, **paper.as_json()} for key, paper in load_papers().items()]
    emit(values, "\n\n".join(entries), as_json)


@click.group()
def recipes() -> None:
    """List the shipped recipes, show one, or compare two."""


@recipes.command("list")
@click.option("--paper", metavar="KEY", help="Only those of this paper; `nofrost papers` lists the keys.")
@click.option("--objectives", is_flag=True, help="Print the objectives that recipes can name, with their settings.")
@click.option("--markdown", is_flag=True, help="Print as a table in Markdown.")
@json_option
def recipes_list(paper: str | None, objectives: bool, markdown: bool, as_json: bool) -> None:
    """Print every shipped recipe (model, objective, threat, length, citation), or the objectives that exist."""
    if objectives:
        from nofrost.train.objectives import list_objectives, objective_settings

        settings = {name: objective_settings(name) for name in list_objectives()}
        emit(settings, settings_table(settings), as_json)
        return
    from nofrost.config import cite

    rows = list(_rows(paper))
    table = [COLUMNS, *((*row, cite(citation)) for *row, citation in rows)]
    if markdown:
        heading, *body = (f"| {' | '.join(row)} |" for row in table)
        text = "\n".join([heading, f"|{' --- |' * len(COLUMNS)}", *body])
    else:
        text = aligned(table)
    emit([dict(zip(COLUMNS, row, strict=True)) for row in rows], text, as_json)


def _rows(paper: str | None) -> Iterator[tuple[str, ...]]:
    from nofrost.config import find_paper, load_papers, load_recipe, paper_of, shipped_names

    if paper:
        find_paper(paper)
    recipes = {name: load_recipe(name) for name in shipped_names("recipe")}
    for key in [paper] if paper else [*load_papers(), None]:
        for name, recipe in recipes.items():
            if paper_of(recipe.citation) != key:
                continue
            model = f"{recipe.model.arch} {recipe.model.normaliser}"
            yield name, model, _objectives(recipe), _threat(recipe), _schedule(recipe), recipe.citation


def _objectives(recipe: Recipe) -> str:
    trainings = [(phase.objective.name, phase.trainable) for phase in recipe.in_phases().values()]
    names = [name if trainable == "all" else f"{name} ({trainable})" for name, trainable in trainings]
    return ", then ".join(dict.fromkeys(names))


def _threat(recipe: Recipe) -> str:
    from nofrost.train.objectives import create_objective

    threats = [
        f"{phase.threat.norm} {phase.threat.eps}, {phase.attack.name} x {phase.attack.setting('steps')}"
        for phase in recipe.in_phases().values()
        if create_objective(phase.objective.name, **phase.objective.settings()).robust_weight > 0
    ]
    return "; ".join(dict.fromkeys(threats)) or "none"


def _schedule(recipe: Recipe) -> str:
    schedules = (phase.schedule for phase in recipe.in_phases().values())
    return ", ".join(f"{schedule.epochs} epochs of {schedule.batch_size}" for schedule in schedules)


@recipes.command("show")
@click.argument("name", metavar="NAME|PATH")
@set_option
@json_option
def recipes_show(name: str, overrides: tuple[str, ...], as_json: bool) -> None:
    """Print a recipe (shipped, or a YAML file) with everything spelled out, each of its phases too."""
    from nofrost.config import as_yaml, load_recipe
    from nofrost.train import check_methods

    recipe = load_recipe(name, overrides)
    check_methods(recipe, name, overrides)
    values = recipe.spelled_out()
    emit(values, as_yaml(values).rstrip(), as_json)


@recipes.command("diff")
@click.argument("first", metavar="NAME|PATH")
@click.argument("second", metavar="NAME|PATH")
@json_option
def recipes_diff(first: str, second: str, as_json: bool) -> None:
    """Print the keys in which two recipes (shipped, or YAML files) differ, with both values.

    As JSON: the two values by key, null where a recipe does not have the key.
    """
    from nofrost.config import load_recipe
    from nofrost.config.base import dotted

    left, right = (dict(dotted(load_recipe(name).as_json())) for name in (first, second))
    differing = {key: [left.get(key), right.get(key)] for key in {**left, **right} if left.get(key) != right.get(key)}
    rows = [(key, *map(_format_value, values)) for key, values in differing.items()]
    text = aligned([("key", first, second), *rows]) if rows else f"{first} and {second} are the same"
    emit(differing, text, as_json)


def _format_value(value: object) -> str:
    return "-" if value is None else value if isinstance(value, str) else json.dumps(value)
