"""The champion in a store: it is moved whole or not at all, by one of many, and can be moved back."""

from __future__ import annotations

import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from nofrost.champion.champion import (
    GATE_FILE,
    Challenger,
    Champion,
    list_champions,
    make_champion,
    promote_by_hand,
    read_champion,
    rollback,
    studies_with_champion,
    write_challenger,
)
from nofrost.errors import UserError
from nofrost.results import GateMetrics, write_result
from nofrost.store import MissingError, Output, Store, SwapError, open_store, push, verify
from nofrost.store.base import object_name
from tests.champion.models import decided


def output(path: str, content: str, store: Store, folder: Path) -> Output:
    target = folder / content
    target.mkdir(parents=True, exist_ok=True)
    (target / "model.safetensors").write_text(content)
    return Output(path, push(target, store))


def champion(run: str, store: Store, folder: Path, gate: GateMetrics | None = None) -> Champion:
    """A model of a run, whose checkpoint is in the store."""
    checkpoint = output("runs/sat/seed-0/train", run, store, folder)
    (folder / f"gate of {run}").mkdir(parents=True, exist_ok=True)
    write_result(folder / f"gate of {run}" / GATE_FILE, gate or decided("promote"))
    return Champion(
        study="digits",
        run=run,
        recipe="sat",
        seed=0,
        checkpoint=checkpoint,
        dataset=Output("data/dataset", checkpoint.ref),
        adversarial=Output("runs/sat/seed-0/evaluate-adversarial/quick", checkpoint.ref),
        ood=Output("runs/sat/seed-0/evaluate-ood/quick", checkpoint.ref),
        gate=Output("gate", push(folder / f"gate of {run}", store)),
        report=Output("report", checkpoint.ref),
        image="image@sha256:0",
        how="gate",
        reason="It is better.",
    )


def present_run(store: Store) -> str:
    stored = read_champion("digits", store)
    assert stored
    return stored.champion.run


def made_champion(run: str, store: Store, folder: Path) -> None:
    current = read_champion("digits", store)
    make_champion(champion(run, store, folder), current.position.record if current else None, store)


def test_a_champion_is_read_as_it_was_written(store: Store, tmp_path: Path) -> None:
    assert read_champion("digits", store) is None
    assert studies_with_champion(store) == []
    first = champion("run-1", store, tmp_path)
    stored = make_champion(first, None, store)
    read = read_champion("digits", store)
    assert read
    assert (read.champion, read.position.record) == (first, stored.position.record)
    assert studies_with_champion(store) == ["digits"]


def test_who_expects_another_champion_moves_nothing(store: Store, tmp_path: Path) -> None:
    first = make_champion(champion("run-1", store, tmp_path), None, store)
    make_champion(champion("run-2", store, tmp_path), first.position.record, store)
    for expected in (None, first.position.record):
        with pytest.raises(SwapError):
            make_champion(champion("run-3", store, tmp_path), expected, store)
    assert [stored.champion.run for stored in list_champions("digits", store)] == ["run-2", "run-1"]


def test_of_sixteen_promoters_one_wins(store: Store, tmp_path: Path) -> None:
    made_champion("run-0", store, tmp_path)
    current = read_champion("digits", store)
    assert current
    expected = current.position.record
    candidates = [champion(f"run-{number}", store, tmp_path) for number in range(1, 17)]

    def attempt(candidate: Champion) -> bool:
        try:
            make_champion(candidate, expected, store)
        except SwapError:
            return False
        return True

    with ThreadPoolExecutor(16) as pool:
        won = list(pool.map(attempt, candidates))
    assert won.count(True) == 1
    champions = list_champions("digits", store)
    assert [stored.champion.run for stored in champions] == [f"run-{won.index(True) + 1}", "run-0"]


# The process kills itself before its step number N in the store, of all that it takes for a promotion.
KILLED = """
import os, signal, sys
from nofrost.champion import champion
from nofrost.store import open_store
store, step, steps = open_store(sys.argv[1]), int(sys.argv[2]), 0
for name in ("put", "get", "swap", "version", "objects", "sizes", "read"):
    def call(*args, _method=getattr(type(store), name), **options):
        global steps
        steps += 1
        if steps == step:
            os.kill(os.getpid(), signal.SIGKILL)
        return _method(*args, **options)
    setattr(type(store), name, call)
champion.promote_by_hand("run-2", store)
"""


