"""A compiled pipeline as a file, and the arguments that it takes."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nofrost.errors import UserError

pytest.importorskip("kfp")

from pipelines.submit.compiled import read_compiled

GOLDEN = Path(__file__).parents[1] / "golden" / "nofrost.yaml"


def test_the_compiled_pipeline_of_this_project_is_read() -> None:
    compiled = read_compiled(GOLDEN)
    assert compiled.name == "nofrost"
    assert compiled.required <= set(compiled.parameters)


def test_the_version_is_the_content(package: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.yml"
    copy.write_bytes(package.read_bytes())
    changed = tmp_path / "changed.yaml"
    changed.write_bytes(package.read_bytes() + b"\n")
    versions = [read_compiled(path).version for path in (package, copy, changed)]
    assert versions[0] == versions[1] != versions[2]
    assert re.fullmatch("sha256-[0-9a-f]{12}", versions[0])


def test_values_of_the_right_types_are_accepted(package: Path) -> None:
    compiled = read_compiled(package)
    compiled.check({"study": "digits"})
    compiled.check({"study": "", "epochs": 3, "rate": 2, "augment": False, "recipes": ["st"], "limits": {"a": 1}})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "needs a value for the pipeline argument study"),
        ({"study": "digits", "epoch": 3}, "unknown pipeline argument 'epoch': did you mean 'epochs'"),
        ({"study": "digits", "epochs": "3"}, "epochs must be an integer, not '3'"),
        ({"study": "digits", "epochs": True}, "epochs must be an integer, not True"),
        ({"study": "digits", "epochs": 2.5}, "epochs must be an integer, not 2.5"),
        ({"study": 7}, "study must be text, not 7"),
        ({"study": None}, "study must be text, not None"),
        ({"study": "digits", "rate": "fast"}, "rate must be a number, not 'fast'"),
        ({"study": "digits", "augment": 1}, "augment must be true or false, not 1"),
        ({"study": "digits", "recipes": "st"}, "recipes must be a list, not 'st'"),
        ({"study": "digits", "limits": ["a"]}, r"limits must be a mapping, not \['a'\]"),
    ],
)
def test_wrong_arguments_are_refused_before_the_api_is_contacted(
    kfp: Any, api: Any, start: Callable[..., Any], arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        start(api, arguments=arguments)
    assert not kfp.requests


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("absent.yaml", None, "cannot be read"),
        ("nofrost.json", b"{}", "which ends in .yaml"),
        ("empty.yaml", b"", "is empty"),
        ("nothing.yaml", b"---\n", "is not a compiled pipeline"),
        ("list.yaml", b"- a\n", "is not a compiled pipeline"),
        ("text.yaml", b"hello", "is not a compiled pipeline"),
        ("broken.yaml", b"a: [", "is not a compiled pipeline"),
        ("binary.yaml", b"\xff\xfe\x00\x01", "is not a compiled pipeline"),
        ("workflow.yaml", b"apiVersion: argoproj.io/v1alpha1\nkind: Workflow\n", "is not a compiled pipeline"),
        ("nameless.yaml", b"root: {dag: {tasks: {}}}\n", "no name or no tasks"),
        ("code.yaml", b"!!python/object/apply:os.getcwd []", "is not a compiled pipeline"),
    ],
)
def test_other_files_are_refused_before_the_api_is_contacted(
    kfp: Any, api: Any, start: Callable[..., Any], tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=f"{path}.* {message}"):
        start(api, package=path)
    assert not kfp.requests
