"""The report stage: everything that a study measured, as one page and as numbers for other programs."""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from nofrost.config import Study
from nofrost.errors import printable
from nofrost.files import write_json, write_text
from nofrost.report.collect import collect, stages_of
from nofrost.report.facts import facts_of
from nofrost.report.highlights import HIGHLIGHTS, highlights, write_highlights
from nofrost.report.render import to_html, to_markdown
from nofrost.report.runs import Attacked, Collected, Run, Shifted
from nofrost.report.sections import build
from nofrost.report.sections.printed import comparisons
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
    accuracies for ``dvc metrics``; ``plots/*.csv`` the curves for ``dvc plots``; ``highlights.json`` what a gallery
    shows; ``record.json`` how it was made.
    The same inputs give the same bytes. The accuracies and alarms are also pushed where NOFROST_PUSHGATEWAY says so.

    Args:
        dataset: output of the prepare stage. Further datasets are beside it, in ``datasets/<name>``.
        augmentation: output of the augment stage; None leaves its section out. Those of further datasets are beside it,
            in ``augmentations/<name>``.
        runs: folder that holds ``<recipe>/seed-<seed>/train`` for every run, and beside it
            ``evaluate-adversarial/<suite>`` and ``evaluate-ood/<suite>`` for every suite.
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
    inputs = [run.folder / stage for run in collected.runs for stage in stages_of(study)]
    inputs += [path for part in collected.by_dataset for path in (part.dataset, part.augmentation) if path]
    inputs += [gate] if gate else []
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
            write_highlights(folder / HIGHLIGHTS, highlights(document, collected))
            write_json(folder / "metrics.json", numbers)
            bar.advance(note="numbers")
        record = Record.of("report", config=study.as_json(), inputs=collected.inputs, seeds={}, libraries=LIBRARIES)
        write_result(folder / RECORD, record)
    push_facts(facts_of(collected), study=study.name, task="report")
    return numbers


def metrics(collected: Collected) -> dict[str, Any]:
    """Return the accuracies (shares in [0, 1]) and alarms of every run, by recipe and seed.

    Of several suites of a kind the keys begin with kind and name of the suite, such as ``adversarial/quick/clean``.
    """
    runs: dict[str, dict[str, Any]] = {}
    for part in collected.by_dataset:
        for place, recipe in enumerate(part.recipes):
            for index, run in enumerate(recipe.runs):
                numbers: dict[str, Any] = {}
                for attacked in part.attacked:
                    accuracy = attacked.recipes[place].runs[index].adversarial.accuracy
                    numbers |= _named(attacked, {name: accuracy[name].accuracy for name in attacked.conditions})
                for shifted in part.shifted:
                    numbers |= _named(shifted, _ood_metrics(shifted.recipes[place].runs[index].ood))
                for attacked in part.attacked:
                    statuses = [alarm.status for alarm in attacked.recipes[place].runs[index].adversarial.alarms]
                    alarms = {"warn": statuses.count("warn"), "fail": statuses.count("fail")}
                    numbers |= _named(attacked, {"alarms": alarms})
                runs.setdefault(recipe.name, {})[f"seed-{run.seed}"] = numbers
    found = {"study": collected.study.name, "samples": collected.samples, "runs": runs}
    if collected.study.printed:
        found["printed"] = {each.printed.id: each.as_json() for each in comparisons(collected)}
    return found


def _named(measured: Attacked | Shifted, numbers: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a suite measured under names that tell it from the other suites of the study."""
    prefix = f"{measured.suite.kind}/{measured.suite_id}/" if measured.is_one_of_several else ""
    return {f"{prefix}{name}": number for name, number in numbers.items()}


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

    A file is written even if the study did not measure its curve; it then contains only the header. Where there are
    several suites of a kind, a name of one stands behind that of the run.
    """
    runs = list(collected.runs)
    curves = (
        (run.recipe, run.seed, run.name, *(getattr(epoch, name) for name in EPOCH_COLUMNS))
        for run in runs
        for epoch in run.curves
    )
    attacked = [(_series(run, each), run.adversarial) for each in collected.attacked for run in each.runs]
    shifted = [(_series(run, each), run.ood) for each in collected.shifted for run in each.runs]
    steps = (
        (series, point.steps, point.accuracy, point.low, point.high)
        for series, measured in attacked
        if measured.steps_curve
        for point in measured.steps_curve.points
    )
    budget = (
        (series, point.eps, point.value, point.accuracy, point.low, point.high)
        for series, measured in attacked
        if measured.budget_curve
        for point in measured.budget_curve.points
    )
    corruptions = (
        (series, test_set, name, point.severity, point.accuracy, point.low, point.high)
        for series, ood in shifted
        for test_set, measured in _corruptions(ood)
        for name, corruption in measured.items()
        for point in corruption.severities
    )
    reliability = (
        (series, images, each.count, each.confidence, each.accuracy)
        for series, ood in shifted
        for images, calibration in (("clean", ood.clean.calibration), ("corrupted", ood.corrupted_calibration))
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


def _series(run: Run, measured: Attacked | Shifted) -> str:
    """Return the name of a curve: of the run, and of the suite if there are several of its kind."""
    return f"{run.name}/{measured.suite_id}" if measured.is_one_of_several else run.name


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
