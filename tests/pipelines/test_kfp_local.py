"""kfp.local is what `pipelines/kfp_local.py` takes it for, and runs a graph as local runs rely on.

(No `from __future__ import annotations` here: kfp evaluates the annotations of components.)
"""

import inspect
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("kfp")

from kfp import dsl, local
from kfp.local import placeholder_utils, status, subprocess_task_handler, task_dispatcher

from pipelines.kfp_local import run_pipeline

CHANGED = "kfp.local has changed: read what is named here in the new kfp, and adapt pipelines/kfp_local.py"


def parameters(function: Callable[..., Any]) -> list[str]:
    return [name for name in inspect.signature(function).parameters if name != "self"]


def test_the_private_places_of_kfp_are_as_we_use_them() -> None:
    handler = subprocess_task_handler.SubprocessTaskHandler
    assert parameters(handler) == ["image", "full_command", "pipeline_root", "runner", "env_vars"], CHANGED
    assert parameters(handler.run) == [], CHANGED
    assert inspect.signature(handler.run).return_annotation is status.Status, CHANGED
    assert {each.name for each in status.Status} == {"SUCCESS", "FAILURE"}, CHANGED
    # It is looked up in its module when a task begins, so that replacing it there has an effect.
    dispatch = inspect.getsource(task_dispatcher.run_single_task_implementation)
    assert "subprocess_task_handler.SubprocessTaskHandler" in dispatch, CHANGED
    assert parameters(placeholder_utils.make_random_id) == [], CHANGED


def test_the_public_places_of_kfp_are_as_we_use_them() -> None:
    assert parameters(local.init)[:2] == ["runner", "pipeline_root"], CHANGED
    assert {"enable_caching", "cache_root"} <= set(parameters(local.init)), CHANGED
    assert "use_venv" in parameters(local.SubprocessRunner), CHANGED


@dsl.container_component
def work(name: str, after: str, out: dsl.OutputPath(str)):  # type: ignore[no-untyped-def, valid-type]
    return dsl.ContainerSpec(image="any", command=["work"], args=[name, after, out])


@dsl.container_component
def note(run: str, status: dsl.PipelineTaskFinalStatus):  # type: ignore[no-untyped-def]
    return dsl.ContainerSpec(image="any", command=["note"], args=[run, status])


@dsl.pipeline(name="branch")
def branch(name: str, after: str) -> str:
    first = work(name=name, after=after)
    output: str = work(name="second", after=first.output).output
    return output


@dsl.pipeline(name="graph")
def graph(start: str) -> None:
    with dsl.ExitHandler(note(run=dsl.PIPELINE_JOB_ID_PLACEHOLDER).set_caching_options(False)):
        root = work(name="root", after=start)
        outputs = [branch(name=name, after=root.output).output for name in ("left", "right")]
        work(name="end", after=outputs[0]).set_caching_options(False)
        work(name="last", after=outputs[1])


class Tasks:
    """Executes tasks by writing as their output what they come after; those that are named fail."""

    def __init__(self, *failing: str) -> None:
        self._failing = failing
        self.calls: list[list[str]] = []

    def __call__(self, command: list[str], variables: Mapping[str, str]) -> bool:
        self.calls.append(command)
        if command[0] == "work" and command[1] not in self._failing:
            Path(command[-1]).parent.mkdir(parents=True, exist_ok=True)
            Path(command[-1]).write_text(f"{command[2]}/{command[1]}")
        return command[1] not in self._failing

    @property
    def names(self) -> list[str]:
        return [command[1] for command in self.calls]


def run(folder: Path, tasks: Tasks, *, cache: bool = True) -> None:
    cache_root = folder / "cache" if cache else None
    run_pipeline(
        graph, {"start": "s"}, tasks, run_id="run-1", root=folder / "tasks", cache=cache_root, log=io.StringIO()
    )


def test_tasks_get_outputs_and_the_id_of_the_run(tmp_path: Path) -> None:
    run(tmp_path, tasks := Tasks())
    assert sorted(tasks.names) == sorted(["root", "left", "second", "right", "second", "end", "last", "run-1"])
    assert tasks.names[0] == "root"
    assert tasks.names[-1] == "run-1"
    inputs = {command[1]: command[2] for command in tasks.calls}
    assert (inputs["end"], inputs["last"]) == ("s/root/left/second", "s/root/right/second")


def test_a_task_that_fails_fails_the_run_and_others_and_the_exit_task_run(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError):
        run(tmp_path, tasks := Tasks("left"))
    assert sorted(tasks.names) == sorted(["root", "left", "right", "second", "last", "run-1"])
    assert tasks.names[-1] == "run-1"
    assert "FAILED" in tasks.calls[-1][2]
    # The next run takes what succeeded from the cache.
    run(tmp_path, tasks := Tasks())
    assert sorted(tasks.names) == sorted(["left", "second", "end", "run-1"])


def test_what_ran_is_cached_unless_that_is_off(tmp_path: Path) -> None:
    run(tmp_path, Tasks())
    run(tmp_path, tasks := Tasks())
    assert sorted(tasks.names) == ["end", "run-1"]
    run(tmp_path, tasks := Tasks(), cache=False)
    assert len(tasks.names) == 8


def test_kfp_is_as_before_after_a_run(tmp_path: Path) -> None:
    handler, make_id = subprocess_task_handler.SubprocessTaskHandler, placeholder_utils.make_random_id
    with pytest.raises(RuntimeError):
        run(tmp_path, Tasks("root"))
    assert subprocess_task_handler.SubprocessTaskHandler is handler
    assert placeholder_utils.make_random_id is make_id
