"""The lock files fit pyproject.toml, and say by hash what is installed and nothing of where it is from."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
LOCKS = ROOT / "docker" / "locks"
ENTRY = re.compile(r"(?P<name>[a-z0-9-]+)==(?P<version>[0-9a-z.+!]+)(?: --hash=sha256:[0-9a-f]{64})+")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
EVERY = sorted(path.name for path in LOCKS.iterdir())
ACCELERATORS = ("cpu", "cuda")


def read(name: str) -> dict[str, str]:
    """Return the version of each distribution. Every line must be an entry with hashes: no index, link or option."""
    text = re.sub(r"\s*\\\n\s*", " ", (LOCKS / name).read_text())
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    entries = [ENTRY.fullmatch(line) for line in lines]
    assert [line for line, entry in zip(lines, entries, strict=True) if not entry] == []
    return {entry["name"]: entry["version"] for entry in entries if entry}


def required(extra: str) -> list[str]:
    """Return what the project and one of its extras ask for; an extra may name others of the same project."""
    project = PROJECT["project"]
    asked, lines = [extra], list(project["dependencies"])
    while asked:
        for line in project["optional-dependencies"][asked.pop()]:
            requirement = Requirement(line)
            if requirement.name == project["name"]:
                asked += requirement.extras
            else:
                lines.append(line)
    return lines


def unmet(requirements: list[str], locked: dict[str, str]) -> list[str]:
    """Return the requirements that no locked version satisfies."""
    wanted = [Requirement(line) for line in requirements]
    versions = [locked.get(canonicalize_name(one.name)) for one in wanted]
    return [
        str(one) for one, version in zip(wanted, versions, strict=True) if not version or version not in one.specifier
    ]


def test_there_is_a_lock_for_each_image_and_accelerator() -> None:
    assert EVERY == ["build.txt", "stage-cpu.txt", "stage-cuda.txt", "train-cpu.txt", "train-cuda.txt"]


@pytest.mark.parametrize("name", EVERY)
def test_every_line_is_a_version_with_hashes(name: str) -> None:
    assert len(read(name)) >= len(PROJECT["build-system"]["requires"])


@pytest.mark.parametrize("accelerator", ACCELERATORS)
def test_the_locks_hold_what_the_project_asks_for(accelerator: str) -> None:
    assert unmet(required("store"), read(f"train-{accelerator}.txt")) == []
    assert unmet(required("pipeline"), read(f"stage-{accelerator}.txt")) == []
    assert "kfp-kubernetes" in read(f"stage-{accelerator}.txt")


def test_the_build_is_locked_too() -> None:
    assert unmet(PROJECT["build-system"]["requires"], read("build.txt")) == []


@pytest.mark.parametrize("accelerator", ACCELERATORS)
def test_the_training_image_is_the_stage_image_without_kubeflow(accelerator: str) -> None:
    train, stage = read(f"train-{accelerator}.txt"), read(f"stage-{accelerator}.txt")
    assert train.items() < stage.items()
    assert not [name for name in train if name.startswith(("kfp", "kubernetes", "dvc"))]


@pytest.mark.parametrize("accelerator", ACCELERATORS)
def test_torch_and_torchvision_are_of_one_kind(accelerator: str) -> None:
    locked = read(f"stage-{accelerator}.txt")
    on_cpu = [locked[name].endswith("+cpu") for name in ("torch", "torchvision")]
    assert on_cpu == [accelerator == "cpu"] * 2
    assert any(name.startswith(("nvidia-", "triton")) for name in locked) == (accelerator == "cuda")


@pytest.mark.parametrize(
    "line",
    ["torch", "torch==1.0", "--index-url https://example.org", "torch @ https://example.org/torch.whl", "torch>=1.0"],
)
def test_lines_that_name_no_hash_are_found(line: str) -> None:
    assert not ENTRY.fullmatch(line)


def test_a_requirement_that_is_not_met_is_found() -> None:
    assert unmet(["torch>=2.6", "kfp>=2.17"], {"torch": "2.5.1+cpu"}) == ["torch>=2.6", "kfp>=2.17"]
