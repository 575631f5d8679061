"""The exact configuration, versions and checksums behind the numbers."""

from collections.abc import Callable
from importlib.metadata import version

from nofrost.config import study_as_yaml
from nofrost.report import cells, text
from nofrost.report.document import Cell, Code, Column, Facts, Paragraph, Section, Table
from nofrost.report.runs import Attacked, Collected
from nofrost.report.sections.overview import CHECKSUM
from nofrost.results import Protocol


def _batch_size(protocol: Protocol) -> str:
    reduced = [f"{size} for {measurement}" for measurement, size in protocol.reduced_batch_sizes.items()]
    if not reduced:
        return str(protocol.batch_size)
    return f"{protocol.batch_size}, reduced because memory ran out to {text.listed(reduced)}"


_PROTOCOL_ROWS: tuple[tuple[str, Callable[[Protocol], str]], ...] = (
    ("suite", lambda protocol: f"{protocol.suite} (SHA-256 {text.short(protocol.suite_sha256)})"),
    ("images", lambda protocol: f"{text.count(protocol.samples)} (indices {text.short(protocol.indices_sha256)})"),
    ("view", lambda protocol: text.view(protocol.view)),
    ("dataset", lambda protocol: f"SHA-256 {text.short(protocol.data_sha256)}"),
    ("seeds", lambda protocol: ", ".join(f"{name} {seed}" for name, seed in protocol.seeds.items())),
    ("batch size", _batch_size),
    ("numbers", lambda protocol: f"{protocol.dtype}, TF32 {_on(protocol.tf32)}, autocast {_on(protocol.autocast)}"),
    ("algorithms", lambda protocol: "deterministic" if protocol.deterministic else "chosen by timing"),
    ("devices", lambda protocol: ", ".join(protocol.devices)),
    ("versions", lambda protocol: ", ".join(f"{name} {number}" for name, number in protocol.versions.items())),
)


def configuration(collected: Collected) -> Section:
    """Return the study as one file of YAML."""
    introduction = Paragraph(
        "Everything that decides the numbers above. Saved as a file, it runs the study again. A setting of an attack "
        "or augmentation method that is not listed has the default of that method."
    )
    code = Code(f"Study {collected.study.name} in full", study_as_yaml(collected.study))
    return Section("configuration", "Configuration", "Configuration", [introduction, code])


def origin(collected: Collected) -> Section:
    """Return versions and checksums."""
    runs = [(recipe, run) for recipe in collected.recipes for run in recipe.runs]
    indices = _indices(collected)
    libraries = list(dict.fromkeys(name for _, run in runs for name in run.record.libraries))
    rows = [
        [
            cells.run_cell(recipe, run),
            Cell(run.record.nofrost),
            *(Cell(run.record.libraries.get(name, "")) for name in libraries),
            *(_checksum(of_runs.get(run.name, "")) for of_runs in indices.values()),
            _checksum(collected.inputs[f"runs/{run.name}"]),
        ]
        for recipe, run in runs
    ]
    columns = [
        Column("run", text=True),
        Column("nofrost", "versions at training", text=True),
        *(Column(name, "versions at training", text=True) for name in libraries),
        *(Column(title, "SHA-256", text=True) for title in indices),
        Column("result files", "SHA-256", text=True),
    ]
    caption = (
        "Versions at training, and the first digits of the checksums of the test images' indices (in full in "
        "metrics.json of each run) and of the files this report was made from (in full in record.json beside it)."
    )
    of_suites = [f"attacks{each.suffix} {each.suite.seed}" for each in collected.attacked]
    of_suites += [f"corruptions{each.suffix} {each.suite.seed}" for each in collected.shifted]
    of_further = "".join(f"dataset {name} {spec.seed}, " for name, spec in collected.study.datasets.items())
    seeds = (
        f"dataset {collected.study.dataset.seed}, {of_further}augmentation {collected.study.augmentation.seed}, "
        f"training {text.listed(collected.study.runs.seed)}, {', '.join(of_suites)}"
    )
    sets = [(f"SHA-256 of {name}", value) for name, value in collected.inputs.items() if not name.startswith("runs/")]
    sources = [
        (f"SHA-256 of source {key}{f' of {part.manifest.name}' if collected.parts else ''}", value)
        for part in collected.by_dataset
        for key, value in _checksums(part)
    ]
    facts = Facts([("Report made by", f"nofrost {version('nofrost')}"), ("Seeds", seeds), *sets, *sources])
    return Section(
        "record", "Record", "Record", [facts, Table(caption, columns, rows), *map(_protocol, collected.attacked)]
    )


def _checksums(collected: Collected) -> list[tuple[str, str]]:
    """Return the checksums of what the dataset was prepared from."""
    provenance = collected.manifest.provenance
    return [(key, value.removeprefix(CHECKSUM)) for key, value in provenance.items() if value.startswith(CHECKSUM)]


def _indices(collected: Collected) -> dict[str, dict[str, str]]:
    """Return the checksums of the images' indices by title of their column and name of the run."""
    attacked = {
        f"attacked images{each.suffix}": {run.name: run.adversarial.indices_sha256 for run in each.runs}
        for each in collected.attacked
    }
    shifted = {
        f"corrupted images{each.suffix}": {run.name: run.ood.indices_sha256 for run in each.runs}
        for each in collected.shifted
    }
    return attacked | shifted


def _protocol(attacked: Attacked) -> Table:
    """Return how the attacks were computed."""
    rows = [
        [Cell(title), Cell(_common([(run.name, words(run.protocol)) for run in attacked.runs]))]
        for title, words in _PROTOCOL_ROWS
    ]
    caption = (
        f"How the adversarial evaluations of {attacked.manifest.name} were computed: the protocol record of each run "
        "(record.json), in one line where all runs agree."
    )
    return Table(caption, [Column("protocol", text=True), Column("value", text=True)], rows, attacked.heading)


def _common(values: list[tuple[str, str]]) -> str:
    """Return the value that all runs share, or those of each run."""
    distinct = dict.fromkeys(value for _, value in values)
    if len(distinct) == 1:
        return values[0][1]
    return "; ".join(f"{value} ({', '.join(name for name, other in values if other == value)})" for value in distinct)


def _on(value: bool) -> str:
    return "on" if value else "off"


def _checksum(value: str) -> Cell:
    return Cell(text.short(value), hint=value)
