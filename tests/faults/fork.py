"""What the scripts that run nofrost in forks share: everything is loaded once, and a fork becomes a command."""

from __future__ import annotations

import gc
import importlib
import os
import sys
import traceback
from collections.abc import Callable
from typing import NoReturn

# torch._dynamo: every first optimiser of a process loads it, for seconds
LOADED = (
    "matplotlib.backends.backend_svg", "matplotlib.pyplot", "PIL.Image", "scipy.stats", "sklearn.datasets",
    "torch._dynamo", "torchvision", "nofrost.augment", "nofrost.cli", "nofrost.evaluate", "nofrost.evaluate.card",
    "nofrost.prepare", "nofrost.promotion", "nofrost.report", "nofrost.report.sections", "nofrost.store",
    "nofrost.tasks", "nofrost.train",
)  # fmt: skip


def load() -> None:
    """Load what any command needs."""
    for name in LOADED:
        importlib.import_module(name)
    importlib.import_module("PIL.Image").init()
    # Forks need not copy what the collector would touch.
    gc.collect()
    gc.freeze()


def become(arguments: list[str], finish: Callable[[], None] = lambda: None) -> NoReturn:
    """Run `nofrost ARGUMENTS` and end this process as the command ends, after calling `finish`."""
    from nofrost.cli import main

    sys.argv = ["nofrost", *arguments]
    code = 0
    try:
        main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    finish()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
