"""Code of others that runs in this process: how it ends is told in a sentence, and what it changed is put back."""

import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import torch

from nofrost.errors import ReportedError, UserError, reason
from nofrost.stopping import TerminatedError


@contextmanager
def foreign_code(failure: str, program: str) -> Iterator[None]:
    """Run the block, which runs code of others, and put back what it changes of this process.

    That is: the current folder, ``sys.argv`` (which holds only `program` inside), standard streams, signal handlers,
    filters of warnings, and torch's default type and device, gradient mode, threads and choice of algorithms. What it
    prints goes to standard error, as standard output holds results. Only a process that it ends at once, such as by
    ``os._exit``, cannot be kept.

    Args:
        failure: begins the message of errors, such as ``model nets:resnet cannot be created``.
        program: what the code sees as the program's name.

    Raises:
        UserError: the code raised anything, or called ``sys.exit``.
        TerminatedError: SIGTERM was received.
    """
    interruptions: list[int] = []
    with _restored(), redirect_stderr(sys.stderr), redirect_stdout(sys.stderr), _noted(interruptions):
        arguments, sys.argv = sys.argv, [program]
        try:
            yield
        except (ReportedError, TerminatedError):
            raise
        except BaseException as error:
            # A person who presses Ctrl-C means us; code that raises the same exception does not.
            if interruptions:
                raise KeyboardInterrupt from None
            ending = ", which would end the process" if isinstance(error, SystemExit) else ""
            raise UserError(f"{failure}: it raised {reason(error)}{ending}") from error
        finally:
            sys.argv = arguments


@contextmanager
def _noted(interruptions: list[int]) -> Iterator[None]:
    """Note each Ctrl-C in `interruptions` before it raises KeyboardInterrupt."""

    def note(number: int, frame: FrameType | None) -> NoReturn:
        interruptions.append(number)
        raise KeyboardInterrupt

    if _is_main_thread() and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, note)
    yield


@contextmanager
def _restored() -> Iterator[None]:
    settings = [(get, change, get()) for get, change in _settings()]
    try:
        with warnings.catch_warnings():
            yield
    finally:
        for get, change, value in settings:
            # The current folder may be gone.
            with suppress(OSError):
                if get() != value:
                    change(value)


def _settings() -> list[tuple[Callable[[], Any], Callable[[Any], Any]]]:
    """Return how each setting of the process is read and changed."""
    settings: list[tuple[Callable[[], Any], Callable[[Any], Any]]] = [
        (_current_folder, _set_folder),
        (torch.get_default_dtype, torch.set_default_dtype),
        (torch.get_default_device, lambda device: torch.set_default_device(None if device.type == "cpu" else device)),
        (torch.is_grad_enabled, lambda enabled: torch.set_grad_enabled(enabled)),
        (torch.get_num_threads, torch.set_num_threads),
        (torch.get_deterministic_debug_mode, torch.set_deterministic_debug_mode),
        (torch.is_anomaly_enabled, lambda enabled: torch.autograd.set_detect_anomaly(enabled)),
    ]
    for number in (signal.SIGINT, signal.SIGTERM) if _is_main_thread() else ():
        settings += [(partial(signal.getsignal, number), partial(_set_handler, number))]
    return settings


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _set_handler(number: int, handler: Any) -> None:
    # None is a handler that was not set from Python, and cannot be set again.
    if handler is not None:
        signal.signal(number, handler)


def _current_folder() -> Path | None:
    try:
        return Path.cwd()
    except OSError:
        return None


def _set_folder(folder: Path | None) -> None:
    if folder is not None:
        os.chdir(folder)
