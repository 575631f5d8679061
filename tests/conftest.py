"""What several folders of tests share: a small dataset of real digits."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from nofrost.config import DatasetSpec

# Tests read what commands say to people, though no terminal is here.
os.environ.setdefault("NOFROST_LOG", "text")
# A busy machine is no failure: examples have no time limit.
hypothesis.settings.register_profile("nofrost", deadline=None)
hypothesis.settings.load_profile("nofrost")


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of 300 digits at 16 x 16 pixels. Read only: copy it before changing anything."""
    from nofrost import prepare

    folder = tmp_path_factory.mktemp("digits") / "dataset"
    prepare.run(DatasetSpec(source="digits", image_size=16, limit=300), folder)
    return folder


def stack_without_source(context: int = 0) -> list[inspect.FrameInfo]:
    """Return what `inspect.stack` does, of the caller first, but for the lines of the source."""
    frame, frames = sys._getframe(1), []
    while frame is not None:
        code = frame.f_code
        frames.append(inspect.FrameInfo(frame, code.co_filename, frame.f_lineno, code.co_name, None, None))
        frame = frame.f_back
    return frames


@pytest.fixture(scope="session", autouse=True)
def _stack_without_source() -> Iterator[None]:
    """Leave the source out of the stack, of which torch's rendezvous and kfp want the names alone, again and again.

    To find the source of code that has no file, such as that of pytest-xdist, Python looks at every loaded module, of
    which the process of the tests has thousands.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inspect, "stack", stack_without_source)
        yield
