"""The report stage: everything that a study measured, as one page and as numbers for other programs."""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from nofrost.config import Study
from nofrost.errors import printable
from nofrost.files import write_json, write_text
from nofrost.report.collect import FILES, collect
from nofrost.report.facts import facts_of
from nofrost.report.render import to_html, to_markdown
from nofrost.report.runs import Collected, Run
from nofrost.report.sections import build
from nofrost.results import CorruptionAccuracy, Epoch, OodMetrics, Record, write_result
from nofrost.stage import RECORD, stage_output
from nofrost.telemetry import progress
from nofrost.telemetry.metrics import push_facts
from nofrost.telemetry.metrics.exposition import exposed

LIBRARIES = ("jinja2", "matplotlib", "numpy", "pillow", "scipy")
EPOCH_COLUMNS = tuple(Epoch.model_fields)


def run(
    dataset: Path, augmentation: Path | None, runs: Path, study: Study, out: Path, gate: Path | None = None
) -> dict[str, Any]:
    """Write the report of a study to the folder `out`.

    ``report.html`` is one file that needs no network; ``report.md`` holds the same tables; ``metrics.json`` the
    accuracies for ``dvc metrics``; ``plots/*.csv`` the curves for ``dvc plots``; ``record.json`` how it was made.
    The same inputs give the same bytes. The accuracies and alarms are also pushed where NOFROST_PUSHGATEWAY says so.

    Args:
        dataset: output of the prepare stage.
        augmentation: output of the augment stage; None leaves its section out.
        runs: folder that holds ``<recipe>/seed-<seed>/{train,evaluate-adversarial,evaluate-ood}`` for every run.
        study: the study that was run.
        out: the folder to make; an earlier one is replaced when the new one is complete.
        gate: file in which a gate wrote its decision on these runs; None leaves its section out.

    Returns:
        What ``metrics.json`` holds.

    Raises:
        UserError: a run is missing, a file is damaged, or a run or the decision of the gate belongs to another
            study.
    """
    collected = collect(dataset, augmentation, runs, study, gate)
    numbers = metrics(collected)
    inputs = [run.folder / stage for run in collected.runs for stage in FILES]
    inputs += [dataset, *(path for path in (augmentation, gate) if path)]
    fingerprint = {"study": study.as_json(), "inputs": collected.inputs}
    output = stage_output(out, stage="report", inputs=inputs, fingerprint=fingerprint)
    with exposed("report"), output as folder:
        with progress("report", total=4) as bar:
            document = build(collected)
            bar.advance(note="figures and tables")
            write_text(folder / "report.html", to_html(document))
            bar.advance(note="report.html")
            write_text(folder / "report.md", to_markdown(document))
            bar.advance(note="report.md")
            write_plots(folder / "plots", collected)
            write_json(folder / "metrics.json", numbers)
            bar.advance(note="numbers")
        record = Record.of("report", config=study.as_json(), inputs=collected.inputs, seeds={}, libraries=LIBRARIES)
        write_result(folder / RECORD, record)
    push_facts(facts_of(collected), study=study.name, task="report")
    return numbers


def metrics(collected: Collected) -> dict[str, Any]:
    """Return the accuracies (shares in [0, 1]) and alarms of every run, by recipe and seed."""
    runs: dict[str, dict[str, Any]] = {}
    for run in collected.runs:
        runs.setdefault(run.recipe, {})[f"seed-{run.seed}"] = _run_metrics(run, collected.conditions)
    return {"study": collected.study.name, "samples": collected.first.adversarial.samples, "runs": runs}


def _run_metrics(run: Run, conditions: Sequence[str]) -> dict[str, Any]:
    accuracies: dict[str, Any] = {name: run.adversarial.accuracy[name].accuracy for name in conditions}
    statuses = [alarm.status for alarm in run.adversarial.alarms]
    alarms = {"warn": statuses.count("warn"), "fail": statuses.count("fail")}
    return {**accuracies, **_ood_metrics(run.ood), "alarms": alarms}


def _ood_metrics(ood: OodMetrics) -> dict[str, float]:
    """Return the measures out of distribution that there are: accuracies, corruption and calibration errors, AUROC."""
    numbers = {"ood": ood.mean.mean_accuracy} if ood.mean else {}
    numbers |= {f"test-sets/{name}": each.accuracy for name, each in ood.test_sets.items()}
    numbers |= {f"test-sets/{name}": each.mean_accuracy for name, each in ood.corrupted_sets.items()}
    errors = {"mce": ood.corruption_error} | {
        f"mce/{name}": each.corruption_error for name, each in ood.corrupted_sets.items()
    }
    numbers |= {name: error.mce for name, error in errors.items() if error}
    numbers |= {f"auroc/{name}": each.max_softmax.auroc for name, each in ood.outlier_sets.items()}
    numbers["calibration-error"] = ood.clean.calibration.error
    if ood.corrupted_calibration:
        numbers["ood-calibration-error"] = ood.corrupted_calibration.error
    return numbers


def write_plots(folder: Path, collected: Collected) -> None:
    """Write ``curves.csv``, ``steps.csv``, ``budget.csv``, ``corruptions.csv`` and ``reliability.csv`` into `folder`.

    A file is written even if the study did not measure its curve; it then contains only the header.
    """
    runs = list(collected.runs)
    curves = (
        (run.recipe, run.seed, run.name, *(getattr(epoch, name) for name in EPOCH_COLUMNS))
        for run in runs
        for epoch in run.curves
    )
    steps = (
        (run.name, point.steps, point.accuracy, point.low, point.high)
        for run in runs
        if run.adversarial.steps_curve
        for point in run.adversarial.steps_curve.points
    )
    budget = (
        (run.name, point.eps, point.value, point.accuracy, point.low, point.high)
        for run in runs
        if run.adversarial.budget_curve
        for point in run.adversarial.budget_curve.points
    )
    corruptions = (
        (run.name, test_set, name, point.severity, point.accuracy, point.low, point.high)
        for run in runs
        for test_set, measured in _corruptions(run.ood)
        for name, corruption in measured.items()
        for point in corruption.severities
    )
    reliability = (
        (run.name, images, each.count, each.confidence, each.accuracy)
        for run in runs
        for images, calibration in (("clean", run.ood.clean.calibration), ("corrupted", run.ood.corrupted_calibration))
        for each in (calibration.bins if calibration else ())
    )
    _write(folder / "curves.csv", ("recipe", "seed", "run", *EPOCH_COLUMNS), curves)
    _write(folder / "steps.csv", ("run", "steps", "accuracy", "low", "high"), steps)
    _write(folder / "budget.csv", ("run", "eps", "value", "accuracy", "low", "high"), budget)
    _write(
        folder / "corruptions.csv",
        ("run", "test_set", "corruption", "severity", "accuracy", "low", "high"),
        corruptions,
    )
    _write(folder / "reliability.csv", ("run", "images", "count", "confidence", "accuracy"), reliability)


def _corruptions(ood: OodMetrics) -> Iterator[tuple[str, dict[str, CorruptionAccuracy]]]:
    """Yield the corruptions of the suite, whose test set has no name, and those of test sets."""
    yield "", ood.corruptions
    for name, test_set in ood.corrupted_sets.items():
        yield name, test_set.corruptions


def _write(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    write_text(path, printable(buffer.getvalue(), keep="\n"))