@pytest.mark.slow
def test_a_promoter_killed_between_any_two_steps_leaves_the_old_champion_or_the_new_one(
    url: str, tmp_path: Path
) -> None:
    store = open_store(url)
    made_champion("run-1", store, tmp_path / "work")
    current = read_champion("digits", store)
    assert current
    challenger = champion("run-2", store, tmp_path / "work")
    write_challenger(Challenger(champion=challenger, expected=current.position.record), store)
    by_hand = challenger.model_copy(update={"how": "hand", "reason": decided("promote").reason})
    seen = []
    for step in range(1, 60):
        ended = subprocess.run(
            [sys.executable, "-c", KILLED, url, str(step)], capture_output=True, text=True, check=False
        )
        champions = list_champions("digits", store)
        seen.append(champions[0].champion.run)
        assert champions[0].champion in (current.champion, by_hand)
        verify(champions[0].champion.checkpoint.ref, store)
        if ended.returncode == 0:
            break
        assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert ended.returncode == 0, "a try that is not killed succeeds, whatever the ones before it left"
    assert seen[0] == "run-1"
    assert seen[-1] == "run-2"
    assert seen == sorted(seen), "it is never moved back"
    assert len(seen) > 5


def test_a_model_that_the_store_does_not_hold_is_not_crowned(local: Store, tmp_path: Path) -> None:
    made_champion("run-1", local, tmp_path)
    damaged = champion("run-2", local, tmp_path)
    local.delete([object_name(damaged.checkpoint.ref.md5)])
    with pytest.raises(MissingError):
        make_champion(damaged, None, local)
    assert present_run(local) == "run-1"


@pytest.fixture
def local(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "store"))


def test_a_rollback_returns_to_the_champion_before_and_then_to_the_one_before_that(
    local: Store, tmp_path: Path
) -> None:
    for number in (1, 2, 3):
        made_champion(f"run-{number}", local, tmp_path)
    back = rollback("digits", local)
    assert (back.champion.run, back.champion.how, back.champion.reason) == ("run-2", "rollback", "from run run-3")
    assert rollback("digits", local, reason="worse in the field").champion.run == "run-1"
    with pytest.raises(UserError, match="no champion before sat/seed-0"):
        rollback("digits", local)
    newest = list_champions("digits", local)
    assert [stored.champion.run for stored in newest] == ["run-1", "run-2", "run-3", "run-2", "run-1"]
    again = rollback("digits", local, newest[2].position.record)
    assert (again.champion.run, again.champion.restored) == ("run-3", newest[2].position.record)


def test_a_rollback_names_what_is_not_there(local: Store, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="study digits has no champion"):
        rollback("digits", local)
    made_champion("run-1", local, tmp_path)
    with pytest.raises(UserError, match=r"no position 'history/x\.json'"):
        rollback("digits", local, "history/x.json")


def left_challenger(run: str, gate: GateMetrics, expected: str | None, store: Store, folder: Path) -> None:
    write_challenger(Challenger(champion=champion(run, store, folder, gate), expected=expected), store)


def test_a_promotion_by_hand_needs_the_gate_or_force(local: Store, tmp_path: Path) -> None:
    left_challenger("run-1", decided("promote"), None, local, tmp_path)
    first = promote_by_hand("run-1", local)
    assert (first.champion.how, present_run(local)) == ("hand", "run-1")
    assert promote_by_hand("run-1", local).position == first.position, "again it changes nothing"
    left_challenger("run-2", decided("keep"), first.position.record, local, tmp_path)
    with pytest.raises(UserError, match=r"run run-2 is not promoted, since its gate decided against it: .*--force"):
        promote_by_hand("run-2", local)
    assert present_run(local) == "run-1"
    assert promote_by_hand("run-2", local, force=True).champion.reason.startswith("its gate decided against it")
    left_challenger("run-3", decided("promote"), first.position.record, local, tmp_path)
    with pytest.raises(UserError, match="compared it with another champion"):
        promote_by_hand("run-3", local)
    assert promote_by_hand("run-3", local, force=True, reason="approved").champion.reason == "approved"


def test_a_run_without_a_challenger_is_named(local: Store) -> None:
    with pytest.raises(UserError, match=r"run run-9 has left no challenger"):
        promote_by_hand("run-9", local)
    local.put("nofrost/runs/run-9/challenger.json", b"{}")
    with pytest.raises(UserError, match=r"challenger.json in .* is no challenger of a run"):
        promote_by_hand("run-9", local)
    with pytest.raises(UserError, match="cannot name a run"):
        promote_by_hand("../locks", local)


def test_a_pointer_to_something_else_is_named(local: Store, tmp_path: Path) -> None:
    made_champion("run-1", local, tmp_path)
    content = local.get("nofrost/champions/digits/champion.json")
    local.put("nofrost/champions/other/champion.json", content)
    with pytest.raises(UserError, match="is no champion of study other"):
        read_champion("other", local)
    local.put("nofrost/champions/digits/champion.json", content.replace(b'"seed": 0', b'"seed": -1'))
    with pytest.raises(UserError, match="is no champion of study digits"):
        read_champion("digits", local)
