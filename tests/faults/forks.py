"""Runs commands of nofrost in forks of one process that has loaded everything: a command need not load torch again.

Each line of standard input is a list of jobs as JSON, which run side by side; the answer is a line of JSON with the
list of their ends. A job is a dictionary; all but the first key may be left out:

    arguments: of nofrost
    folder: the current folder of the command
    environment: variables to set, or to unset where they are null
    umask: of the command
    delay: seconds before it begins
    after_s: pairs of seconds and a signal that it receives then
    limit_s: seconds after which it is killed, with its children; the exit code is null then
    memory: bytes that it may take beside those of what is loaded
    largest_file: bytes that a file may have
    open_files: number of files that may be open
    changes_below: a folder: changes to the disk below it are counted
    at, signals: before its change of number `at`, from 1, the process gets the first signal (by default SIGKILL),
        before the next change the second, and so on

An end is a dictionary of `code`, `seconds`, `output` and `errors`, and if the command came to its end and counted, of
`changes`, their number, and `uncounted`, the files whose writes are not among them.
"""

from __future__ import annotations

import gc
import importlib
import json
import math
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

# torch._dynamo: every first optimiser of a process loads it, for seconds
LOADED = (
    "matplotlib.backends.backend_svg", "matplotlib.pyplot", "PIL.Image", "scipy.stats", "sklearn.datasets",
    "torch._dynamo", "torchvision", "nofrost.augment", "nofrost.cli", "nofrost.evaluate", "nofrost.evaluate.card",
    "nofrost.prepare", "nofrost.promotion", "nofrost.report", "nofrost.report.sections", "nofrost.store",
    "nofrost.tasks", "nofrost.train", "nofrost.train.trainer", "changes",
)  # fmt: skip
TEXTS = ("output", "errors", "counts")


class Fork:
    """A job that runs; what it prints comes through pipes, for which a limit on the size of files does not hold."""

    def __init__(self, job: dict[str, Any]) -> None:
        pipes = [os.pipe() for _ in TEXTS]
        self.limit_s, self.later = job.get("limit_s", math.inf), sorted(job.get("after_s", ()), reverse=True)
        self.begun = time.monotonic()
        self.process = os.fork()
        if self.process == 0:
            become(job, *(writing for _, writing in pipes))
        self.texts = {}
        for name, (reading, writing) in zip(TEXTS, pipes, strict=True):
            os.close(writing)
            os.set_blocking(reading, False)
            self.texts[name] = (reading, bytearray())

    def look(self) -> dict[str, Any] | None:
        """Read what it has printed, and return how it ended; None while it runs."""
        seconds = time.monotonic() - self.begun
        while self.later and seconds > self.later[-1][0]:
            os.kill(self.process, self.later.pop()[1])
        if is_late := seconds > self.limit_s:
            # Before it leads a group of its own there is none to kill, and no child either.
            with suppress(ProcessLookupError):
                os.killpg(self.process, signal.SIGKILL)
            os.kill(self.process, signal.SIGKILL)
        ended, status = os.waitpid(self.process, 0 if is_late else os.WNOHANG)
        for reading, text in self.texts.values():
            try:
                while piece := os.read(reading, 1 << 16):
                    text += piece
            except BlockingIOError:
                pass
        if not ended:
            return None
        for reading, _ in self.texts.values():
            os.close(reading)
        output, errors, counts = (text.decode(errors="backslashreplace") for _, text in self.texts.values())
        code = None if is_late else os.waitstatus_to_exitcode(status)
        return {"code": code, "seconds": seconds, "output": output, "errors": errors, **json.loads(counts or "{}")}


def become(job: dict[str, Any], output: int, errors: int, counts: int) -> NoReturn:
    """Become the command of a job, and end as it ends."""
    os.setsid()
    for number, descriptor in enumerate((os.open(os.devnull, os.O_RDONLY), output, errors)):
        os.dup2(descriptor, number)
    sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", buffering=1, closefd=False)
    time.sleep(job.get("delay", 0.0))
    for name, value in job.get("environment", {}).items():
        os.environ.pop(name, None) if value is None else os.environ.update({name: value})
    tempfile.tempdir = None
    os.umask(job.get("umask", 0o022))
    # Whoever started the tests may have set these aside.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(job.get("folder", "/"))
    if "memory" in job:
        resource.setrlimit(resource.RLIMIT_DATA, (private_bytes() + job["memory"],) * 2)
    if "open_files" in job:
        resource.setrlimit(resource.RLIMIT_NOFILE, (job["open_files"],) * 2)
    if job.get("largest_file") is not None:
        # Python would cut off the modules that it compiles, without an error, and other tests would load them.
        sys.dont_write_bytecode = True
        resource.setrlimit(resource.RLIMIT_FSIZE, (job["largest_file"],) * 2)
    changes = None
    if "changes_below" in job:
        changes = importlib.import_module("changes").counted(
            job["changes_below"], job.get("at", 0), job.get("signals", [signal.SIGKILL])
        )
    code = run(job["arguments"])
    if changes is not None:
        os.write(counts, json.dumps({"changes": changes.count, "uncounted": changes.uncounted}).encode())
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def run(arguments: list[str]) -> int:
    """Run `nofrost ARGUMENTS` and return its exit code."""
    from nofrost.cli import main

    sys.argv = ["nofrost", *arguments]
    try:
        main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def private_bytes() -> int:
    """Return the private writable memory of this process, which RLIMIT_DATA limits."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return 1024 * int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmData:")))


def serve(jobs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Run jobs side by side and return how they ended."""
    forks = [Fork(job) for job in jobs]
    ends: list[dict[str, Any] | None] = [None] * len(forks)
    while None in ends:
        for number, fork in enumerate(forks):
            ends[number] = ends[number] or fork.look()
        time.sleep(0.002)
    return [end for end in ends if end is not None]


if __name__ == "__main__":
    for name in LOADED:
        importlib.import_module(name)
    importlib.import_module("PIL.Image").init()
    importlib.import_module("torch").set_num_threads(1)
    # Every change to the disk by a training counts: it saves after each step.
    importlib.import_module("nofrost.train.trainer").save_interval_s = lambda: 0.0
    # Forks need not copy what the collector would touch.
    gc.collect()
    gc.freeze()
    for line in sys.stdin:
        print(json.dumps(serve(json.loads(line))), flush=True)
    # Without the end of the interpreter, in which triton complains of leaks.
    os._exit(0)
