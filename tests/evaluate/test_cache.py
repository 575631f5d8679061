"""What was measured is kept: whole arrays, and the batches of those that a kill left unfinished."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from nofrost.evaluate.measuring.cache import MeasurementCache

FLAGS = np.zeros(8, dtype=np.bool_)
ROWS, VALUES = np.array([0, 3]), np.array([True, False])


def read(folder: Path, number: int = 0, like: NDArray[np.bool_] = FLAGS) -> list[bool] | None:
    values = MeasurementCache(folder).read_batch("a", number, ROWS, like)
    return None if values is None else values.tolist()


@pytest.mark.parametrize("on_disk", [True, False])
def test_a_finished_array_is_kept(tmp_path: Path, on_disk: bool) -> None:
    cache = MeasurementCache(tmp_path if on_disk else None)
    assert "a" not in cache
    cache["a"] = np.array([True, False])
    assert "a" in cache
    assert cache["a"].tolist() == [True, False]
    assert bool(list(tmp_path.iterdir())) == on_disk


def test_the_next_run_reads_what_an_earlier_one_finished(tmp_path: Path) -> None:
    MeasurementCache(tmp_path)["a"] = np.array([3, 1])
    cache = MeasurementCache(tmp_path)
    assert "a" in cache
    assert cache["a"].tolist() == [3, 1]


def test_an_array_that_was_cut_or_changed_anywhere_counts_as_not_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    MeasurementCache(tmp_path)["a"] = VALUES
    path = tmp_path / "a.npz"
    content = path.read_bytes()
    damaged = [content[:length] for length in range(0, len(content), 7)]
    damaged += [content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :] for at in range(len(content))]
    lost = 0
    for each in damaged:
        path.write_bytes(each)
        cache = MeasurementCache(tmp_path)
        if "a" in cache:
            # some bytes of a zip file, such as times, do not matter
            assert cache["a"].tolist() == [True, False]
        else:
            lost += 1
            said = capsys.readouterr().err
            assert re.fullmatch(rf"nofrost: {path} is damaged \(\w+\): it is measured again\n", said)
            assert not path.exists()
    assert lost > len(damaged) / 2


def test_a_batch_is_a_file_that_numpy_reads(tmp_path: Path) -> None:
    MeasurementCache(tmp_path).write_batch("a", 12, ROWS, VALUES)
    with np.load(tmp_path / "a.batch-00012.npz") as arrays:
        assert arrays["rows"].tolist() == [0, 3]
        assert arrays["values"].tolist() == [True, False]
    assert read(tmp_path, 12) == [True, False]
    assert read(tmp_path, 11) is None


@pytest.mark.parametrize("shape", [(), (3,), (2, 2)])
@pytest.mark.parametrize("dtype", ["bool", "int64", "float64", "float32", "uint8"])
def test_a_batch_keeps_values_of_any_type_and_shape(tmp_path: Path, dtype: str, shape: tuple[int, ...]) -> None:
    values = (np.arange(2 * np.prod(shape, dtype=int)).reshape(2, *shape) % 3).astype(dtype)
    MeasurementCache(tmp_path).write_batch("a", 0, ROWS, values)
    kept = MeasurementCache(tmp_path).read_batch("a", 0, ROWS, np.zeros((8, *shape), dtype))
    assert kept is not None
    assert np.array_equal(kept, values)


def test_a_batch_that_was_cut_or_changed_anywhere_counts_as_not_there(tmp_path: Path) -> None:
    MeasurementCache(tmp_path).write_batch("a", 0, ROWS, VALUES)
    path = tmp_path / "a.batch-00000.npz"
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        assert read(tmp_path) is None
    for position in range(len(content)):
        path.write_bytes(content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :])
        # some bytes of a zip file, such as times, do not matter
        assert read(tmp_path) in (None, [True, False])
    path.write_bytes(content)
    assert read(tmp_path) == [True, False]


def test_a_batch_of_other_rows_type_or_shape_counts_as_not_there(tmp_path: Path) -> None:
    cache = MeasurementCache(tmp_path)
    cache.write_batch("a", 0, np.array([0, 4]), VALUES)
    cache.write_batch("a", 1, ROWS, VALUES.astype(np.uint8))
    cache.write_batch("a", 2, ROWS, VALUES[:, None])
    assert [read(tmp_path, number) for number in range(3)] == [None] * 3


def test_a_finished_array_takes_the_place_of_its_batches_alone(tmp_path: Path) -> None:
    cache = MeasurementCache(tmp_path)
    for name in ("a", "a-b"):
        cache.write_batch(name, 0, ROWS, VALUES)
    cache["a"] = np.ones(8, dtype=bool)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a-b.batch-00000.npz", "a.npz"]


def test_batches_that_a_kill_left_beside_the_finished_array_are_deleted(tmp_path: Path) -> None:
    MeasurementCache(tmp_path)["a"] = np.ones(8, dtype=bool)
    MeasurementCache(tmp_path).write_batch("a", 0, ROWS, VALUES)
    assert MeasurementCache(tmp_path)["a"].all()
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]


def test_two_processes_that_do_the_same_work_do_not_disturb_each_other(tmp_path: Path) -> None:
    one, two = MeasurementCache(tmp_path), MeasurementCache(tmp_path)
    one.write_batch("a", 0, ROWS, VALUES)
    two.write_batch("a", 0, ROWS, VALUES)
    one["a"] = np.ones(8, dtype=bool)
    two.write_batch("a", 1, ROWS, VALUES)
    two["a"] = np.ones(8, dtype=bool)
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]


def test_reduced_batch_sizes_are_kept_beside_what_was_measured_with_them(tmp_path: Path) -> None:
    cache = MeasurementCache(tmp_path)
    assert cache.reduced_batch_sizes == {}
    cache.note_reduced("b", 64)
    cache.write_batch("b", 0, ROWS, VALUES)
    cache.note_reduced("a", 32)
    cache["a"] = FLAGS
    cache.note_reduced("b", 16)
    cache["c"] = FLAGS
    assert cache.reduced_batch_sizes == {"a": 32, "b": 16}
    later = MeasurementCache(tmp_path)
    assert later.read_batch("b", 0, ROWS, FLAGS) is not None
    assert all(name in later for name in "ac")
    assert later.reduced_batch_sizes == {"a": 32, "b": 64}, "nothing was measured with 16"


def _write_until_killed(folder: Path) -> None:
    cache = MeasurementCache(folder)
    number = 0
    while True:
        cache.write_batch("a", number, ROWS, VALUES)
        number += 1


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signal")
def test_a_process_killed_while_it_writes_leaves_whole_batches_only(tmp_path: Path) -> None:
    process = multiprocessing.get_context("spawn").Process(target=_write_until_killed, args=(tmp_path,))
    process.start()
    while len(list(tmp_path.glob("a.batch-*.npz"))) < 20:
        assert process.is_alive()
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    written = sorted(tmp_path.glob("a.batch-*.npz"))
    assert [read(tmp_path, number) for number in range(len(written))] == [[True, False]] * len(written)
