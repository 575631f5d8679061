"""A program that ends the tasks of a local run when the run is killed: `kill -9` leaves no time for that.

Its standard input is a pipe from the run, which is closed when the run ends, however it does. A line says that a task
begins (``+ KIND ID``) or has ended (``- KIND ID``); the kinds are ``group``, of processes, and ``container``. Its
arguments are files with secrets, which it deletes at the end.
"""

import os
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

# What a task may take to save, in seconds.
SAVE_GRACE_S = 60.0


def has_living(group: int) -> bool:
    """Return whether a process of this group lives; one that has ended and is still listed does not."""
    try:
        for path in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):
                state, _, member_of = path.read_text(errors="replace").rpartition(")")[2].split()[:3]
                if int(member_of) == group and state not in "ZX":
                    return True
        return False
    except ValueError:
        return False


def is_running(identifier: str) -> bool:
    """Return whether this container is there and has not ended; also where Docker does not say."""
    import docker

    try:
        return docker.from_env().containers.get(identifier).status not in ("exited", "dead")
    except docker.errors.NotFound:
        return False
    except (docker.errors.DockerException, OSError):
        return True


def _lives(kind: str, identifier: str) -> bool:
    return has_living(int(identifier)) if kind == "group" else is_running(identifier)


def send(kind: str, identifier: str, number: signal.Signals) -> None:
    """Send a signal to a task, if it is still there."""
    if kind == "group":
        with suppress(OSError):
            os.killpg(int(identifier), number)
        return
    import docker

    with suppress(docker.errors.DockerException, OSError):
        container = docker.from_env().containers.get(identifier)
        if number == signal.SIGKILL:
            container.remove(force=True)
        else:
            container.kill(signal=number.name)


def main(secrets: Sequence[str] = ()) -> None:
    """Note the tasks, end those that are left when the pipe is closed, and delete the files with secrets."""
    # A Ctrl-C is for the run.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    tasks: set[tuple[str, str]] = set()
    try:
        for line in sys.stdin:
            sign, kind, identifier = line.split()
            (tasks.add if sign == "+" else tasks.discard)((kind, identifier))
        for task in tasks:
            send(*task, signal.SIGTERM)
        end = time.monotonic() + SAVE_GRACE_S
        while time.monotonic() < end and any(_lives(*task) for task in tasks):
            time.sleep(0.2)
        for task in tasks:
            send(*task, signal.SIGKILL)
    finally:
        for secret in secrets:
            Path(secret).unlink(missing_ok=True)


if __name__ == "__main__":
    main(sys.argv[1:])
