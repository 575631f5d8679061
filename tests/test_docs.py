"""README, CONTRIBUTING and docs/: lines are wrapped, links lead somewhere, commands and Python names exist."""

from __future__ import annotations

import importlib
import re
import shlex
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from nofrost.cli import cli
from nofrost.config import recipe_of, suite_of
from nofrost.errors import UserError
from nofrost.train import check_methods
from pipelines.__main__ import pipelines

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
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


# Commands of others, which no test here can ask.
FOREIGN = {"docker", "export", "git", "kubectl", "pip", "sed", "uv"}
PLACEHOLDERS = {"RUN": "a-run", "N": "1"}  # of words that are not text
MANUALS = [*PAGES, ROOT / "docker" / "README.md", ROOT / "benchmarks" / "README.md"]


def lines_of(page: Path) -> Iterator[str]:
    """Yield each line of the code of a page that is a command, without what commands print."""
    text = page.read_text(encoding="utf-8")
    fenced = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
    blocks = [block for language, block in fenced.findall(text) if not language]
    rest = fenced.sub("", text)
    blocks += re.findall(r"((?:^    \S.*\n)+)", rest, re.MULTILINE) if page.parent.name == "benchmarks" else []
    for block in blocks:
        lines = block.replace("\\\n", " ").splitlines()
        typed = [line.strip().removeprefix("$ ") for line in lines if line.strip().startswith("$ ")]
        yield from typed or [line.strip() for line in lines if line.strip() and not re.search(r"[─│└├]", block)]


def split(line: str) -> Iterator[list[str]]:
    """Yield the words of each command in a line, without comments, redirections and variables before it."""
    lexer = shlex.shlex(re.sub(r"\s#.*", "", line), posix=True, punctuation_chars="&;|<>")
    lexer.whitespace_split = True
    words: list[str] = []
    skipped = False
    for word in [*lexer, ";"]:
        if set(word) <= set("&;|"):
            yield words
            words = []
        elif set(word) <= set("<>"):
            skipped = True
        elif skipped:
            skipped = False
        elif words or not re.match(r"[A-Z_]+=", word):
            words.append(word)


def documented() -> Iterator[tuple[str, list[str]]]:
    """Yield place and words of each command that a reader may type: in code of pages, and in examples of --help."""
    for page in MANUALS:
        for line in lines_of(page):
            yield from ((page.name, words) for words in split(line) if words)
    for group in (cli, pipelines):
        for name, command in every(group):
            for example in re.findall(r"Example: (.*?)(?:\n\n|\Z)", command.help or "", re.DOTALL):
                yield from ((f"{name} --help", words) for words in split(" ".join(example.split())) if words)


def every(command: click.Command, name: str = "") -> Iterator[tuple[str, click.Command]]:
    name = f"{name} {command.name}".strip()
    yield name, command
    for inner in command.commands.values() if isinstance(command, click.Group) else ():
        yield from every(inner, name)


COMMANDS = list(documented())


def ids(value: object) -> str:
    return " ".join(value)[:90] if isinstance(value, list) else str(value)


