"""kfp.local as local runs use it, with all of it that is private in this one file.

kfp.local runs the graph: its order, what tasks pass on, and the cache. It has no public way to say how a task is
executed: its process runner rejects components that are commands (training is one), and its Docker runner can mistake a
failed task for a success, as it lets containers remove themselves and reads "not found" as exit code 0. So its process
handler is replaced for the time of a run. Its ids of runs have eight digits of Python's global random numbers, which
two runs can share.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from types import ModuleType
from typing import Any, TextIO

Execute = Callable[[list[str], Mapping[str, str]], bool]
"""Executes a task, given its command and environment variables; returns whether it succeeded."""


def run_pipeline(
    pipeline: Any,
    arguments: Mapping[str, str],
    execute: Execute,
    *,
    run_id: str,
    root: Path,
    cache: Path | None,
    log: TextIO,
) -> None:
    """Let kfp.local run a pipeline, one task after the other.

    A task whose inputs failed is left out, all others are executed, and at last the exit task.

    Args:
        pipeline: what `dsl.pipeline` returns.
        arguments: of the pipeline.
        execute: is called for each task that is not taken from the cache.
        run_id: what the pipeline gets for `dsl.PIPELINE_JOB_ID_PLACEHOLDER`.
        root: folder for the outputs of tasks.
        cache: folder of the cache; None to execute every task.
        log: gets what kfp.local prints.

    Raises:
        RuntimeError: a task failed.
    """
    from kfp import local
    from kfp.local import placeholder_utils, subprocess_task_handler

    with ExitStack() as stack:
        stack.enter_context(_replaced(subprocess_task_handler, "SubprocessTaskHandler", _handler(execute)))
        stack.enter_context(_replaced(placeholder_utils, "make_random_id", lambda: run_id))
        runner = local.SubprocessRunner(use_venv=False)
        local.init(runner, str(root), enable_caching=cache is not None, cache_root=cache and str(cache))
        stack.enter_context(redirect_stdout(log))
        stack.enter_context(redirect_stderr(log))
        pipeline(**arguments)


def _handler(execute: Execute) -> type:
    """Return the class that kfp.local creates and runs for each task, which hands it to `execute`."""
    from kfp.local.status import Status

    class Handler:
        def __init__(
            self, image: str, full_command: list[str], pipeline_root: str, runner: Any, env_vars: dict[str, str]
        ) -> None:
            self._command, self._variables = full_command, env_vars

        def run(self) -> Status:
            return Status.SUCCESS if execute(self._command, self._variables) else Status.FAILURE

    return Handler


@contextmanager
def _replaced(module: ModuleType, name: str, value: Any) -> Iterator[None]:
    """Replace an attribute of a module in the block."""
    original = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, original)
