"""Standard output and error as they are: closed, full, or of an encoding that lacks characters."""

import io
import os
import sys
from contextlib import suppress
from pathlib import Path

from nofrost.errors import UserError
from nofrost.system_errors import cannot_write


def prepare_streams() -> None:
    """Let the streams take every character, and keep the numbers of closed ones from being given to files."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # The lowest free number is `number`. What a C library prints on standard error must not end up in a file
            # that happened to get that number.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def output_error() -> OSError | None:
    """Return the error for which standard output cannot take what was printed; None if it has taken all."""
    try:
        if sys.stdout is not None and not sys.stdout.closed:
            sys.stdout.flush()
    except OSError as error:
        return error
    return None


def finish_streams(code: int) -> int:
    """Return the exit code of the process: `code`, or that of an error of standard output, which is printed.

    A reader that has closed the pipe, as `head` does, has what it wants: 1 without a word.
    """
    error = output_error()
    if isinstance(error, BrokenPipeError):
        code = code or 1
    elif error is not None:
        cannot_write(error, Path("standard output")).show()
        code = code or UserError.exit_code
    # Python tries again at its end, and would then print an error and exit with 120.
    for stream in (sys.stdout, sys.stderr):
        with suppress(ValueError):  # closed in Python
            try:
                if stream is not None:
                    stream.flush()
            except OSError:
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return code
