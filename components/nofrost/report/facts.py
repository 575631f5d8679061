"""What a report says in numbers, for Prometheus: the accuracies and alarms of every run of the study."""

from collections.abc import Iterator

from nofrost.report.runs import AttackedRun, Collected, ShiftedRun
from nofrost.results import STATUSES
from nofrost.telemetry.metrics import Fact
from nofrost.telemetry.metrics.table import STUDY_ACCURACY, STUDY_ALARMS, STUDY_OOD_ACCURACY

MEAN = "mean"


def facts_of(collected: Collected) -> list[Fact]:
    """Return the facts of all runs."""
    attacked = ((each.suite_id, run) for each in collected.attacked for run in each.runs)
    shifted = ((each.suite_id, run) for each in collected.shifted for run in each.runs)
    return [
        *(fact for suite, run in attacked for fact in _facts_under_attack(run, suite)),
        *(fact for suite, run in shifted for fact in _facts_under_shift(run, suite)),
    ]


def _facts_under_attack(run: AttackedRun, suite: str) -> Iterator[Fact]:
    of_run = {"recipe": run.recipe, "seed": str(run.seed), "suite": suite}
    threat = run.adversarial.threat
    for condition, proportion in run.adversarial.accuracy.items():
        labels = {**of_run, "condition": condition, "norm": threat.norm, "eps": str(threat.eps)}
        yield STUDY_ACCURACY.fact(proportion.accuracy, **labels)
    for alarm in run.adversarial.alarms:
        for status in STATUSES:
            yield STUDY_ALARMS.fact(float(alarm.status == status), **of_run, alarm=alarm.name, status=status)


def _facts_under_shift(run: ShiftedRun, suite: str) -> Iterator[Fact]:
    of_run = {"recipe": run.recipe, "seed": str(run.seed), "suite": suite}
    if run.ood.mean:
        yield STUDY_OOD_ACCURACY.fact(run.ood.mean.mean_accuracy, **of_run, corruption=MEAN)
    for name, corruption in run.ood.corruptions.items():
        yield STUDY_OOD_ACCURACY.fact(corruption.mean_accuracy, **of_run, corruption=name)
