"""`nofrost champion`: show the champion of a study and those before it, promote a run by hand, and roll back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from nofrost.cli.options import aligned, emit, json_option, open_store, store_option
from nofrost.errors import UserError, printable, reason, remark
from nofrost.masking import without_secrets

if TYPE_CHECKING:
    from nofrost.champion.champion import StoredChampion
    from nofrost.results import GateMetrics
    from nofrost.store import Store

_reason_option = click.option("--reason", default="", metavar="TEXT", help="Why, for the history.")


@click.group()
def champion() -> None:
    """Show, promote and roll back the champion of a study.

    The champion is the model that the gate of the study let in last. It is a pointer in the store with a history;
    dvc.lock has no part in it.
    """


@champion.command("show")
@click.argument("study", required=False)
@store_option
@json_option
def champion_show(study: str | None, store_url: str | None, as_json: bool) -> None:
    """Print the champion of STUDY, and by which criteria it was let in; without STUDY, the champion of each study.

    Its checkpoint is a PATH@REF, which `nofrost store pull` takes.
    """
    from nofrost.champion.champion import read_champion, read_gate, studies_with_champion

    store = open_store(store_url)
    if study is None:
        champions = {name: stored for name in studies_with_champion(store) if (stored := read_champion(name, store))}
        rows = [(name, *_row(stored)[1:]) for name, stored in champions.items()]
        emit([_summary(stored) for stored in champions.values()], aligned(rows), as_json)
        if not champions:
            remark(f"no study has a champion in {store.url}")
        return
    stored = read_champion(study, store)
    if stored is None:
        raise UserError(f"study {study} has no champion in {store.url}: `nofrost champion show` lists those that have")
    gate: GateMetrics | None = None
    # The champion is shown also where `dvc gc --cloud` has deleted what its gate wrote.
    try:
        gate = read_gate(stored.champion.gate, store)
    except UserError as error:
        remark(str(error))
    lines = [f"{name}: {value}" for name, value in _summary(stored).items() if value is not None]
    lines += (
        [f"{'met' if each.met else 'not met'}  {each.name}: {each.sentence}" for each in gate.criteria] if gate else []
    )
    summary = {**_summary(stored), "gate": gate.as_json() if gate else None}
    emit(summary, "\n".join(map(printable, lines)), as_json)


@champion.command("history")
@click.argument("study")
@store_option
@json_option
def champion_history(study: str, store_url: str | None, as_json: bool) -> None:
    """Print the champion of STUDY and those before it, the newest first: record, time, run, model, how and why."""
    from nofrost.champion.champion import list_champions

    store = open_store(store_url)
    champions = list_champions(study, store)
    rows = [_row(stored) for stored in champions]
    emit([_summary(stored) for stored in champions], aligned(rows), as_json)
    if not champions:
        remark(f"study {study} has had no champion in {store.url}")


@champion.command("promote")
@click.argument("run")
@click.option("--force", is_flag=True, help="Although its gate decided against it, or saw another champion.")
@_reason_option
@store_option
@json_option
def champion_promote(run: str, force: bool, reason: str, store_url: str | None, as_json: bool) -> None:
    """Make the best model of the pipeline's RUN the champion of its study.

    For studies whose gate has `promotion: manual`, and for what a person knows better.

    Example: nofrost champion promote nofrost-digits-x7k2p --reason "approved by the safety board"
    """
    from nofrost.champion.champion import promote_by_hand

    store = open_store(store_url)
    _emit_move(promote_by_hand(run, store, force=force, reason=reason), store, as_json)


@champion.command("rollback")
@click.argument("study")
@click.option("--to", "record", metavar="RECORD", help="A record of the history. Default: the one before.")
@_reason_option
@store_option
@json_option
def champion_rollback(study: str, record: str | None, reason: str, store_url: str | None, as_json: bool) -> None:
    """Make the champion of STUDY before the present one its champion again. The history keeps both.

    After a rollback, another one goes back further.

    Example: nofrost champion rollback digits --reason "too slow in production"
    """
    from nofrost.champion.champion import rollback

    store = open_store(store_url)
    _emit_move(rollback(study, store, record, reason), store, as_json)


@champion.command("register")
@click.argument("study")
@store_option
def champion_register(study: str, store_url: str | None) -> None:
    """Make Kubeflow's Model Registry show the champion of STUDY, as each promotion does where it is asked to.

    NOFROST_MODEL_REGISTRY names the registry by its URL, KF_PIPELINES_SA_TOKEN_PATH the file of a token for it.

    Example: NOFROST_MODEL_REGISTRY=http://localhost:8080 nofrost champion register digits
    """
    from nofrost.champion.champion import read_champion
    from nofrost.champion.registry import VARIABLE, project

    store = open_store(store_url)
    stored = read_champion(study, store)
    if stored is None:
        raise UserError(f"study {study} has no champion in {store.url}: `nofrost champion show` lists those that have")
    try:
        project(stored, store)
    except UserError:
        raise
    # The library of the registry has no common class for what it raises.
    except Exception as error:
        raise UserError(
            f"the registry of {VARIABLE} refuses or does not answer: {without_secrets(reason(error))}"
        ) from error
    click.echo(printable(f"{stored.champion.contender.name} of run {stored.champion.run} is in the registry"))


def _emit_move(stored: StoredChampion, store: Store, as_json: bool) -> None:
    from nofrost.champion.registry import project_if_asked

    made = stored.champion
    project_if_asked(stored, store)
    text = f"the champion of study {made.study} is {made.contender.name} of run {made.run} ({stored.position.record})"
    emit(_summary(stored), printable(text), as_json)


def _summary(stored: StoredChampion) -> dict[str, Any]:
    moved = f"{stored.position.moved:%Y-%m-%dT%H:%M:%SZ}"
    return {**stored.champion.as_json(), "record": stored.position.record, "moved": moved}


def _row(stored: StoredChampion) -> tuple[str, ...]:
    made, summary = stored.champion, _summary(stored)
    return summary["record"], summary["moved"], made.run, made.contender.name, made.how, made.reason
