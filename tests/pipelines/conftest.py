"""What all tests that compile a pipeline have in common."""

from __future__ import annotations

from collections.abc import Callable
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
