"""What was measured is kept: whole arrays, and the batches of those that a kill left unfinished."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nofrost.errors import UserError
from nofrost.evaluate.journal import Journal
from nofrost.evaluate.store import ConditionStore

BATCHES = [
    (np.array([0, 3]), np.array([True, False])),
    (np.array([7]), np.array([True])),
    (np.array([4]), np.array([False])),
]


@pytest.mark.parametrize("on_disk", [True, False])
def test_a_finished_array_is_kept(tmp_path: Path, on_disk: bool) -> None:
    store = ConditionStore(tmp_path if on_disk else None)
    assert "a" not in store
    store["a"] = np.array([True, False])
    assert "a" in store
    assert store["a"].tolist() == [True, False]
    assert bool(list(tmp_path.iterdir())) == on_disk


def test_the_next_run_finds_what_an_earlier_one_finished(tmp_path: Path) -> None:
    ConditionStore(tmp_path)["a"] = np.array([3, 1])
    store = ConditionStore(tmp_path)
    assert "a" in store
    assert store["a"].tolist() == [3, 1]


def test_a_damaged_file_is_an_error_and_no_result(tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_bytes(b"half")
    with pytest.raises(UserError, match="is damaged"):
        ConditionStore(tmp_path)["a"]


def write(path: Path, dtype: str = "bool") -> bytes:
    """Write a journal of three batches and return its content."""
    with Journal(path, np.dtype(dtype)) as journal:
        for rows, values in BATCHES:
            journal.add(rows, values)
    return path.read_bytes()


def read(path: Path, dtype: str = "bool") -> list[tuple[list[int], list[float]]]:
    with Journal(path, np.dtype(dtype)) as journal:
        return [(rows.tolist(), values.tolist()) for rows, values in journal.found]


ALL = [(rows.tolist(), values.tolist()) for rows, values in BATCHES]


@pytest.mark.parametrize("dtype", ["bool", "int64", "float64", "float32", "uint8"])
def test_a_journal_gives_back_every_batch(tmp_path: Path, dtype: str) -> None:
    write(tmp_path / "a.part", dtype)
    assert read(tmp_path / "a.part", dtype) == ALL


def test_a_batch_is_in_the_file_before_the_next_one_begins(tmp_path: Path) -> None:
    with Journal(tmp_path / "a.part", np.dtype(bool)) as journal:
        for place, (rows, values) in enumerate(BATCHES):
            journal.add(rows, values)
            (tmp_path / "copy.part").write_bytes((tmp_path / "a.part").read_bytes())
            assert read(tmp_path / "copy.part") == ALL[: place + 1]


def test_wherever_a_kill_cuts_a_journal_the_whole_batches_before_it_are_kept_and_it_can_go_on(tmp_path: Path) -> None:
    path = tmp_path / "a.part"
    content = write(path)
    ends = [0]
    for count in (2, 1, 1):
        ends.append(ends[-1] + 8 + 9 * count + 32)
    assert ends[-1] == len(content)
    for length in range(len(content)):
        path.write_bytes(content[:length])
        whole = sum(end <= length for end in ends) - 1
        assert read(path) == ALL[:whole]
        with Journal(path, np.dtype(bool)) as journal:
            for rows, values in BATCHES[whole:]:
                journal.add(rows, values)
        assert path.read_bytes() == content


def test_no_batch_is_believed_from_the_first_broken_one_on(tmp_path: Path) -> None:
    path = tmp_path / "a.part"
    content = write(path)
    for place in range(len(content)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        found = read(path)
        assert found == ALL[: len(found)]
        assert len(found) < 3


def test_values_of_another_type_are_not_believed(tmp_path: Path) -> None:
    write(tmp_path / "a.part", "uint8")
    assert read(tmp_path / "a.part", "bool") == []


def test_a_finished_array_takes_the_place_of_its_batches(tmp_path: Path) -> None:
    store = ConditionStore(tmp_path)
    with store.journal("a", np.dtype(bool)) as journal:
        journal.add(*BATCHES[0])
        store["a"] = np.ones(8, dtype=bool)
    assert [path.name for path in tmp_path.iterdir()] == ["a.npy"]


def test_batches_that_a_kill_left_beside_the_finished_array_go(tmp_path: Path) -> None:
    ConditionStore(tmp_path)["a"] = np.ones(8, dtype=bool)
    write(tmp_path / "a.part")
    assert ConditionStore(tmp_path)["a"].all()
    assert [path.name for path in tmp_path.iterdir()] == ["a.npy"]
