"""`nofrost recipes`: how the papers' models are trained."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click

from nofrost.cli.options import common
from nofrost.cli.table import aligned

if TYPE_CHECKING:
    from nofrost.config import Recipe

COLUMNS = ("recipe", "model", "objective", "threat", "schedule", "citation")


@click.group()
def recipes() -> None:
    """List the recipes that are shipped, show one in full, or show in what two differ."""


@recipes.command("list")
@click.option("--paper", metavar="KEY", help="Only those of this paper; `nofrost papers` lists the keys.")
@click.option("--objectives", is_flag=True, help="Print the objectives that recipes can name, with their settings.")
@click.option("--markdown", is_flag=True, help="Print as a table in Markdown.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def recipes_list(paper: str | None, objectives: bool, markdown: bool, as_json: bool) -> None:
    """Print every shipped recipe (model, objective, threat, length, citation), or the objectives there are."""
    if objectives:
        from nofrost.train.objectives import list_objectives, objective_settings

        known = {name: objective_settings(name) for name in list_objectives()}
        lines = [f"{name:12} " + ", ".join(f"{key}={value}" for key, value in known[name].items()) for name in known]
        click.echo(json.dumps(known, indent=2) if as_json else "\n".join(lines))
        return
    from nofrost.config import cite

    rows = list(_rows(paper))
    if as_json:
        click.echo(json.dumps([dict(zip(COLUMNS, row, strict=True)) for row in rows], indent=2, ensure_ascii=False))
        return
    printed = [(*row, cite(citation)) for *row, citation in rows]
    if markdown:
        click.echo("\n".join(f"| {' | '.join(row)} |" for row in (COLUMNS, ("---",) * len(COLUMNS), *printed)))
    else:
        click.echo("\n".join(aligned((COLUMNS, *printed))))


@recipes.command("show")
@click.argument("name", metavar="NAME|PATH")
@common(study=False)
def recipes_show(name: str, overrides: tuple[str, ...], as_json: bool) -> None:
    """Print a recipe (shipped, or a YAML file) with everything spelled out, each of its phases too."""
    import yaml

    from nofrost.config import load_recipe
    from nofrost.train import check_methods

    recipe = load_recipe(name, overrides)
    check_methods(recipe, name, overrides)
    values = recipe.spelled_out()
    text = yaml.safe_dump(values, sort_keys=False, width=110, allow_unicode=True)
    click.echo(json.dumps(values, indent=2) if as_json else text, nl=as_json)


@recipes.command("diff")
@click.argument("first", metavar="NAME|PATH")
@click.argument("second", metavar="NAME|PATH")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON: by key the two values.")
def recipes_diff(first: str, second: str, as_json: bool) -> None:
    """Print the keys in which two recipes (shipped, or YAML files) differ, with the value of each."""
    from nofrost.config import load_recipe

    ours, theirs = (dict(_leaves(load_recipe(name).as_json())) for name in (first, second))
    differing = {
        key: [ours.get(key), theirs.get(key)] for key in {**ours, **theirs} if ours.get(key) != theirs.get(key)
    }
    rows = [(key, *map(_shown, values)) for key, values in differing.items()]
    text = "\n".join(aligned((("key", first, second), *rows))) if rows else f"{first} and {second} are the same"
    click.echo(json.dumps(differing, indent=2) if as_json else text)


def _rows(paper: str | None) -> Iterator[tuple[str, ...]]:
    from nofrost.config import load_papers, load_recipe, recipes_of

    for key in [paper] if paper else load_papers():
        for name in recipes_of(key):
            recipe = load_recipe(name)
            model = f"{recipe.model.arch} {recipe.model.normaliser}"
            yield name, model, _objectives(recipe), _threat(recipe), _schedule(recipe), recipe.citation


def _objectives(recipe: Recipe) -> str:
    phases = recipe.in_phases().values()
    names = (p.objective.name if p.trainable == "all" else f"{p.objective.name} ({p.trainable})" for p in phases)
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


def _leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _shown(value: object) -> str:
    return "-" if value is None else value if isinstance(value, str) else json.dumps(value)
