"""Finished conditions are measured once and survive a kill."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nofrost.errors import UserError
from nofrost.evaluate.store import ConditionStore


def never() -> np.ndarray:
    raise AssertionError("measured again")


@pytest.mark.parametrize("on_disk", [True, False])
def test_a_condition_is_measured_once(tmp_path: Path, on_disk: bool) -> None:
    store = ConditionStore(tmp_path if on_disk else None)
    assert not store.has("a")
    assert store.get("a", lambda: np.array([True, False])).tolist() == [True, False]
    assert store.has("a")
    assert store.get("a", never).tolist() == [True, False]
    assert bool(list(tmp_path.iterdir())) == on_disk


def test_the_next_run_finds_what_an_earlier_one_finished(tmp_path: Path) -> None:
    ConditionStore(tmp_path).get("a", lambda: np.array([3, 1]))
    store = ConditionStore(tmp_path)
    assert store.has("a")
    assert store.get("a", never).tolist() == [3, 1]


def test_a_condition_that_fails_leaves_nothing(tmp_path: Path) -> None:
    store = ConditionStore(tmp_path)
    with pytest.raises(AssertionError):
        store.get("a", never)
    assert not store.has("a")
    assert not list(tmp_path.iterdir())


def test_a_damaged_file_is_an_error_and_no_result(tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_bytes(b"half")
    with pytest.raises(UserError, match="is damaged"):
        ConditionStore(tmp_path).get("a", never)
