"""The build's own rules: a clean Dockerfile, a pinned base, a small context."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "docker" / "Dockerfile"
MAY_ENTER = re.compile(r"(pyproject\.toml|README\.md|LICENSE|components/nofrost/.+|docker/locks/.+\.txt)")


def test_the_dockerfile_is_clean() -> None:
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    if not hadolint:
        pytest.skip("hadolint is not installed")
    checked = subprocess.run((hadolint, DOCKERFILE), capture_output=True, text=True)
    assert checked.stdout == ""
    assert checked.returncode == 0


def test_the_base_is_pinned_by_tag_and_digest() -> None:
    bases = re.findall(r"^ARG BASE=(.+)$", DOCKERFILE.read_text(), re.MULTILINE)
    assert len(bases) == 1
    assert re.fullmatch(r"python:3\.11-slim-bookworm@sha256:[0-9a-f]{64}", bases[0])


def test_no_registry_is_needed_but_for_the_base() -> None:
    text = DOCKERFILE.read_text()
    stages = set(re.findall(r" AS (\S+)$", text, re.MULTILINE))
    origins = set(re.findall(r"^FROM (\S+)", text, re.MULTILINE)) | set(re.findall(r"from=(\S+?)[, ]", text))
    assert origins - stages == {"${BASE}"}
    assert not text.startswith("# syntax=")


def test_the_context_holds_only_what_the_build_reads() -> None:
    build = pytest.importorskip("docker.utils.build", reason="the docker SDK, which reads .dockerignore, is missing")
    patterns = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    paths = build.exclude_paths(str(ROOT), patterns) - {".dockerignore"}  # which every client sends, for the engine
    entering = [path for path in paths if (ROOT / path).is_file()]
    assert [path for path in entering if not MAY_ENTER.fullmatch(path) or "__pycache__" in path] == []
    assert {"pyproject.toml", "components/nofrost/__init__.py", "docker/locks/train-cuda.txt"} <= set(entering)
    assert sum((ROOT / path).stat().st_size for path in entering) < 4_000_000
