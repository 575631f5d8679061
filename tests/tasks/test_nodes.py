"""The nodes of a job begin together, and every one ends with the truth."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

Ends = list[tuple[int, str]]
Run = Callable[..., Ends]


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    """Run a block of job_nodes.py on each node; return exit codes and errors."""
    script = Path(__file__).with_name("job_nodes.py")
    with subprocess.Popen([sys.executable, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as forks:

        def of(*names: str) -> Ends:
            assert forks.stdin
            assert forks.stdout
            print(json.dumps(names), file=forks.stdin, flush=True)
            return [(code, errors) for code, errors in json.loads(forks.stdout.readline())]

        yield of
        assert forks.stdin
        forks.stdin.close()


@pytest.mark.parametrize(
    ("blocks", "codes"),
    [
        (("ok", "ok"), (0, 0)),
        (("ok", "ok", "ok"), (0, 0, 0)),
        # Wrong input on one is wrong input for all, whatever they are doing.
        (("wrong", "wrong"), (2, 2)),
        (("wrong", "waits"), (2, 2)),
        (("waits", "wrong", "waits"), (2, 2, 2)),
        (("wrong", "trains"), (2, 2)),
        (("rank lost", "rank wrong"), (2, 2)),
        (("rank wrong", "rank lost"), (2, 2)),
        (("rank lost", "rank killed", "rank wrong"), (2, 2, 2)),
        # Whoever has no error of its own has only lost the others.
        (("bug", "waits"), (1, 200)),
        (("bug", "trains"), (1, 200)),
        (("waits", "bug"), (200, 1)),
        (("rank lost", "rank killed"), (200, 137)),
        (("rank killed", "rank lost"), (137, 200)),
        (("stopped", "stopped"), (143, 143)),
        (("stopped", "rank lost"), (143, 200)),
        pytest.param(("killed", "waits"), (-9, 200), marks=pytest.mark.slow),
        pytest.param(("waits", "killed"), (200, -9), marks=pytest.mark.slow),
        pytest.param(("trains", "killed"), (200, -9), marks=pytest.mark.slow),
        pytest.param(("waits", "killed", "waits"), (200, -9, 200), marks=pytest.mark.slow),
        pytest.param(("frozen", "waits"), (-9, 200), marks=pytest.mark.slow),
        pytest.param(("trains", "frozen"), (200, -9), marks=pytest.mark.slow),
        # Only node 0 writes the output: the others have not succeeded before it has.
        (("push fails", "ok"), (1, 200)),
        pytest.param(("killed in push", "ok"), (-9, 200), marks=pytest.mark.slow),
    ],
)
def test_each_node_ends_with_the_truth(run: Run, blocks: tuple[str, ...], codes: tuple[int, ...]) -> None:
    ends = run(*blocks)
    assert tuple(code for code, _ in ends) == codes, ends
    for block, (_, errors) in zip(blocks, ends, strict=True):
        assert ("Traceback" in errors) == (block == "bug"), errors


def test_the_error_of_a_node_is_told_on_the_others_with_its_name(run: Run) -> None:
    (_, first), (_, second) = run("wrong", "waits")
    assert first.endswith("nofrost: the dataset is wrong\n")
    assert first.count("nofrost: ") == 1
    assert second.endswith("nofrost: node 0 of 2: the dataset is wrong\n")


def test_no_processes_are_started_once_another_node_has_wrong_input(run: Run) -> None:
    _, (_, errors) = run("wrong", "trains")
    assert "processes are started" not in errors
    assert all("processes are started" in errors for _, errors in run("stopped", "stopped"))


def test_no_processes_are_started_once_another_node_has_failed_before_its_own(run: Run) -> None:
    (code, errors), _ = run("trains", "bug")
    assert code == 200
    assert "processes are started" not in errors
    assert "has ended with 1" in errors


def test_sigterm_while_node_0_still_writes_is_a_stop_and_no_loss(run: Run) -> None:
    ends = run("pushes slowly", "stopped at the end")
    assert [code for code, _ in ends] == [0, 143], ends
    assert "before node 0 had written the output" in ends[1][1]


def test_one_that_saves_on_request_is_not_stopped_again_when_another_node_has_ended(run: Run) -> None:
    ends = run("saves for long", "stopped")
    assert [code for code, _ in ends] == [143, 143], ends
    assert "saved" in ends[0][1]


@pytest.mark.slow
def test_a_node_that_falls_silent_is_named(run: Run) -> None:
    (_, errors), _ = run("trains", "frozen")
    assert "nofrost: node 1 of 2 has given no sign of life for 0.75 s: is it stopped" in errors
    assert "nofrost: node 1 of 2 has given no sign of life for 2.25 s: start all nodes again" in errors


@pytest.mark.slow
@pytest.mark.parametrize("blocks", [("ok", "absent"), ("absent", "ok")])
def test_a_node_that_never_comes_is_named(run: Run, blocks: tuple[str, str]) -> None:
    ends = run(*blocks)
    here = blocks.index("ok")
    code, errors = ends[here]
    assert code == 200
    assert f"node {1 - here} of 2 has not started within 3 s" in errors.splitlines()[-1]
    if here == 1:
        assert "PET_MASTER_ADDR" in errors
