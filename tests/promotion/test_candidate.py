"""What a run leaves in the store, and reading it back."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

import nofrost
from nofrost.config import Study
from nofrost.errors import UserError
from nofrost.promotion import list_candidates, read_candidate, write_candidate
from nofrost.store import Output, Ref, Store, open_store

DATASET = Output("data/dataset", Ref("0" * 32 + ".dir", 5, 2))
SOURCE = Ref("1" * 32, 7)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "store"))


@pytest.fixture
def leave(store: Store, digits_study: Callable[..., Study]) -> Callable[..., str]:
    """Let a run leave a candidate; returns its name in the store."""

    def write(run: str = "run-1", outputs: tuple[Output, ...] = (DATASET,)) -> str:
        return write_candidate(outputs, study=digits_study(), run=run, image="image@1", source=SOURCE, store=store)

    return write


def test_a_candidate_is_read_as_it_was_written(
    leave: Callable[..., str], store: Store, digits_study: Callable[..., Study]
) -> None:
    assert leave() == "nofrost/locks/run-1.yaml"
    candidate = read_candidate("run-1", store)
    assert candidate.outs == {"data/dataset": DATASET.ref}
    assert candidate.study == digits_study().as_json()
    assert (candidate.run, candidate.image, candidate.source) == ("run-1", "image@1", SOURCE)
    assert candidate.nofrost == nofrost.__version__
    assert timedelta(0) <= datetime.now(UTC) - candidate.finished < timedelta(minutes=5)
    assert "components/nofrost/train" in candidate.code


def test_a_retried_run_replaces_its_candidate(leave: Callable[..., str], store: Store) -> None:
    leave()
    leave(outputs=(Output("report", Ref("2" * 32 + ".dir")),))
    assert list_candidates(store) == ["run-1"]
    assert list(read_candidate("run-1", store).outs) == ["report"]


def test_runs_are_listed_and_nothing_else(leave: Callable[..., str], store: Store) -> None:
    for run in ("b", "a.2", "a-1"):
        leave(run)
    store.put("nofrost/locks/README", b"")
    store.put("nofrost/runs/c.yaml", b"")
    assert list_candidates(store) == ["a-1", "a.2", "b"]


@pytest.mark.parametrize("run", ["", "..", "a/b", "../a", ".hidden", "a b", "a\n", "ü", "x" * 201, "-a"])
def test_an_id_that_could_be_a_path_is_refused(leave: Callable[..., str], store: Store, run: str) -> None:
    with pytest.raises(UserError, match="cannot be the id of a run"):
        leave(run)
    assert not Path(store.url).exists()


def test_two_refs_for_one_path_are_refused(leave: Callable[..., str]) -> None:
    leave(outputs=(DATASET, DATASET))
    with pytest.raises(UserError, match="data/dataset comes twice"):
        leave(outputs=(DATASET, Output("data/dataset", SOURCE)))


def test_an_unknown_run_is_an_error_that_names_the_closest(leave: Callable[..., str], store: Store) -> None:
    for run in ("digits-2026-11-20", "digits-2026-11-21", "other"):
        leave(run)
    with pytest.raises(
        UserError, match=r"no candidate of run 'digits-2026-11-22': closest are digits-2026-11-2\d, dig"
    ):
        read_candidate("digits-2026-11-22", store)
    with pytest.raises(UserError, match="'~': there are 3 others"):
        read_candidate("~", store)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 2, "nofrost": "9.9"}, "has schema 2, and this version reads 1: promote it with nofrost 9.9"),
        ({"schema": None, "nofrost": []}, "has schema None.*with another version of nofrost"),
        ({"outs": {"data/dataset": "abc"}}, r"damaged \(outs.data/dataset: 'abc' is not a ref"),
        ({"outs": 3}, r"damaged \(outs: "),
        ({"finished": "yesterday"}, r"damaged \(finished: "),
        ({"surprise": 1}, r"damaged \(surprise: "),
        ({"run": "run-2"}, r"damaged \(it names run 'run-2'\)"),
    ],
)
def test_a_candidate_of_another_form_is_refused(
    leave: Callable[..., str], store: Store, change: dict[str, object], message: str
) -> None:
    name = leave()
    store.put(name, yaml.safe_dump(yaml.safe_load(store.get(name)) | change).encode())
    with pytest.raises(UserError, match=message):
        read_candidate("run-1", store)


@pytest.mark.parametrize("content", [b"", b"[1]", b"a: [", b"\xff", b"a: 2026-99-99", b"[" * 2000])
def test_a_damaged_candidate_is_refused(store: Store, content: bytes) -> None:
    store.put("nofrost/locks/run-1.yaml", content)
    with pytest.raises(UserError, match=r"nofrost/locks/run-1.yaml in .* is damaged"):
        read_candidate("run-1", store)


def test_a_candidate_runs_no_code_when_it_is_read(store: Store, tmp_path: Path) -> None:
    attack = f"!!python/object/apply:pathlib.Path.touch [!!python/object/apply:pathlib.Path ['{tmp_path}/here']]"
    store.put("nofrost/locks/run-1.yaml", attack.encode())
    with pytest.raises(UserError, match="damaged"):
        read_candidate("run-1", store)
    assert not (tmp_path / "here").exists()


def test_writing_a_candidate_needs_neither_dvc_nor_torch(tmp_path: Path) -> None:
    script = f"""
import sys
sys.modules.update(dict.fromkeys(["dvc", "ruamel", "git", "torch"]))
from nofrost.config import load_study
from nofrost.promotion import write_candidate
from nofrost.store import open_store
store = open_store({str(tmp_path)!r})
print(write_candidate([], study=load_study("digits"), run="r", image="", source=None, store=store))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert (done.stdout, done.stderr) == ("nofrost/locks/r.yaml\n", "")
