"""Errors that end a command with a message of one sentence and an exit code instead of a traceback."""

import difflib
import re
import reprlib
import sys
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from typing import ClassVar, NoReturn

# Control characters, which a terminal obeys, marks that reorder what stands around them, other kinds of line breaks,
# and halves of characters (bytes of file names that are not UTF-8), which no stream can encode.
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


_LONGEST = 1400  # characters of a message: a file from outside may contain anything, also in names


def printable(text: str, keep: str = "") -> str:
    r"""Return `text`, which may hold names from outside, so that it is safe to show: ``\x1b`` for an escape character.

    Args:
        keep: characters to leave as they are, such as the line breaks of a table.
    """
    return _UNPRINTABLE.sub(lambda match: match[0] if match[0] in keep else _escaped(match[0]), text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def as_text(line: str, level: str) -> str:
    """Return a line as people read it."""
    return printable(line)


# How a line for people is written, given its level (info, warning, error); :mod:`nofrost.telemetry.log` replaces it.
sentence_format: Callable[[str, str], str] = as_text


def say(line: str, level: str = "info") -> bool:
    """Print a line for people on standard error, at once; return whether it could be written."""
    return write_line(sentence_format(line, level))


def write_line(line: str) -> bool:
    """Write a line on standard error, at once; return whether it could be written.

    Work never fails because no one can read about it: standard error may be closed, or a file on a full disk.
    """
    # `print` would take standard output instead.
    if sys.stderr is None:
        return False
    try:
        print(line, file=sys.stderr, flush=True)
    except (OSError, ValueError):
        return False
    return True


def show(line: str) -> None:
    """Print the line of an error on standard error; on standard output where that is closed or full."""
    if not say(line, "error"):
        with suppress(OSError, ValueError):
            print(printable(line), flush=True)


class ReportedError(Exception):
    """An error whose message is all that a user needs: what is wrong, where, and what to do."""

    exit_code: ClassVar[int] = 1

    def exit(self) -> NoReturn:
        """Print the message on standard error and end the process with the exit code of this kind of error."""
        self.show()
        sys.exit(self.exit_code)

    def show(self) -> None:
        """Print the message like :func:`show`."""
        text = str(self)
        show(f"nofrost: {text if len(text) <= _LONGEST else f'{text[:900]} ... {text[-300:]}'}")


class UserError(ReportedError, ValueError):
    """Wrong usage, configuration or input. In Python it is a ``ValueError``."""

    exit_code: ClassVar[int] = 2


class UnavailableError(UserError):
    """A server is busy or cannot be reached: not a mistake, so that the same may succeed later."""

    exit_code: ClassVar[int] = 1


class StoppedError(ReportedError):
    """The stage was asked to stop (SIGTERM), saved its state and can be started again."""

    exit_code: ClassVar[int] = 143


class PeerLostError(ReportedError):
    """Another process or node of the same job is gone, or never came: nothing is wrong here, and all can start again.

    The exit code is none that a shell, a signal or Python gives.
    """

    exit_code: ClassVar[int] = 200


class RunFailedError(ReportedError):
    """A run of the pipeline failed. The message names it and its error."""


class _Shortened(reprlib.Repr):
    """The form of a value in a message, made from no more of the value than is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxstring, self.maxother = 4, 77, 77
        self.maxdict = self.maxlist = self.maxtuple = self.maxset = 20

    def repr_str(self, text: str, level: int) -> str:
        return repr(text) if len(text) <= self.maxstring else f"{text[: self.maxstring - 3]!r}..."

    def repr_int(self, number: int, level: int) -> str:
        # Python refuses to write numbers of more than 4,300 digits
        return repr(number) if number.bit_length() < 1000 else f"a number of {number.bit_length()} bits"


def shortened(value: object) -> str:
    """Return the value in the form that messages show, at most 80 characters; a large one is cut before it is read."""
    text = _Shortened().repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def remark(text: str) -> None:
    """Print a sentence on standard error that a user should read, though the work continues."""
    say(f"nofrost: {text}", "warning")


def unknown(kind: str, name: object, known: Iterable[str]) -> UserError:
    """Return the error for an unknown name: its message suggests the closest match and lists all names."""
    names = sorted(known)
    return UserError(
        f"unknown {kind} {shortened(str(name))}: {closest(name, names)}known are {', '.join(names) or 'none'}"
    )


def closest(name: object, known: Collection[str]) -> str:
    """Return ``did you mean 'x'? `` for the closest of `known`, with a space at its end; empty if none is close."""
    # the comparison takes time in the square of the length
    matches = difflib.get_close_matches(str(name)[:200], known, n=1)
    return f"did you mean {matches[0]!r}? " if matches else ""


def reason(error: BaseException) -> str:
    """Return the kind and the first clause of an error that is not ours, such as torch's, in one short line."""
    try:
        text = str(error)
    except Exception:
        text = ""
    clause = " ".join(re.split(r"\n|\. ", text.strip(), maxsplit=1)[0].split())
    clause = clause if len(clause) <= 200 else f"{clause[:196]} ..."
    return f"{type(error).__name__}: {clause}" if clause else type(error).__name__
