"""Certificates for the double of the API server."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from pathlib import Path

import pytest


def make_certificate(key: Path, certificate: Path, name: str) -> None:
    """Write a key and its own certificate for 127.0.0.1; skip the test without openssl."""
    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed")
    command = (
        f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -noenc -days 2 -subj /CN={name} "
        f"-addext subjectAltName=IP:127.0.0.1 -keyout {key} -out {certificate}"
    )
    subprocess.run(shlex.split(command), check=True, capture_output=True)
