"""Run command lines of nofrost, each in a child forked from this process, which has loaded everything once.

Each line of standard input is a list of runs as JSON. It writes a line of JSON for each of them as it ends.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

from fork import become, load

MEMORY = 2 << 30  # bytes above what this process has
SECONDS = 10.0
AT_ONCE = 2


def private_bytes() -> int:
    """Return the private writable memory of this process, which RLIMIT_DATA limits."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return 1024 * int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmData:")))


def run(arguments: list[str], folder: str) -> NoReturn:
    """Become the command: `folder` is the current folder; what it prints goes to files beside it."""
    os.setsid()
    os.chdir(folder)
    for number, name in ((0, os.devnull), (1, f"{folder}.stdout"), (2, f"{folder}.stderr")):
        os.dup2(os.open(name, os.O_RDWR | os.O_CREAT | os.O_TRUNC), number)
    resource.setrlimit(resource.RLIMIT_DATA, (private_bytes() + MEMORY,) * 2)
    become(arguments)


def serve(runs: list[dict[str, Any]]) -> None:
    """Run all, at most two at once; a code of None means that a run took too long and was killed."""
    waiting, running = runs[::-1], dict[int, tuple[dict[str, Any], float]]()
    while waiting or running:
        while waiting and len(running) < AT_ONCE:
            task = waiting.pop()
            child = os.fork()
            if child == 0:
                run(task["arguments"], task["folder"])
            running[child] = (task, time.monotonic())
        ended, status = os.waitpid(-1, os.WNOHANG)
        if ended:
            task, began = running.pop(ended)
            code = os.waitstatus_to_exitcode(status)
            print(json.dumps({"folder": task["folder"], "code": code, "seconds": time.monotonic() - began}), flush=True)
            continue
        for child, (task, began) in list(running.items()):
            if time.monotonic() - began > SECONDS:
                os.killpg(child, signal.SIGKILL)
                os.waitpid(child, 0)
                del running[child]
                print(json.dumps({"folder": task["folder"], "code": None, "seconds": SECONDS}), flush=True)
        time.sleep(0.002)


if __name__ == "__main__":
    load()
    for line in sys.stdin:
        serve(json.loads(line))
