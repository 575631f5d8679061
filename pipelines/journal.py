"""What a local run tells: a line when a task starts and ends, a log file for each, and the outputs of all."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from kfp.local import status


@dataclass
class Task:
    """One task of a run.

    Attributes:
        name: of its component, with dashes.
        about: what tells it from others of that name, such as "st seed 0".
        parameters: what it is given, by name.
    """

    name: str
    about: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    log: Path = field(default_factory=Path)
    exit_code: int | None = None

    @classmethod
    def of(cls, command: Sequence[str]) -> Task:
        """Return the task that a resolved command line of kfp.local runs."""
        words = list(command)
        if "--executor_input" not in words:  # `nofrost task NAME --option value ...`
            name = words[2]
            given = dict(zip(words[3::2], words[4::2], strict=False))
            about = f"{given.get('--recipe-id', '')} seed {given.get('--seed', '')}"
            return cls(name, about, given)
        name = words[words.index("--function_to_execute") + 1].replace("_", "-")
        executor = json.loads(words[words.index("--executor_input") + 1])
        given = executor.get("inputs", {}).get("parameterValues", {})
        if "suite" in given:
            name = name.replace("evaluate", f"evaluate-{json.loads(given['suite'])['kind']}")
        of_run = str(given.get("checkpoint", "")).split("@")[0].split("/")
        about = f"{of_run[1]} seed {of_run[2].removeprefix('seed-')}" if len(of_run) == 4 else ""
        about += f" shard {given['shard']}" if "shard" in given else ""
        return cls(name, about, given)

    @property
    def title(self) -> str:
        return f"{self.name} {self.about}".strip()

    @property
    def status(self) -> status.Status:
        return status.Status.SUCCESS if self.exit_code == 0 else status.Status.FAILURE

    def last_words(self) -> str:
        """Return the last line of the log that says something."""
        lines = [line.strip() for line in self.log.read_text(encoding="utf-8", errors="replace").splitlines()]
        return next((line for line in reversed(lines) if line), "it said nothing")


class Journal:
    """Keeps the tasks of a local run. Tasks report from several threads at once.

    Args:
        folder: takes the log files.
        out: where people read.
    """

    def __init__(self, folder: Path, out: TextIO | None = None) -> None:
        self._folder, self._out = folder, out or sys.stdout
        self._lock = threading.Lock()
        self._count: Counter[str] = Counter()
        self.tasks: list[Task] = []
        folder.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def task(self, task: Task) -> Iterator[Task]:
        """Note a task from its start to its end."""
        with self._lock:
            self._count[task.name] += 1
            task.log = self._folder / f"{task.name}-{self._count[task.name]}.log"
            self.tasks.append(task)
        self.say(f"  {task.title} ...")
        started = time.monotonic()
        yield task
        seconds = time.monotonic() - started
        ending = "done" if task.exit_code == 0 else f"failed with exit code {task.exit_code}, see {task.log}"
        self.say(f"  {task.title}: {ending} ({seconds:.0f} s)")

    def say(self, line: str) -> None:
        """Print a line at once."""
        with self._lock:
            print(line, file=self._out, flush=True)

    def named(self, name: str) -> Task | None:
        """Return the last task of this name that was executed, None when none was."""
        return next((task for task in reversed(self.tasks) if task.name == name), None)

    def failures(self) -> list[Task]:
        """Return the tasks that failed and were not tried again with success."""
        last = {task.title: task for task in self.tasks}
        return [task for task in last.values() if task.exit_code != 0]
