"""What the tests of corruptions share."""

from __future__ import annotations

import pytest

from nofrost.transforms.corruptions import compilation


@pytest.fixture(autouse=True)
def _torch_alone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Quick tests go by torch alone, as compiling loops takes longer; test_kernels.py compares the two ways."""
    if request.node.get_closest_marker("slow") is None:
        monkeypatch.setattr(compilation, "has_compiler", lambda: False)
