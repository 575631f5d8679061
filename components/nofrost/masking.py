"""Texts that leave this process, such as errors and logs in the store, hold none of the secrets that it knows."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

_LOGIN = re.compile(r"(?<=://)[^/\s@]+@")
_SECRET_NAMES = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL", re.IGNORECASE)
# Shorter values, such as "1", are no secrets, and stand in every other text.
_LEAST_SECRET = 8


def secret_values() -> list[str]:
    """Return the values of secret variables of the environment."""
    return [value for name, value in os.environ.items() if len(value) >= _LEAST_SECRET and _SECRET_NAMES.search(name)]


def without_secrets(text: str, secrets: Iterable[str] | None = None) -> str:
    """Return `text` without logins in URLs and without secrets.

    Args:
        secrets: None for :func:`secret_values`, which whoever has many texts reads once.
    """
    text = _LOGIN.sub("***@", text)
    for value in secret_values() if secrets is None else secrets:
        text = text.replace(value, "***")
    return text
