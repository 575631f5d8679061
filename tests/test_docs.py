"""README, CONTRIBUTING and docs/: lines are wrapped, links lead somewhere, commands and Python names exist."""

from __future__ import annotations

import importlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from nofrost.cli import cli

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def prose(page: Path) -> Iterator[tuple[int, str]]:
    """Yield number and text of each line that is neither code nor part of a table."""
    is_code = False
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        is_code ^= line.strip().startswith("```")
        if not is_code and not line.startswith("|"):
            yield number, line


def code(page: Path) -> list[str]:
    return re.findall(r"^ *```\w*\n(.*?)^ *```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pages
def test_paragraphs_are_wrapped(page: Path) -> None:
    # A line of one word is a link that cannot be broken.
    assert [
        f"{page.name}:{number}" for number, line in prose(page) if len(line) > 120 and " " in line.strip("- ")
    ] == []


@pages
def test_links_lead_to_files_and_headings(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if "://" in target:
            continue
        name, _, heading = target.partition("#")
        path = page.parent / name if name else page
        assert path.exists(), f"{page.name} links to {target}"
        if heading:
            headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
            anchors = {re.sub(r"[^\w -]", "", each).lower().replace(" ", "-") for each in headings}
            assert heading in anchors, f"{page.name} links to {target}"


def commands(page: Path) -> Iterator[list[str]]:
    """Yield the words after `nofrost` of each command in the code of a page."""
    for block in code(page):
        for line in block.replace("\\\n", " ").splitlines():
            for command in re.split(r"&&|;|\||\$\(", line.split("  #")[0]):
                if re.match(r"\s*(\$ )?nofrost ", command) and "──" not in line:
                    yield shlex.split(command.replace("$ ", ""), comments=True)[1:]


@pages
def test_commands_and_their_options_exist(page: Path) -> None:
    for words in commands(page):
        command: click.Command = cli
        rest = list(words)
        while isinstance(command, click.Group) and rest and rest[0] in command.commands:
            command = command.commands[rest.pop(0)]
        assert command is not cli, f"{page.name}: nofrost {' '.join(words)}"
        options = {name for parameter in command.params for name in parameter.opts} | {"--help"}
        unknown = {word.partition("=")[0] for word in rest if word.startswith("--")} - options
        if not isinstance(command, click.Group):
            assert not unknown, f"{page.name}: nofrost {' '.join(words)}"


@pages
def test_python_names_exist(page: Path) -> None:
    for block in code(page):
        for name in set(re.findall(r"(?<![\w./-])nofrost(?:\.[a-z_]\w*)+", block)):
            parts = name.split(".")
            value = importlib.import_module("nofrost")
            for part in parts[1:]:
                try:
                    value = getattr(value, part)
                except AttributeError:
                    value = importlib.import_module(f"{value.__name__}.{part}")
