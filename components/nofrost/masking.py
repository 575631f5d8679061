"""Texts that leave this process, such as errors and logs in the store, hold none of the secrets that it knows."""

from __future__ import annotations

import os
import re

_LOGIN = re.compile(r"(?<=://)[^/\s@]+@")
_SECRET_NAMES = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL", re.IGNORECASE)
# Shorter values, such as "1", are no secrets, and stand in every other text.
_LEAST_SECRET = 8


def without_secrets(text: str) -> str:
    """Return `text` without logins in URLs and without the values of secret variables of the environment."""
    text = _LOGIN.sub("***@", text)
    for name, value in os.environ.items():
        if len(value) >= _LEAST_SECRET and _SECRET_NAMES.search(name):
            text = text.replace(value, "***")
    return text
