"""One word for one thing: no two classes or modules share a name without a reason, and papers go by their keys."""

from __future__ import annotations

import ast
import re
import subprocess
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCES = [
    path
    for folder in ("components/nofrost", "pipelines")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if "__pycache__" not in path.parts
]
# Names that several classes share, with the reason why.
SHARED_CLASSES: dict[str, str] = {}
# Folders whose modules are named after what they command, judge, measure, show or describe.
NAMED_AFTER_OTHERS = (
    "components/nofrost/cli",
    "components/nofrost/evaluate/alarms",
    "components/nofrost/evaluate/properties",
    "components/nofrost/report/figures",
    "components/nofrost/report/sections",
    "components/nofrost/results",
)
# Names that several other modules or folders share, with the reason why.
SHARED_MODULES = {
    "__init__": "of each package",
    "__main__": "of `python -m nofrost` and `python -m pipelines`",
    "base": "the base class of each family of methods, beside them",
    "champion": "the folder, and the class in it",
    "api": "requests to Kubernetes, and to Kubeflow Pipelines",
    "cli": "the commands of `nofrost`, and those of `python -m pipelines`",
    "errors": "of the package, and of requests to Kubernetes",
    "model": "the settings of a model, and the model as an attack sees it",
    "promotion": "the folder, and the class in it",
    "properties": "their settings, and the folder that measures them",
    "protocol": "how a suite is measured, and what a report says of the suite's",
    "registry": "the class, where the architectures are registered, and Kubeflow's Model Registry",
    "schedule": "that of the learning rate, and the folder of those of studies",
    "stage": "the contract of stages, and the stage in each of their folders",
}


def shared(names: dict[str, list[str]]) -> dict[str, list[str]]:
    return {name: places for name, places in names.items() if len(places) > 1}


def test_no_two_classes_share_a_name_without_a_reason() -> None:
    places = defaultdict(list)
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert {name: where for name, where in shared(places).items() if name not in SHARED_CLASSES} == {}
    assert set(SHARED_CLASSES) <= set(shared(places)), "a reason without two classes"


def test_no_two_modules_share_a_name_without_a_reason() -> None:
    places = defaultdict(list)
    for path in SOURCES:
        if str(path.parent.relative_to(ROOT)) not in NAMED_AFTER_OTHERS:
            places[path.stem].append(str(path.relative_to(ROOT)))
    for folder in {path.parent for path in SOURCES}:
        places[folder.name].append(f"{folder.relative_to(ROOT)}/")
    assert {name: where for name, where in shared(places).items() if name not in SHARED_MODULES} == {}
    assert set(SHARED_MODULES) <= set(shared(places)), "a reason without two modules"


def test_papers_go_by_their_keys_and_not_by_numbers() -> None:
    """The papers were once called by the numbers of a reading list."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    folders = ("components/", "pipelines/", "docs/", "benchmarks/", "docker/", "k8s/", "tests/")
    suffixes = {".py", ".md", ".yaml", ".yml", ".toml", ".html", ".j2", ".sh", ""}
    number = re.compile(r"(?<!\.)\b00[1-4]\b")
    lines = []
    for name in listed.split("\0"):
        path = ROOT / name
        if not path.is_file() or path.suffix not in suffixes or ("/" in name and not name.startswith(folders)):
            continue
        for line_number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            lines += [f"{name}:{line_number}: {line.strip()}"] if number.search(line) else []
    assert lines == []
