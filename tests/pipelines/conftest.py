"""What all tests that compile a pipeline have in common."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest

from nofrost.cli import main
from pipelines.cli import pipelines


class End(NamedTuple):
    """How a command ended, by the names of a `CompletedProcess`."""

    returncode: int
    stdout: str
    stderr: str


Program = Callable[..., End]


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Program:
    """Run `python -m pipelines ARGUMENTS` in this process, which need not load kfp and torch again, for seconds."""

    def run(*arguments: str) -> End:
        monkeypatch.setattr("sys.argv", ["pipelines", *arguments])
        capsys.readouterr()
        try:
            main(pipelines)
        except SystemExit as end:
            return End(int(end.code or 0), *capsys.readouterr())
        return End(0, *capsys.readouterr())

    return run


def stack_without_source(context: int = 0) -> list[inspect.FrameInfo]:
    """Return what `inspect.stack` does, of the caller first, but for the lines of the source."""
    frame, frames = sys._getframe(1), []
    while frame is not None:
        code = frame.f_code
        frames.append(inspect.FrameInfo(frame, code.co_filename, frame.f_lineno, code.co_name, None, None))
        frame = frame.f_back
    return frames


@pytest.fixture(scope="session", autouse=True)
def _stack_without_source() -> Iterator[None]:
    """Leave the source out of the stack for whose names kfp asks at every change of a task.

    To find the source of code that has no file, such as that of pytest-xdist, Python looks at every loaded module, of
    which the process of the tests has thousands.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inspect, "stack", stack_without_source)
        yield
