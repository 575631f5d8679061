"""The champion of a study: one pointer in the store, ``nofrost/champions/STUDY/champion.json``, and its history."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, PlainSerializer, ValidationError

from nofrost.config.base import Name, Schema
from nofrost.errors import UserError
from nofrost.results import Contender, GateMetrics, read_result
from nofrost.store import MissingError, Output, Pointer, Position, Store, pull
from nofrost.store.base import checked_word
from nofrost.store.releases import check_complete

_FOLDER = "nofrost/champions"
GATE_FILE = "gate.json"

_Output = Annotated[
    Output,
    BeforeValidator(lambda value: Output.parse(value) if isinstance(value, str) else value),
    PlainSerializer(str, return_type=str),
]


class Champion(Schema):
    """A model that is or was the champion of a study.

    Attributes:
        run: id of the pipeline's run that made it.
        checkpoint, dataset, adversarial, ood, gate, report: outputs of that run; `ood` is None for a study without an
            ood suite.
        image: in which its stages ran.
        how: by the ``gate`` of its run, by ``hand``, or by ``rollback``.
        reason: why, in a sentence.
        restored: record of the position that a rollback returned to; None otherwise.
    """

    study: Name
    run: str
    recipe: Name
    seed: int = Field(ge=0)
    checkpoint: _Output
    dataset: _Output
    adversarial: _Output
    ood: _Output | None
    gate: _Output
    report: _Output
    image: str
    how: Literal["gate", "hand", "rollback"]
    reason: str
    restored: str | None = None

    @property
    def contender(self) -> Contender:
        """The run of the pipeline, the recipe and the seed."""
        return Contender(run=self.run, recipe=self.recipe, seed=self.seed)


@dataclass(frozen=True)
class StoredChampion:
    """A champion, and the record of the move of the pointer that made it one."""

    position: Position
    champion: Champion


def champion_pointer(study: str, store: Store) -> Pointer:
    """Return the pointer to the champion of a study.

    Raises:
        UserError: `study` cannot be the name of one.
    """
    return Pointer(store, f"{_FOLDER}/{checked_word(study, 'a study')}/champion.json")


def studies_with_champion(store: Store) -> list[str]:
    """Return the names of the studies that have a champion, sorted."""
    names = [name.removeprefix(f"{_FOLDER}/").split("/") for name in store.objects(f"{_FOLDER}/")]
    return sorted(parts[0] for parts in names if parts[1:] == ["champion.json"])


def read_champion(study: str, store: Store) -> StoredChampion | None:
    """Return the champion of a study; None if there is none.

    Raises:
        UserError: the store cannot be read, or what is there is no champion.
    """
    position = champion_pointer(study, store).read()
    return _stored(position, study, store) if position else None


def list_champions(study: str, store: Store) -> list[StoredChampion]:
    """Return the champion of a study and those before it, the newest first; raises like :func:`read_champion`."""
    return [_stored(position, study, store) for position in champion_pointer(study, store).history().positions]


def make_champion(champion: Champion, expected: str | None, store: Store) -> StoredChampion:
    """Make a model the champion of its study.

    Args:
        expected: record of the position that it takes the place of; None if there must be no champion yet.

    Raises:
        UserError: the store does not hold all of its checkpoint.
        SwapError: another model took that place first.
    """
    check_complete(champion.checkpoint.ref, store)
    pointer = champion_pointer(champion.study, store)
    position = pointer.move(champion.as_json(), champion.checkpoint.ref.md5.removesuffix(".dir"), expected)
    return StoredChampion(position, champion)


def rollback(study: str, store: Store, record: str | None = None, reason: str = "") -> StoredChampion:
    """Make an earlier champion of a study its champion again.

    Args:
        record: of its position, as `nofrost champion history` prints it; None for the one before the present champion,
            and after a rollback for the one before that to which it returned.
        reason: why, in a sentence.

    Raises:
        UserError: there is no such champion, or the store no longer holds all of its checkpoint.
        SwapError: the champion was replaced meanwhile.
    """
    champions = list_champions(study, store)
    if not champions:
        raise UserError(f"study {study} has no champion in {store.url}: `nofrost champion show` lists those that have")
    by_record = {stored.position.record: stored for stored in champions}
    current = champions[0]
    if record is None:
        began = by_record.get(current.champion.restored or "", current)
        record = began.position.previous
        if record is None:
            raise UserError(f"study {study} has had no champion before {began.champion.contender.name}: keep it")
    if record not in by_record:
        raise UserError(f"study {study} has no position {record!r}: `nofrost champion history {study}` lists them")
    earlier = by_record[record]
    # What a rollback returned to counts, not the rollback.
    origin = earlier.champion.restored or record
    again = {"how": "rollback", "reason": reason or f"from run {current.champion.run}", "restored": origin}
    return make_champion(earlier.champion.model_copy(update=again), current.position.record, store)


def was_rolled_back(champion: Champion, store: Store) -> bool:
    """Return whether somebody put an earlier champion in the place of this model, the last time that it was one.

    A run on unchanged data trains the same model again, byte for byte or from the cache, and would undo the rollback.
    """
    champions = list_champions(champion.study, store)
    md5 = champion.checkpoint.ref.md5
    latest = next((index for index, stored in enumerate(champions) if stored.champion.checkpoint.ref.md5 == md5), 0)
    return latest > 0 and champions[latest - 1].champion.how == "rollback"


def read_gate(output: Output, store: Store) -> GateMetrics:
    """Return what a gate decided, from its output."""
    with TemporaryDirectory(prefix="nofrost-") as folder:
        pull(output.ref, Path(folder) / "gate", store)
        return read_result(GateMetrics, Path(folder) / "gate" / GATE_FILE)


class Challenger(Schema):
    """The best run of a study as a run of the pipeline leaves it in the store, to be promoted by the gate or by hand.

    Attributes:
        champion: what it would be.
        expected: record of the champion that the gate compared it with; None if there was none.
    """

    champion: Champion
    expected: str | None


def _challenger_name(run: str) -> str:
    return f"nofrost/runs/{checked_word(run, 'a run')}/challenger.json"


def write_challenger(entry: Challenger, store: Store) -> None:
    """Write the challenger of a run to the store."""
    content = json.dumps(entry.as_json(), indent=2) + "\n"
    store.put(_challenger_name(entry.champion.run), content.encode())


def read_challenger(run: str, store: Store) -> Challenger:
    """Return the challenger of a run.

    Raises:
        UserError: there is none, or it is damaged.
    """
    name = _challenger_name(run)
    try:
        content = store.get(name)
    except MissingError:
        raise UserError(
            f"run {run} has left no challenger in {store.url}: it has not ended, or its study has no gate"
        ) from None
    try:
        return Challenger.model_validate(json.loads(content))
    except (ValueError, UserError):
        raise UserError(f"{name} in {store.url} is no challenger of a run: run the pipeline again") from None


def promote_by_hand(run: str, store: Store, *, force: bool = False, reason: str = "") -> StoredChampion:
    """Make the best run of a study that the pipeline ran its champion.

    Args:
        run: id of the pipeline's run.
        force: although its gate decided against it, or compared it with another champion.

    Raises:
        UserError: the run has left no challenger, or it needs `force`.
        SwapError: another model became the champion meanwhile.
    """
    entry = read_challenger(run, store)
    challenger = entry.champion
    current = read_champion(challenger.study, store)
    if current and (current.champion.run, current.champion.checkpoint) == (run, challenger.checkpoint):
        return current
    gate = read_gate(challenger.gate, store)
    expected = current.position.record if current else None
    objection = ""
    if gate.decision != "promote":
        objection = f"its gate decided against it: {gate.reason}"
    elif expected != entry.expected:
        against = gate.champion.name if gate.champion else "none"
        objection = f"its gate compared it with another champion ({against}) than the present one"
    if objection and not force:
        raise UserError(f"run {run} is not promoted, since {objection} Use --force to promote it all the same")
    by_hand = challenger.model_copy(update={"how": "hand", "reason": reason or objection or gate.reason})
    return make_champion(by_hand, expected, store)


def _stored(position: Position, study: str, store: Store) -> StoredChampion:
    try:
        champion = Champion.model_validate(dict(position.value))
    except (ValidationError, UserError):
        champion = None
    if champion is None or champion.study != study:
        raise UserError(
            f"{_FOLDER}/{study}/{position.record} in {store.url} is no champion of study {study}: find "
            "out what wrote it"
        )
    return StoredChampion(position, champion)
