"""The errors that are the user's to mend: one sentence each, no traceback on the command line."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """Wrong usage, configuration or input. The message says what is wrong, where, and what to do.

    On the command line it is printed as one sentence with exit code 2; in Python it is a ``ValueError``.
    """


class StoppedError(Exception):
    """The stage was asked to stop (SIGTERM), saved its state and can be started again; exit code 143."""


class RunFailedError(Exception):
    """A run of the pipeline did not succeed. The message names the tasks and what they said; exit code 1."""


def unknown(kind: str, name: object, known: Iterable[str]) -> UserError:
    """Return the error for a name that is not in a registry: names the closest match and all that are known."""
    names = sorted(known)
    close = difflib.get_close_matches(str(name), names, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return UserError(f"unknown {kind} {str(name)!r}: {hint}known are {', '.join(names) or 'none'}")
