"""Standard output and error as they are: closed, full, or of an encoding that lacks characters."""

import io
import os
import sys
import traceback
from contextlib import suppress
from pathlib import Path

import click

from nofrost.errors import UserError
from nofrost.system_errors import cannot_write


def prepare_streams() -> None:
    """Let the streams take every character, and keep the numbers of closed ones from being given to files.

    Warnings of torch's libraries in C++ stay away from them: for every lost connection these print a stack trace,
    beside our sentence. TORCH_CPP_LOG_LEVEL=WARNING brings them back.
    """
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # The lowest free number is `number`. What a C library prints on standard error must not end up in a file
            # that happened to get that number.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # It writes out what the stream holds, which the disk may refuse.
            with suppress(OSError):
                stream.reconfigure(errors="backslashreplace")


def output_error(error: OSError) -> int | None:
    """Print that standard output refused what was printed and return the exit code; None where it was another file.

    A reader that has closed the pipe, as `head` does, has what it wants: 1, silently.
    """
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    # All results and helps are printed by click's function. The stream itself has forgotten what it could not write.
    if frame.f_code not in (click.echo.__code__, finish_streams.__code__):
        return None
    if isinstance(error, BrokenPipeError):
        return 1
    cannot_write(error, Path("standard output")).show()
    return UserError.exit_code


def finish_streams(code: int) -> int:
    """Write out what the streams hold; return the exit code of the process, which is `code` unless that fails."""
    try:
        if sys.stdout is not None and not sys.stdout.closed:
            sys.stdout.flush()
    except OSError as error:
        code = code or output_error(error) or code
    # Python tries again at its end, and would then print an error and exit with 120.
    for stream in (sys.stdout, sys.stderr):
        with suppress(ValueError):  # closed in Python
            try:
                if stream is not None:
                    stream.flush()
            except OSError:
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return code
