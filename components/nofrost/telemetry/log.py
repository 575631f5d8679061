"""Structured logs: one event a line, as JSON, for whatever collects the logs of a cluster.

A command or a task writes events of its work (progress, epochs, saves) as JSON where standard error is no terminal, and
the sentences that it says to people as they are. NOFROST_LOG=json makes JSON of both, also on a terminal, and
NOFROST_LOG=text of neither. Used as a library, the package writes text.

Every event has the keys ``time`` (UTC), ``level``, ``event`` and ``message``, and those of ``run``, ``job``, ``stage``,
``recipe``, ``seed`` and ``rank`` that are known.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from nofrost import errors
from nofrost.errors import UserError, shortened
from nofrost.ranks import process_rank

VARIABLE = "NOFROST_LOG"
# What all events of this process share, and whether they are JSON.
_shared: dict[str, object] = {}
_is_structured = False


def begin(run: str, job: str) -> None:
    """Let this process, a command or a task, write its log as NOFROST_LOG says.

    Args:
        run: id of the run of the pipeline; empty outside of one.
        job: name of the training job; empty outside of one.

    Raises:
        UserError: the variable is neither json nor text.
    """
    global _is_structured
    choice = os.environ.get(VARIABLE, "")
    if choice not in ("", "json", "text"):
        raise UserError(f"{VARIABLE} is {shortened(choice)}: set it to json or text, or unset it")
    _shared.update({name: value for name, value in {"run": run, "job": job}.items() if value})
    is_terminal = sys.stderr is not None and sys.stderr.isatty()
    _is_structured = choice == "json" or (choice == "" and not is_terminal)
    errors.sentence_format = _sentence if choice == "json" else errors.as_text


def end() -> None:
    """Write text again, as a library does."""
    global _is_structured
    _is_structured = False
    _shared.clear()
    errors.sentence_format = errors.as_text


def is_structured() -> bool:
    """Whether events of the work are JSON."""
    return _is_structured


def event(name: str, message: str, **values: object) -> None:
    """Write an event as a line of JSON; nothing where logs are text.

    Args:
        name: of the kind of event, such as ``epoch``.
        message: the same for people.
        values: JSON values; nan and infinity become null.
    """
    if _is_structured:
        errors.write_line(_line("info", name, message, **values))


@contextmanager
def shared_by_events(**values: str) -> Iterator[None]:
    """Give all events of the block these values; empty ones are left out."""
    earlier = dict(_shared)
    _shared.update({name: value for name, value in values.items() if value})
    try:
        yield
    finally:
        _shared.clear()
        _shared.update(earlier)


def _sentence(text: str, level: str) -> str:
    return _line(level, "message", text)


def _line(level: str, name: str, message: str, **values: object) -> str:
    time = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    content = {"time": time, "level": level, "event": name, "message": message, **_shared, **_rank(), **values}
    # In ASCII: no line break and nothing that a terminal obeys.
    return json.dumps(_finite(content), default=str, allow_nan=False)


def _finite(value: object) -> object:
    """Return a JSON value with null for numbers that JSON does not have, such as the loss of a model that diverged."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


def _rank() -> dict[str, int]:
    try:
        process = process_rank()
    except UserError:
        # Whoever depends on it says so.
        return {}
    return {"rank": process.rank} if process.size > 1 else {}
