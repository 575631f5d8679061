"""Check evaluations out of distribution against the study and against each other."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from nofrost.config import OodSuite
from nofrost.errors import UserError
from nofrost.report.runs import ShiftedRun
from nofrost.results import CorruptionAccuracy, OodMetrics


def check_ood(suite: OodSuite, measured: OodMetrics, folder: Path) -> None:
    """Check that an evaluation measured all that the suite names.

    Args:
        folder: output of the evaluation.

    Raises:
        UserError: it did not.
    """
    severities = suite.severities if suite.corruptions else ()
    optional = {name for name, spec in suite.test_sets.items() if spec.optional}
    required = [name for name in suite.test_sets if name not in optional or name in measured.further_sets]
    for name, actual, expected in (
        ("corruptions", _listed(measured.corruptions), _listed(suite.corruptions)),
        ("severities", _listed(_severities(measured.corruptions)), _listed(map(str, severities))),
        ("test sets", _listed(measured.further_sets), _listed(required)),
    ):
        if actual != expected:
            raise UserError(f"{folder} has {name} {actual}, the study {expected}: evaluate this run again")


def check_alike(runs: Sequence[ShiftedRun]) -> None:
    """Check that all runs were evaluated on the same test sets, and on the same corruptions and severities of each.

    Raises:
        UserError: two were not.
    """
    first = runs[0]
    for run in runs[1:]:
        if run.ood.further_sets != first.ood.further_sets:
            raise UserError(
                f"{run.evaluation} has test sets {_listed(run.ood.further_sets)}, {first.evaluation} has "
                f"{_listed(first.ood.further_sets)}: evaluate both again"
            )
        for name, measured in run.ood.corrupted_sets.items():
            if _conditions(measured.corruptions) != _conditions(first.ood.corrupted_sets[name].corruptions):
                raise UserError(
                    f"{run.evaluation} has other corruptions or severities of {name} than "
                    f"{first.evaluation}: evaluate both again"
                )


def _conditions(corruptions: Mapping[str, CorruptionAccuracy]) -> set[tuple[str, int]]:
    return {(name, point.severity) for name, each in corruptions.items() for point in each.severities}


def _severities(corruptions: Mapping[str, CorruptionAccuracy]) -> Iterable[str]:
    return (str(severity) for _, severity in _conditions(corruptions))


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(set(names))) or "none"
