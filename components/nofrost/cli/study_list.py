"""`nofrost study list`: the shipped studies, and what all of them cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from nofrost.cli.options import aligned, emit, json_option, not_empty

if TYPE_CHECKING:
    from nofrost.config import Study
    from nofrost.study_cost import StudyCost


@click.command("list")
@click.option("--paper", metavar="KEY", help="Only those with recipes of this paper; `nofrost papers` lists the keys.")
@click.option(
    "--size",
    metavar="SIZE",
    callback=not_empty,
    help="Only those with this size, such as small, and what each costs at it, measured here: seconds for each study, "
    "minutes for the largest of the size paper.",
)
@json_option
def study_list(paper: str | None, size: str | None, as_json: bool) -> None:
    """Print the shipped studies: title, sizes, trainings, sources of images, papers of the recipes.

    Trainings and sources are those of the size; without one, of the paper's. With a size there are also minutes on
    this machine, one training after the other, and hours on a GPU that does 20 TFLOP/s; `nofrost study plan NAME` shows
    where they come from, recipe by recipe. A dash: it is not known before the images are prepared.

    Example: nofrost study list --paper xie2020 --size small
    """
    from nofrost.config import find_paper, load_study, shipped_names, study_sizes
    from nofrost.errors import unknown

    reference = find_paper(paper).reference if paper else ""
    sizes = {name: study_sizes(name) for name in shipped_names("study")}
    if size is not None and size not in (known := set().union(*sizes.values())):
        raise unknown("size", size, known)
    studies = {name: load_study(name, size=size) for name in sizes if size is None or size in sizes[name]}
    papers = {name: references(study) for name, study in studies.items()}
    listed = {name: study for name, study in studies.items() if reference in papers[name]}
    costs = _costs(listed) if size else {}
    values: dict[str, dict[str, Any]] = {
        name: {
            "title": study.title,
            "note": study.note,
            "printed": study.printed,
            "sizes": sizes[name],
            "trainings": len(study.runs.recipe) * len(study.runs.seed),
            "sources": sorted({study.dataset.source, *(each.source for each in study.datasets.values())}),
            "papers": papers[name],
            **(_totals(costs[name]) if size else {}),
        }
        for name, study in listed.items()
    }
    rows = [
        (
            name,
            study.title,
            ", ".join(sizes[name]),
            f"{values[name]['trainings']} trainings",
            *(_texts(costs[name]) if size else ()),
            ", ".join(values[name]["sources"]),
            values[name]["papers"],
        )
        for name, study in listed.items()
    ]
    emit(values, aligned(rows), as_json)


def references(study: Study) -> str:
    """Return the papers of the recipes of a study."""
    from nofrost.config import load_papers, paper_of

    keys = {paper_of(recipe.citation) for recipe in study.recipes.values()}
    return ", ".join(paper.reference for key, paper in load_papers().items() if key in keys)


def _costs(studies: dict[str, Study]) -> dict[str, StudyCost | None]:
    """Return what studies cost; None where the number of images is not known before they are prepared."""
    from nofrost.errors import UserError
    from nofrost.study_cost import Speeds, study_cost
    from nofrost.telemetry import progress

    costs: dict[str, StudyCost | None] = {}
    speeds: Speeds = {}
    with progress("cost of studies", total=len(studies)) as bar:
        for name, study in studies.items():
            try:
                costs[name] = study_cost(study, speeds=speeds)
            except UserError:
                costs[name] = None
            bar.advance()
    return costs


def _totals(cost: StudyCost | None) -> dict[str, float | None]:
    return {"minutes": cost.minutes if cost else None, "gpu_hours": cost.gpu_hours if cost else None}


def _texts(cost: StudyCost | None) -> tuple[str, str]:
    return (f"{cost.minutes:.1f} min here", f"{cost.gpu_hours:.2g} GPU h") if cost else ("-", "-")
