"""The sentence that a mistake in a configuration ends as, and the file that holds the mistake."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nofrost.errors import UserError


def complaint(call: Callable[[], Any]) -> str:
    """Return the message of the UserError that `call` must raise, after checking its form."""
    with pytest.raises(UserError) as caught:
        call()
    message = str(caught.value)
    assert message
    assert "\n" not in message
    assert not any(trace in message for trace in ("Traceback", "Error:", "pydantic", "For further information", "0x"))
    assert len(message) < 800
    return message


def file(tmp_path: Path, text: str | bytes, name: str = "mine.yaml") -> Path:
    path = tmp_path / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path
