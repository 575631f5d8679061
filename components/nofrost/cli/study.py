"""`nofrost study`: the studies that are shipped, and the active one."""

from __future__ import annotations

import json
from pathlib import Path

import click

from nofrost.cli.options import FOLDER, common, emit, json_option, print_result


@click.group()
def study() -> None:
    """List the studies that are shipped, show one in full, or make one the active study."""


@click.command()
@json_option
def papers(as_json: bool) -> None:
    """Print the papers whose methods are here: key, authors, title, venue, year, link, and what each shows.

    Recipes and suites are named by these keys: `nofrost recipes list --paper wang2022`.
    """
    import textwrap

    from nofrost.config import load_papers

    entries = []
    for key, paper in load_papers().items():
        lines = [", ".join(paper.authors), paper.title, f"{paper.venue} {paper.year}, {paper.link}"]
        body = [*lines, *textwrap.wrap(paper.summary, 96)]
        entries.append("\n".join([f"{key}: {paper.reference}", *(f"    {line}" for line in body)]))
    listed = [{"key": key, "reference": paper.reference, **paper.as_json()} for key, paper in load_papers().items()]
    emit(listed, "\n\n".join(entries), as_json)


@study.command("list")
@json_option
def study_list(as_json: bool) -> None:
    """Print the name and title of every shipped study."""
    from nofrost.config import load_study, shipped_names

    titles = {name: load_study(name).title for name in shipped_names("study")}
    click.echo(
        json.dumps(titles, indent=2) if as_json else "\n".join(f"{name:12} {title}" for name, title in titles.items())
    )


@study.command("show")
@click.argument("name")
@common(study=False)
def study_show(name: str, overrides: tuple[str, ...], as_json: bool) -> None:
    """Print the study NAME (shipped, or a YAML file) with everything spelled out."""
    from nofrost.config import load_study, study_as_yaml
    from nofrost.tasks import check_study

    loaded = check_study(load_study(name, overrides), name, overrides)
    click.echo(json.dumps(loaded.as_json(), indent=2) if as_json else study_as_yaml(loaded), nl=as_json)


@study.command("select")
@click.argument("name")
@common(study=False)
@click.option("--out", type=FOLDER, default=Path("params.yaml"), show_default=True, help="File to write.")
def study_select(name: str, overrides: tuple[str, ...], as_json: bool, out: Path) -> None:
    """Make NAME (shipped, or a YAML file) the active study: write it, spelled out, to params.yaml.

    The file's earlier content is replaced; it is what DVC tracks, key by key. Then `dvc repro` runs what changed.
    """
    from nofrost.config import load_study, study_as_yaml
    from nofrost.files import explain_write_errors, write_text
    from nofrost.tasks import check_study

    loaded = check_study(load_study(name, overrides), name, overrides)
    with explain_write_errors(out):
        write_text(out, study_as_yaml(loaded))
    summary = f"study {loaded.name}, {len(loaded.runs.recipe)} recipes, {len(loaded.runs.seed)} seeds"
    print_result(loaded.as_json(), out, summary, as_json)
