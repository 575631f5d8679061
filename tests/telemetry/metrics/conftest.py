"""A Pushgateway for the tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.telemetry.metrics.servers import pushgateway


@pytest.fixture
def gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of an empty Pushgateway, which this process pushes to."""
    with pushgateway(tmp_path) as address:
        monkeypatch.setenv("NOFROST_PUSHGATEWAY", address)
        yield address
