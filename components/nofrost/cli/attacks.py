"""`nofrost attacks`: what suites and recipes can name."""

from __future__ import annotations

import json

import click


@click.group()
def attacks() -> None:
    """List the attacks that suites and recipes can name."""


@attacks.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def attacks_list(as_json: bool) -> None:
    """Print the name of every attack with its settings and their defaults."""
    from nofrost.attacks import attack_settings, list_attacks

    known = {name: attack_settings(name) for name in list_attacks()}
    lines = [f"{name:16} " + ", ".join(f"{key}={value}" for key, value in known[name].items()) for name in known]
    click.echo(json.dumps(known, indent=2) if as_json else "\n".join(lines))
