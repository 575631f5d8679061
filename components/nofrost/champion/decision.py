"""The decision of the gate: the best run of a study takes the champion's place only if every criterion is met."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from nofrost.champion.comparison import compare_calibration, compare_flags, compare_ood
from nofrost.champion.evaluations import Evaluations, Unfinished, other_images
from nofrost.config import GateSpec
from nofrost.results import Comparison, Criterion, CriterionName, GateMetrics, PassedOver

Model = Evaluations | Unfinished


def decide(study: str, policy: GateSpec, runs: Sequence[Model], champion: Model | None) -> GateMetrics:
    """Return what the gate decides about the runs of a study.

    The challenger is the run with the highest worst-case accuracy (then clean accuracy, then the first) whose
    evaluations are finished and that failed no alarm. As it is chosen on the images that test it, the level of each
    test is shared out over those runs (Bonferroni).

    Args:
        study: its name.
        runs: all runs of the study, at least one.
        champion: None if there is none yet.
    """
    passed_over = [PassedOver(run=run.contender.name, reason=reason) for run in runs if (reason := _objection(run))]
    eligible = [run for run in runs if isinstance(run, Evaluations) and not run.failed_alarms]
    finished = [run for run in runs if isinstance(run, Evaluations)]
    challenger: Model = max(eligible or finished, key=_rank) if finished else runs[0]
    count = max(1, len(eligible))
    criteria = tuple(_criteria(policy, challenger, champion, 1 - (1 - policy.confidence) / count))
    is_better = all(criterion.met for criterion in criteria)
    protocol = challenger.adversarial_record.protocol if isinstance(challenger, Evaluations) else None
    return GateMetrics(
        study=study,
        decision="promote" if is_better else "keep",
        reason=_summary(challenger, champion, criteria),
        policy=policy,
        challenger=challenger.contender,
        champion=champion.contender if champion else None,
        runs=count,
        passed_over=tuple(passed_over) if eligible else (),
        criteria=criteria,
        data_sha256=protocol.data_sha256 if protocol else "",
        indices_sha256=protocol.indices_sha256 if protocol else "",
    )


def _objection(run: Model) -> str:
    if isinstance(run, Unfinished):
        return run.reason
    return f"it failed {', '.join(run.failed_alarms)}" if run.failed_alarms else ""


def _rank(run: Evaluations) -> tuple[int, int]:
    return int(run.worst_case.sum()), int(run.clean.sum())


def _criteria(policy: GateSpec, challenger: Model, champion: Model | None, confidence: float) -> Iterator[Criterion]:
    """Yield the criteria up to the first without which the next ones mean nothing."""
    unfinished = next((model for model in (challenger, champion) if isinstance(model, Unfinished)), None)
    yield _criterion("evaluations", unfinished.reason if unfinished else "", "All evaluations are finished.")
    if isinstance(challenger, Unfinished):
        return
    failed = challenger.failed_alarms
    checks = len(challenger.adversarial.alarms)
    passed = f"None of {checks} checks for gradient masking failed." if checks else "The suite checks for no alarm."
    yield _criterion("alarms", f"The checks {', '.join(failed)} failed." if failed else "", passed)
    if champion is None or isinstance(champion, Unfinished):
        return
    difference = other_images(challenger, champion)
    wrong = f"Challenger and champion cannot be compared: {difference} is not the same." if difference else ""
    images = f"Both were evaluated on the same {challenger.adversarial.samples:,} test images."
    yield _criterion("images", wrong, images)
    if difference:
        return
    yield _gain(policy.gain, compare_flags(challenger.worst_case, champion.worst_case, confidence))
    margins = policy.margins
    if margins.clean is not None:
        yield _loss("clean", margins.clean, compare_flags(challenger.clean, champion.clean, confidence))
    # Both have the same suites, so that both or neither has an evaluation out of distribution, and corruptions.
    one, other = challenger.ood, champion.ood
    if one is None or other is None:
        return
    if margins.ood is not None:
        if one.corrupted is None or other.corrupted is None:
            yield _criterion("ood", "", "The suite has no corruptions, so there is no mean over them to compare.")
        else:
            yield _loss("ood", margins.ood, compare_ood(one.corrupted, other.corrupted, confidence))
    if margins.calibration is not None:
        yield _loss("calibration", margins.calibration, compare_calibration(one, other, confidence))


def _criterion(name: CriterionName, objection: str, reason: str) -> Criterion:
    return Criterion(name=name, met=not objection, margin=None, comparison=None, reason=objection or reason)


def _gain(gain: float, comparison: Comparison) -> Criterion:
    """Return whether the worst-case accuracy has risen by more than `gain`, beyond chance."""
    chance = 1 - comparison.confidence
    assert comparison.p_value is not None
    met = comparison.difference > gain and comparison.low > gain and comparison.p_value < chance
    wanted = "above 0" if gain == 0 else f"above {_points(gain)} points"
    reason = f"{wanted} beyond chance" if met else f"it has to be {wanted} beyond chance"
    return Criterion(name="worst-case", met=met, margin=gain, comparison=comparison, reason=reason)


def _loss(name: CriterionName, margin: float, comparison: Comparison) -> Criterion:
    """Return whether it is beyond doubt that the challenger is worse by no more than `margin`."""
    met = (comparison.high if name == "calibration" else -comparison.low) <= margin
    loss = f"a loss of more than {_points(margin)} points is"
    if met:
        reason = f"{loss} ruled out"
    elif (comparison.low if name == "calibration" else -comparison.high) > margin:
        reason = f"only {_points(margin)} points of loss are allowed"
    else:
        reason = f"{loss} not ruled out with {comparison.images:,} images"
    return Criterion(name=name, met=met, margin=margin, comparison=comparison, reason=reason)


def _points(share: float) -> str:
    return f"{100 * share:g}"


def _weights(model: Model | None) -> dict[str, str]:
    """Return the checksums of what a model was evaluated with; none if it was not."""
    return model.adversarial_record.inputs if isinstance(model, Evaluations) else {}


def _summary(challenger: Model, champion: Model | None, criteria: Sequence[Criterion]) -> str:
    unmet = [criterion.name for criterion in criteria if not criterion.met]
    name = challenger.contender.name
    if unmet and _weights(challenger) and _weights(challenger) == _weights(champion):
        return f"{name} is the champion itself: it has the same weights."
    if not unmet:
        return f"{name} meets every criterion{'' if champion else ', and there is no champion yet'}."
    return f"{name} does not meet {len(unmet)} of {len(criteria)} criteria: {', '.join(unmet)}."
