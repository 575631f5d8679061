"""What all tests that compile a pipeline have in common."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def _stack_without_source() -> Iterator[None]:
    """Leave the source out of the stack for whose names kfp asks at every change of a task.

    To find it Python looks at every loaded module, of which the process of the tests has thousands.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inspect, "stack", functools.partial(inspect.stack, 0))
        yield
