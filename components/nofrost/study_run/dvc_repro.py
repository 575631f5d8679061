"""`dvc repro` in the folder of a study, and what it took."""

import os
import re
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

# What DVC prints when it runs a stage, and when it trains, and not where it finds a stage in its cache.
_RUNS = "Running stage '"
_TRAINS = re.compile(r"Running stage 'train(?:-further)?@([^']+)'")


@dataclass(frozen=True)
class Attempt:
    """What one call of `dvc repro` took.

    Attributes:
        exit_code: of DVC; None if it was stopped.
        trained: the trainings that were done, not fetched from the cache.
        stages: how many stages were run, trainings among them.
        wall_s: seconds by the clock.
        processor_s: user and system time of all its processes.
    """

    exit_code: int | None
    trained: tuple[str, ...]
    wall_s: float
    processor_s: float
    stages: int


def dvc_repro(folder: Path, echo: Callable[[str], None], done: Callable[[Attempt], None]) -> None:
    """Run all stages that are not up to date.

    Args:
        echo: is called with every line that DVC and the stages print on standard output.
        done: is called at the end, also where this process is stopped in between.
    """
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    trained: list[str] = []
    code, stages = None, 0
    began, used = time.monotonic(), _processor_s()
    try:
        with subprocess.Popen(
            [sys.executable, "-m", "dvc", "repro"],
            cwd=folder,
            env={**os.environ, "PATH": programs},
            stdout=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
        ) as dvc:
            try:
                for line in dvc.stdout or ():
                    echo(line.rstrip("\n"))
                    stages += line.startswith(_RUNS)
                    trained += _TRAINS.findall(line)
                code = dvc.wait()
            except BaseException:
                # The stage that runs ends with DVC, and goes on from what it saved.
                dvc.terminate()
                raise
    finally:
        done(Attempt(code, tuple(trained), time.monotonic() - began, _processor_s() - used, stages))


def _processor_s() -> float:
    """Return user and system time of all processes that this one has started and that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
