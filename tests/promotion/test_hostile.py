"""Candidates that somebody prepared, and files of a checkout that are odd: a sentence, and nothing outside is read."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from nofrost.config import Study
from nofrost.errors import UserError
from nofrost.promotion import dvc_files, plan_promotion, read_candidate
from nofrost.store import Ref

Change = Callable[[dict[str, Any]], Any]
NAME = "nofrost/locks/hostile.yaml"
BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]\n" for level in range(1, 10)
)


@pytest.fixture
def plant(world: Any) -> Callable[[Change], None]:
    """A function that changes the values of a candidate in the store."""

    def plant(change: Change) -> None:
        world.leave("hostile")
        values = yaml.safe_load(world.store.get(NAME))
        change(values)
        world.store.put(NAME, yaml.safe_dump(values, allow_unicode=True).encode())

    return plant


REF = "ab" * 16


@pytest.mark.parametrize(
    "change",
    [
        lambda values: values["outs"].update({"../../etc": REF}),
        lambda values: values["outs"].update({"/etc": REF}),
        lambda values: values["outs"].update({"a\0b": REF}),
        lambda values: values["code"].update({"../outside": REF}),
        lambda values: values["code"].update({"/etc": REF}),
        lambda values: values.update(outs=[]),
        lambda values: values.update(code={"x": {"y": 1}}),
        lambda values: values.update(finished="yesterday"),
        lambda values: values.update(source=["x"]),
    ],
)
def test_a_candidate_with_paths_elsewhere_is_damaged(change: Change, plant: Any, world: Any) -> None:
    plant(change)
    with pytest.raises(UserError, match=r"the candidate nofrost/locks/hostile.yaml in .* is damaged") as caught:
        read_candidate("hostile", world.store)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", [BOMB, BOMB + "study: *a9\n", "\xff", "a: " + "[" * 100_000, "x" * 2_000_000, "\x00"])
def test_a_candidate_that_would_fill_memory_is_damaged(text: str, world: Any) -> None:
    world.store.put(NAME, text.encode("latin-1"))
    begin = time.monotonic()
    with pytest.raises(UserError, match="is damaged"):
        read_candidate("hostile", world.store)
    assert time.monotonic() - begin < 100


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder beside the checkout; the test fails when one of its files is opened."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "private").write_text("private")
    return tmp_path / "outside"


@pytest.mark.parametrize("where", ["absolute", "above", "far above"])
def test_no_folder_outside_of_the_checkout_is_hashed(
    where: str, plant: Any, world: Any, clone: Path, outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = {
        "absolute": str(outside),
        "above": f"../{outside.name}",
        "far above": "/".join([".."] * (len(clone.parts) + 2)) + str(outside),
    }[where]

    def change(values: dict[str, Any]) -> None:
        values["study"]["dataset"]["path"] = path
        values["source"] = REF

    plant(change)
    opened: list[str] = []
    original = os.open

    def spy(path: Any, *arguments: Any, **options: Any) -> int:
        opened.append(str(path))
        return original(path, *arguments, **options)

    monkeypatch.setattr(os, "open", spy)
    before = (outside / "private").stat().st_atime_ns
    with suppress(UserError):
        plan_promotion("hostile", world.store, clone)
    assert (outside / "private").stat().st_atime_ns == before
    assert not any("private" in path for path in opened)


def test_a_candidate_writes_nothing_into_the_checkout(plant: Any, world: Any, clone: Path) -> None:
    """Code of the candidate inside of other code of it is not linked twice."""
    before = sorted(clone.rglob("*"))
    plant(
        lambda values: values["code"].update({"components": REF, "components/nofrost": REF, "data/source/photo": REF})
    )
    plan_promotion("hostile", world.store, clone)
    assert sorted(clone.rglob("*")) == before


def test_a_study_of_countless_runs_is_refused(plant: Any, world: Any, clone: Path) -> None:
    plant(lambda values: values["study"]["runs"].update(recipe=["st"] * 2000, seed=list(range(2000))))
    with pytest.raises(UserError, match="the study of run hostile has 4,000,000 runs"):
        plan_promotion("hostile", world.store, clone)


@pytest.mark.parametrize(
    "change",
    [
        lambda study: study.update(runs=7),
        lambda study: study["runs"].update(recipe=None),
        lambda study: study["runs"].update(recipe=[{"a": 1}]),
        lambda study: study.update(dataset=["x"]),
        lambda study: study.clear(),
    ],
)
def test_a_study_that_dvc_cannot_resolve_is_one_sentence(change: Change, plant: Any, world: Any, clone: Path) -> None:
    plant(lambda values: change(values["study"]))
    with pytest.raises(UserError) as caught:
        plan_promotion("hostile", world.store, clone)
    assert "\n" not in str(caught.value)


def dangling(path: Path) -> None:
    path.symlink_to("nowhere")


@pytest.mark.parametrize(
    ("make", "reason"), [(dangling, "no such file or directory"), (os.mkfifo, "is a named pipe, not a regular file")]
)
def test_an_odd_file_in_the_code_of_the_checkout_is_named(
    make: Callable[[Path], None], reason: str, world: Any, clone: Path
) -> None:
    make(clone / "components/nofrost/models/odd")
    with pytest.raises(UserError, match=f"(?i)models/odd.*{reason}"):
        plan_promotion(world.leave("whole"), world.store, clone)


@pytest.mark.parametrize("name", ["dvc.lock", "dvc.yaml", "params.yaml", "data/source.dvc"])
def test_files_of_dvc_that_would_fill_memory_are_refused(
    name: str, world: Any, clone: Path, digits_study: Callable[..., Study]
) -> None:
    (clone / name).write_text(BOMB)
    study = digits_study("dataset.path=data/source")
    begin = time.monotonic()
    with pytest.raises(UserError, match=f"{name}: .*more than 100,000 values"):
        plan_promotion(world.leave("bomb", study=study, source=Ref(REF)), world.store, clone)
    assert time.monotonic() - begin < 100


def test_a_lock_file_that_is_a_pipe_is_refused(world: Any, clone: Path) -> None:
    os.mkfifo(clone / "dvc.lock")
    with pytest.raises(UserError, match=r"dvc\.lock is a named pipe"):
        dvc_files.read_lock(clone)
