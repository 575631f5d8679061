"""The log of a local run: a line when a task starts and ends, a log file for each, and the list of all."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from nofrost.errors import printable
from nofrost.tasks.labels import evaluation_label, launch_label, train_label

# Such as "E1129 11:32:29.745000 5176 torch/distributed/elastic/... failed (exitcode: 2)". Its library in C++ puts the
# beginning in brackets, and adds the frames of its stack.
TORCH_LOG_LINE = re.compile(r"(\[rank\d+\]:)?\[?[A-Z]\d{4} [\d:.]+ |Exception raised from |frame #\d+: ")


@dataclass
class Task:
    """One task of a run.

    Attributes:
        name: of its component, with dashes.
        label: what distinguishes it from others of that name, such as "sat, seed 0".
        parameters: its inputs, by name.
        log: file with its output.
        exit_code: None while it runs.
    """

    name: str
    label: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    log: Path = field(default_factory=Path)
    exit_code: int | None = None

    @classmethod
    def from_command(cls, command: Sequence[str]) -> Task:
        """Return the task that a resolved command line of kfp.local runs."""
        words = list(command)
        if "--executor_input" not in words:  # `nofrost task NAME --option value ...`
            name = words[2]
            options = dict(zip(words[3::2], words[4::2], strict=False))
            label_of = launch_label if name == "launch" else train_label
            _, _, label = label_of(options["--recipe-id"], options["--seed"]).partition(" ")
            return cls(name, label, options)
        name = words[words.index("--function_to_execute") + 1].replace("_", "-")
        executor = json.loads(words[words.index("--executor_input") + 1])
        parameters = executor.get("inputs", {}).get("parameterValues", {})
        if not name.startswith("evaluate"):
            return cls(name, parameters.get("suite_id", ""), parameters)
        name, _, label = evaluation_label(**parameters).partition(" ")
        return cls(name, label, parameters)

    @property
    def title(self) -> str:
        return f"{self.name} {self.label}".strip()

    def last_line(self) -> str:
        """Return the last line of the log that is not blank, without what torch logs about the processes it started."""
        lines = [line.strip() for line in self.log.read_text(encoding="utf-8", errors="replace").splitlines()]
        return next((line for line in reversed(lines) if line and not TORCH_LOG_LINE.match(line)), "no output")


class RunLog:
    """Records the tasks of a local run.

    Args:
        folder: for the log files; those of an earlier run are deleted.
        out: stream for the lines that people read; None where it is closed.
    """

    def __init__(self, folder: Path, out: TextIO | None) -> None:
        self._folder, self._out = folder, out
        self._count: Counter[str] = Counter()
        self.tasks: list[Task] = []
        folder.mkdir(parents=True, exist_ok=True)
        for path in folder.glob("*.log"):
            path.unlink()

    @contextmanager
    def task(self, task: Task) -> Iterator[Task]:
        """Record a task from its start to its end."""
        self._count[task.name] += 1
        task.log = self._folder / f"{task.name}-{self._count[task.name]}.log"
        self.tasks.append(task)
        self.say(f"  {task.title} ...")
        started = time.monotonic()
        yield task
        seconds = time.monotonic() - started
        outcome = "done" if task.exit_code == 0 else f"failed with exit code {task.exit_code}, see {task.log}"
        self.say(f"  {task.title}: {outcome} ({seconds:.0f} s)")

    def say(self, line: str) -> None:
        """Print a line at once."""
        # A run continues when no one can read about it; what standard output holds is tried again at the end.
        with suppress(OSError):
            if self._out is not None:
                print(printable(line), file=self._out, flush=True)

    def last(self, name: str) -> Task | None:
        """Return the last task of this name that was executed; None if there was none."""
        return next((task for task in reversed(self.tasks) if task.name == name), None)

    def failures(self) -> list[Task]:
        """Return the tasks that failed."""
        return [task for task in self.tasks if task.exit_code != 0]
