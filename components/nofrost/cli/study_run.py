"""`nofrost study run`: studies from images to report, each in a folder of its own."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nofrost.cli.options import PATH, aligned, emit, json_option, not_empty

if TYPE_CHECKING:
    from nofrost.config import DatasetSpec, Study
    from nofrost.study_cost import Speeds
    from nofrost.study_run import Attempt, StudyFolder


@dataclass(frozen=True)
class StudyOutcome:
    """What became of a study: ``finished``, ``skipped`` or ``failed``, and why."""

    study: str
    state: str
    reason: str = ""
    minutes: float | None = None
    report: str = ""

    def as_json(self) -> dict[str, object]:
        """Return it as JSON values."""
        return vars(self)


@click.command("run")
@click.argument("names", nargs=-1, metavar="[NAME|PAPER]...")
@click.option(
    "--size",
    metavar="SIZE",
    callback=not_empty,
    help="Size of the studies: tiny, small or paper. Default: small, if it has sizes.",
)
@click.option(
    "--source",
    "sources",
    multiple=True,
    metavar="[SOURCE=]PATH",
    help="Where images lie, of all sources or of one: --source cifar10=/data/cifar --source mnist=/data/mnist. "
    "Default: data/source.",
)
@click.option("--download", is_flag=True, help="Fetch missing images to OUT/.source, of the sources that can be.")
@click.option(
    "--out", type=PATH, default=Path("papers"), show_default=True, help="Folder with a folder for each study."
)
@json_option
def study_run(
    names: tuple[str, ...], size: str | None, sources: tuple[str, ...], download: bool, out: Path, as_json: bool
) -> None:
    """Run studies one after the other, from images to report, each in a folder of its own: OUT/NAME.

    NAME is a shipped study, PAPER the key of a paper and stands for all of its studies; without either all studies of
    papers are run. Run it in the folder of the project: DVC runs the graph of dvc.yaml, while params.yaml, runs and
    report there stay as they are. Killed, the same command goes on where it was; a finished study takes seconds, and
    what two studies train alike is trained once.

    OUT/NAME/report is the report, OUT/NAME/record.json says what it took. A study without its images is skipped (exit
    code 2), one that fails is left (exit code 1), and the others go on.

    Example: nofrost study run zeise2025-table-1 galloway2019 --source cifar10=/data/cifar --source mnist=/data/mnist
    """
    from nofrost.config import load_study, study_sizes
    from nofrost.errors import UserError, reason, say
    from nofrost.files import make_folder
    from nofrost.study_run import StudyFolder, check_project, image_places
    from nofrost.system_errors import explain_write_errors
    from nofrost.tasks import check_study

    check_project(Path.cwd())
    places = _places(sources)
    studies: dict[str, Study] = {}
    origins: dict[str, str] = {}
    for origin in _studies(names):
        used = size or ("small" if study_sizes(origin) else None)
        study = load_study(origin, size=used)
        if download and (overrides := _downloads(study)):
            study = load_study(origin, overrides, used)
        if (other := origins.setdefault(study.name, origin)) != origin:
            raise UserError(
                f"{other} and {origin} are both studies of the name {study.name}, and would be run in one folder: "
                "change `name:` in one of them, or run it alone with another --out"
            )
        studies[study.name] = check_study(study, origin)
    _check_use(places, list(studies.values()))
    with explain_write_errors(out):
        make_folder(out)
    folders = []
    for name, study in studies.items():
        images = image_places(study, places, out / ".source" if download else None)
        folders.append(StudyFolder(out / name, study, Path.cwd(), images))
    speeds: Speeds = {}
    minutes = {folder.study.name: _planned_minutes(folder, speeds) for folder in folders}
    began = time.monotonic()
    outcomes = []
    for number, folder in enumerate(folders, 1):
        name = folder.study.name
        to_come = sum(minutes[later.study.name] for later in folders[number - 1 :])
        so_far = (time.monotonic() - began) / 60
        say(
            f"study {number} of {len(folders)}, {name}: about {minutes[name]:.0f} minutes, as fast as this "
            f"machine is now; {so_far:.0f} minutes so far, about {to_come:.0f} to come"
        )
        try:
            outcomes.append(_run(folder))
        except (UserError, OSError) as error:
            why = str(error) if isinstance(error, UserError) else reason(error)
            outcomes.append(StudyOutcome(name, "failed", why))
        if outcomes[-1].reason:
            say(f"{name} {outcomes[-1].state}: {outcomes[-1].reason}", "error")
    rows = [
        (each.study, each.state, "" if each.minutes is None else f"{each.minutes:.1f} min", each.reason or each.report)
        for each in outcomes
    ]
    emit(outcomes, aligned(rows), as_json)
    states = {each.state for each in outcomes}
    sys.exit(1 if "failed" in states else 2 if "skipped" in states else 0)


def _studies(names: tuple[str, ...]) -> list[str]:
    """Return the studies that the arguments name, each once."""
    from nofrost.config import load_papers, shipped_names

    of_papers = [name for name in shipped_names("study") if name.partition("-")[0] in load_papers()]
    found = []
    for name in names or of_papers:
        is_paper = name in load_papers()
        found += [study for study in of_papers if study.partition("-")[0] == name] if is_paper else [name]
    return list(dict.fromkeys(found))


def _places(sources: tuple[str, ...]) -> dict[str, Path]:
    """Return where images lie by source; those of all others under the empty name."""
    from nofrost.errors import UserError, unknown
    from nofrost.prepare import list_sources

    places = {}
    for text in sources:
        name, equals, path = text.partition("=")
        if not equals or name not in list_sources():
            # A path may have an equals sign in it.
            if equals and "/" not in name and not Path(text).exists():
                raise unknown("source", name, list_sources())
            name, path = "", text
        if not path or name in places:
            raise UserError(f"--source {text}: give one path for a source, such as cifar10=/data/cifar")
        places[name] = Path(path)
    return places


def _check_use(places: dict[str, Path], studies: list[Study]) -> None:
    """Check that each source that has a place is in one of the studies."""
    from nofrost.errors import UserError
    from nofrost.study_run import sources_of

    used = set().union(*map(sources_of, studies))
    for name, place in places.items():
        if name and name not in used:
            raise UserError(
                f"--source {name}={place}: none of the chosen studies reads images of {name} at its size: leave it out"
            )


def _downloads(study: Study) -> list[str]:
    """Return the settings that let all sources be fetched which can be."""
    specs = {"dataset": study.dataset, **{f"datasets.{name}": spec for name, spec in study.datasets.items()}}
    return [f"{key}.download=true" for key, spec in specs.items() if "download" in _keys(spec)]


def _keys(dataset: DatasetSpec) -> set[str]:
    from nofrost.prepare import resolve_source

    return set(type(resolve_source(dataset)).model_fields)


def _planned_minutes(folder: StudyFolder, speeds: Speeds) -> float:
    """Return what a study takes by `nofrost study plan`; 0 where it is finished, or cannot be run.

    Args:
        speeds: of networks that studies have in common; those that are measured here are added.
    """
    from nofrost.errors import UserError
    from nofrost.study_cost import study_cost

    try:
        if ((record := folder.record()) and record.finished) or folder.absent():
            return 0.0
        return study_cost(folder.study, speeds=speeds).minutes
    except UserError:  # the number of images is not known before they are prepared
        return 0.0


def _run(folder: StudyFolder) -> StudyOutcome:
    from nofrost.errors import UserError, remark
    from nofrost.study_run import dvc_repro
    from nofrost.system_errors import explain_write_errors

    name = folder.study.name
    if absent := folder.absent():
        return StudyOutcome(name, "skipped", f"{'; '.join(absent)}: name the folder with --source SOURCE=PATH")
    with explain_write_errors(folder.path):
        folder.set_up()
        killed = folder.begin()
    codes = []

    def end(attempt: Attempt) -> None:
        try:
            with explain_write_errors(folder.path):
                folder.end(attempt, killed)
        except UserError as error:
            # A request to stop goes before it.
            if attempt.exit_code is not None:
                raise
            remark(str(error))
        codes.append(attempt.exit_code)

    dvc_repro(folder.path, echo=_echo, done=end)
    if codes != [0]:
        return StudyOutcome(
            name, "failed", f"the line with ERROR above says where; `dvc repro` in {folder.path} goes on"
        )
    record = folder.record()
    return StudyOutcome(
        name, "finished", "", record.wall_minutes if record else None, str(folder.report / "report.html")
    )


def _echo(line: str) -> None:
    # Results stand alone on standard output.
    click.echo(line, err=True)