def parse(command: click.Command, words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let click read a command line with everything that it checks, without running the command."""
    monkeypatch.setattr(click.Command, "invoke", lambda self, context: None)
    command.main([PLACEHOLDERS.get(word, word) for word in words], standalone_mode=False)


def nofrost_words(words: list[str]) -> list[str] | None:
    """Return the words after `nofrost`, also as torchrun or a container calls it."""
    is_ours = words[0] in ("nofrost", "torchrun") or (words[:2] == ["docker", "run"])
    return words[words.index("nofrost") + 1 :] if is_ours else None


@pytest.mark.parametrize(("place", "words"), COMMANDS, ids=ids)
def test_a_documented_command_has_the_arguments_and_options_that_it_needs(
    place: str, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tool, *rest = words
    if (ours := nofrost_words(words)) is not None:
        parse(cli, ours, monkeypatch)
    elif words[:3] == ["python", "-m", "pipelines"]:
        parse(pipelines, words[3:], monkeypatch)
    elif tool.endswith("python"):
        script = (ROOT / rest[0]).read_text(encoding="utf-8")
        assert all(f'"{word}"' in script for word in rest if word.startswith("--"))
    elif tool == "dvc":
        pytest.importorskip("dvc.cli").parse_args(rest)
    elif tool == "make":
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
        assert {word for word in rest if "=" not in word} <= set(targets)
    else:
        assert tool.split("/")[-1] in FOREIGN, f"{place}: say in FOREIGN that {tool} is not ours"


def test_the_check_of_commands_finds_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(COMMANDS) > 60
    assert {place for place, _ in COMMANDS} >= {"README.md", "pipeline.md", "cli evaluate --help"}
    assert list(split("A=1 nofrost x 'a b' > f && make y # z")) == [["nofrost", "x", "a b"], ["make", "y"]]
    for wrong in ("card", "train --recipe sat", "recipes show", "evaluate --nonsense", "nonsense", "train --seed x"):
        with pytest.raises(click.UsageError):
            parse(cli, wrong.split(), monkeypatch)


def configuration_of(words: list[str]) -> Callable[[], object] | None:
    """Return what reads the configuration that a documented training or evaluation names."""
    options = dict(pairwise(words))
    overrides = [value for option, value in pairwise(words) if option == "--set"]
    study = options.get("--study")
    if words[0] == "train":
        return lambda: check_methods(recipe_of(study, options["--recipe"], overrides), "", overrides)
    return (lambda: suite_of(study, options["--suite"], overrides)) if words[0] == "evaluate" else None


RUN = ("recipes", "study", "papers", "attacks", "data", "prepare", "card")


@pytest.mark.parametrize(("place", "words"), COMMANDS, ids=ids)
def test_a_documented_command_that_takes_seconds_runs_as_written(
    place: str, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = nofrost_words(words)
    if not ours or "folder" in ours:
        return
    if read := configuration_of(ours):
        read()
        return
    if ours[0] == "data" and ours[1] not in ("list", "show"):  # of a store or a dataset
        return
    if ours[:2] == ["study", "run"]:  # takes as long as its trainings
        return
    if ours[0] not in RUN and (ours[0] != "models" or any("/" in word for word in ours)):
        return
    monkeypatch.chdir(tmp_path)
    # only the evaluation is missing, or the images
    absent = {"card": ours[1], "prepare": dict(pairwise(ours)).get("--path", "")}.get(ours[0])
    if ours[:2] == ["data", "verify"]:
        absent = ours[2]
    if absent:
        with pytest.raises(UserError, match=absent):
            CliRunner().invoke(cli, ours, catch_exceptions=False)
        return
    ours = [str(tmp_path / "out") if word.startswith("/s3") else word for word in ours]
    assert CliRunner().invoke(cli, ours, catch_exceptions=False).exit_code == 0


def spans() -> Iterator[tuple[str, list[str]]]:
    """Yield place and words of each command that a sentence names, which may leave out arguments."""
    helps = [(f"{name} --help", command.help or "") for group in (cli, pipelines) for name, command in every(group)]
    for place, text in [*((page.name, page.read_text(encoding="utf-8")) for page in MANUALS), *helps]:
        for span in re.findall(r"`((?:nofrost|dvc|make|python -m pipelines) [^`|]*)`", text):
            yield place, [word for word in span.split() if word != "..."]


@pytest.mark.parametrize(("place", "words"), list(spans()), ids=ids)
def test_a_command_in_a_sentence_exists_with_its_options(
    place: str, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if "STAGE" in words:
        return
    if words[0] == "dvc" and not any(word.startswith("-") for word in words):
        words = [*words[: 3 if words[1] == "remote" else 2], "--help"]
    with suppress(click.MissingParameter, click.exceptions.NoArgsIsHelpError, SystemExit):
        test_a_documented_command_has_the_arguments_and_options_that_it_needs(place, words, monkeypatch)


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
