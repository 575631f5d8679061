"""The tasks around the champion of a study: what a run is compared with, the gate, and the promotion."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from nofrost.champion.champion import (
    GATE_FILE,
    Challenger,
    Champion,
    StoredChampion,
    make_champion,
    read_champion,
    read_gate,
    was_rolled_back,
    write_challenger,
)
from nofrost.champion.registry import project_if_asked
from nofrost.config import Study, parse_study
from nofrost.errors import UserError, remark
from nofrost.promotion import read_candidate
from nofrost.results import Contender, GateMetrics, write_result
from nofrost.store import MissingError, Output, Store, SwapError, open_store
from nofrost.store.releases import check_complete, resolve_ref
from nofrost.tasks.ascii_text import from_ascii
from nofrost.tasks.labels import CHAMPION, PROMOTION, UNFIT
from nofrost.tasks.run_lease import take_lease_of_schedule
from nofrost.tasks.task_exit import exit_on_error
from nofrost.tasks.workspace import Workspace, workspace
from nofrost.telemetry.metrics import Fact, push_facts, table

if TYPE_CHECKING:
    from nofrost.champion.evaluations import Evaluations, Unfinished


@exit_on_error(lambda **_: "resolve")
def resolve(data_ref: str, study: str, store: str, schedule: str = "", run: str = "") -> tuple[str, str, str]:
    """Return what is newest as this run begins: the source data, and the champion that it is compared with.

    Args:
        data_ref: ref of the source data, ``latest:NAME`` for the newest release of that name, or empty.
        study: name of the study; empty if it has no gate.
        schedule: name of the schedule by which Kubeflow itself has started this run, for which it takes the lease of
            that name; empty for any other run, whose starter has taken it.
        run: id of the run.

    Returns:
        The ref of the source data, or an empty text; the champion as JSON, and its checkpoint as an output, both empty
        if there is none. A text that begins with UNFIT takes the place of a checkpoint that the store no longer holds:
        the study goes on without a comparison.

    Raises:
        UserError: there is no data of that name, or a run goes on that was submitted under the name of the schedule.
    """
    opened = open_store(store, patient=True)
    if schedule:
        take_lease_of_schedule(opened, schedule, run)
    source = str(resolve_ref(data_ref, opened)) if data_ref else ""
    stored = read_champion(study, opened) if study else None
    if stored is None:
        return source, "", ""
    champion = {"record": stored.position.record, **stored.champion.contender.as_json()}
    checkpoint = Output(f"{CHAMPION}/train", stored.champion.checkpoint.ref)
    try:
        check_complete(checkpoint.ref, opened)
    except MissingError:
        sentence = f"its checkpoint {checkpoint.ref} is no longer whole in the store"
        remark(f"the champion of study {study} cannot be compared: {sentence}")
        return source, json.dumps(champion), f"{UNFIT}{sentence}"
    return source, json.dumps(champion), str(checkpoint)


@exit_on_error(lambda **_: "gate")
def gate(
    study: str,
    adversarial: Sequence[str],
    ood: Sequence[str],
    champion: str,
    champion_evaluations: Sequence[str],
    store: str,
) -> str:
    """Decide whether the best run of the study takes the champion's place.

    Args:
        study: as YAML.
        adversarial, ood: evaluations of all runs of the study with the suites of its gate.
        champion: as :func:`resolve` returns it.
        champion_evaluations: the evaluations of the champion with these suites on the dataset of this run; empty texts
            without a champion, and for an ood suite that the study does not have.

    Returns:
        The output ``gate``.
    """
    from nofrost.champion.decision import decide
    from nofrost.champion.evaluations import Unfinished, read_evaluations

    parsed = parse_study(from_ascii(study))
    if parsed.gate is None:
        raise UserError(f"study {parsed.name} has no gate: submit it again")
    with workspace(store) as work:
        for output in (*adversarial, *ood):
            work.pull(output)
        runs = [
            read_evaluations(
                work.folder / "runs" / recipe / f"seed-{seed}", Contender(run="", recipe=recipe, seed=seed), parsed
            )
            for recipe in parsed.runs.recipe
            for seed in parsed.runs.seed
        ]
        holder: Evaluations | Unfinished | None = None
        if champion:
            contender = _contender(champion)
            unfit = next((text for text in champion_evaluations if text.startswith(UNFIT)), None)
            if unfit:
                holder = Unfinished(contender, f"The champion cannot be compared: {unfit.removeprefix(UNFIT)}.")
            else:
                holder = _champion_evaluations(work, champion_evaluations, contender, parsed)
        metrics = decide(parsed.name, parsed.gate, runs, holder)
        (work.folder / "gate").mkdir()
        write_result(work.folder / "gate" / GATE_FILE, metrics)
        return work.push("gate")


@exit_on_error(lambda **_: PROMOTION)
def promote(gate: str, champion: str, run: str, store: str) -> str:
    """Make the best run of the study its champion, if the gate has let it pass and the study leaves it to the pipeline.

    Otherwise `nofrost champion promote RUN` can still do so, by what this leaves in the store.

    Args:
        gate: output of the gate.
        champion: as :func:`resolve` returned it when the run began; another one is left in its place.
        run: id of the run, which has written its candidate.

    Returns:
        The record of the move of the pointer; empty if it was not moved.
    """
    opened = open_store(store, patient=True)
    decided, made = read_gate(Output.parse(gate), opened), read_candidate(run, opened)
    challenger, study = decided.challenger, decided.study

    def output(path: str) -> Output:
        return Output(path, made.outs[path])

    attacked, shifted = Study.model_validate(made.study).gate_suites

    successor = Champion(
        study=study,
        run=run,
        recipe=challenger.recipe,
        seed=challenger.seed,
        checkpoint=output(f"runs/{challenger.name}/train"),
        dataset=output("data/dataset"),
        adversarial=output(f"runs/{challenger.name}/evaluate-adversarial/{attacked}"),
        ood=output(f"runs/{challenger.name}/evaluate-ood/{shifted}") if shifted else None,
        gate=Output.parse(gate),
        report=output("report"),
        image=made.image,
        how="gate",
        reason=decided.reason,
    )
    expected = json.loads(champion)["record"] if champion else None
    write_challenger(Challenger(champion=successor, expected=expected), opened)
    remark(decided.reason)
    facts = _facts(decided)
    stored = None
    if decided.decision == "promote" and decided.policy.promotion == "manual":
        remark(f"the study leaves the promotion to you: nofrost champion promote {run}")
    elif decided.decision == "promote" and was_rolled_back(successor, opened):
        remark(
            f"{challenger.name} has the weights of a champion that was rolled back, and is left to you: "
            f"nofrost champion promote {run}"
        )
    elif decided.decision == "promote":
        stored = _promoted(successor, expected, opened)
    if stored:
        facts.append(table.CHAMPION_PROMOTION.fact(stored.position.moved.timestamp()))
        project_if_asked(stored, opened)
        remark(f"the champion of study {study} is now {challenger.name} of run {run}")
    push_facts(facts, study=study, task="promote")
    return stored.position.record if stored else ""


def _promoted(successor: Champion, expected: str | None, store: Store) -> StoredChampion | None:
    """Make a model the champion; None if another one was first."""
    try:
        return make_champion(successor, expected, store)
    except SwapError:
        current = read_champion(successor.study, store)
        # An earlier try of this task was killed after it had moved the pointer.
        if current and current.champion == successor:
            return current
        remark(
            f"the champion of study {successor.study} is no longer the one that {successor.contender.name} was "
            "compared with, and stays: submit the study again to compare with it"
        )
        return None


def _champion_evaluations(
    work: Workspace, outputs: Sequence[str], contender: Contender, study: Study
) -> Evaluations | Unfinished:
    from nofrost.champion.evaluations import read_evaluations

    for output in filter(None, outputs):
        work.pull(output)
    return read_evaluations(work.folder / CHAMPION, contender, study)


def _contender(champion: str) -> Contender:
    values = json.loads(champion)
    return Contender(run=values["run"], recipe=values["recipe"], seed=values["seed"])


def _facts(gate: GateMetrics) -> list[Fact]:
    """Return the decision of a gate and each of its criteria, for a Pushgateway."""
    facts = [table.GATE_DECISION.fact(float(gate.decision == "promote"))]
    for criterion in gate.criteria:
        facts.append(table.GATE_CRITERION.fact(float(criterion.met), criterion=criterion.name))
        if criterion.comparison:
            facts.append(table.GATE_DIFFERENCE.fact(criterion.comparison.difference, criterion=criterion.name))
    return facts
