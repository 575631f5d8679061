"""Errors that end a command with a message of one sentence and an exit code instead of a traceback."""

import difflib
import sys
from collections.abc import Collection, Iterable
from typing import ClassVar, NoReturn


class ReportedError(Exception):
    """An error whose message is all that a user needs: what is wrong, where, and what to do."""

    exit_code: ClassVar[int] = 1

    def exit(self) -> NoReturn:
        """Print the message on standard error and end the process with the exit code of this kind of error."""
        print(f"nofrost: {self}", file=sys.stderr)
        sys.exit(self.exit_code)


class UserError(ReportedError, ValueError):
    """Wrong usage, configuration or input. In Python it is a ``ValueError``."""

    exit_code: ClassVar[int] = 2


class StoppedError(ReportedError):
    """The stage was asked to stop (SIGTERM), saved its state and can be started again."""

    exit_code: ClassVar[int] = 143


class RunFailedError(ReportedError):
    """A run of the pipeline, or another process of this one's group, failed. The message names it and its error."""


def unknown(kind: str, name: object, known: Iterable[str]) -> UserError:
    """Return the error for an unknown name: its message suggests the closest match and lists all names."""
    names = sorted(known)
    return UserError(f"unknown {kind} {str(name)!r}: {closest(name, names)}known are {', '.join(names) or 'none'}")


def closest(name: object, known: Collection[str]) -> str:
    """Return ``did you mean 'x'? `` for the closest of `known`, with a space at its end; empty if none is close."""
    matches = difflib.get_close_matches(str(name), known, n=1)
    return f"did you mean {matches[0]!r}? " if matches else ""


def reason_of(error: BaseException) -> str:
    """Return the first line of what another library says of an error, at most 200 characters; else its type."""
    lines = str(error).strip().splitlines()
    return lines[0][:200].rstrip(" .:") if lines else type(error).__name__
