"""What `kubectl kustomize` makes of a folder."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

Json = dict[str, Any]
FOLDER = Path(__file__).resolve().parents[2] / "k8s"
needs_kubectl = pytest.mark.skipif(shutil.which("kubectl") is None, reason="needs kubectl, which renders the manifests")


def render(folder: Path) -> list[Json]:
    """Return the objects that a folder renders to; it is read once, and has to stay as it is after that.

    Raises:
        AssertionError: kubectl refuses it; the message is kubectl's.
    """
    return [item for item in yaml.load_all(_text(folder), getattr(yaml, "CSafeLoader", yaml.SafeLoader)) if item]


@cache
def _text(folder: Path) -> str:
    done = subprocess.run(
        ["kubectl", "kustomize", str(folder)], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def find(items: Iterable[Json], kind: str, name: str) -> Json:
    """Return the only object of a kind and name."""
    (found,) = (item for item in items if (item["kind"], item["metadata"]["name"]) == (kind, name))
    return found
