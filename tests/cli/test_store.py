"""`nofrost store`: what it prints, how it exits, and that its output is its input."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import click
import pytest
from click.testing import CliRunner

from nofrost.cli import main
from nofrost.cli.store import store as group
from nofrost.store import Ref, open_store, pull, push


class Ended(NamedTuple):
    code: int
    out: str
    err: str


class Shell:
    """Runs `nofrost store ...` in a folder with data and a store."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.monkeypatch, self.capsys = monkeypatch, capsys

    def __call__(self, *arguments: str) -> Ended:
        self.monkeypatch.setattr(sys, "argv", ["nofrost store", *arguments])
        try:
            main(group)
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        said = self.capsys.readouterr()
        return Ended(code, said.out, said.err)


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NOFROST_STORE", str(tmp_path / "store"))
    for name in ("data/one", "data/sub/two", "alone"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    (tmp_path / "empty").mkdir()
    return Shell(monkeypatch, capsys)


def test_what_push_prints_pull_takes(shell: Shell) -> None:
    pushed = shell("push", "data", "alone")
    assert pushed.code == 0
    lines = pushed.out.splitlines()
    assert [line.partition("@")[0] for line in lines] == ["data", "alone"]
    Path("data").rename("before")
    pulled = shell("pull", *lines)
    assert (pulled.code, pulled.out) == (0, "data\nalone\n")
    assert Path("data/sub/two").read_text() == "data/sub/two"


def test_push_and_pull_print_json(shell: Shell) -> None:
    refs = json.loads(shell("push", "data", "alone", "--json").out)
    assert Ref.parse(refs["data"]).nfiles == 2
    assert json.loads(shell("pull", f"new/place@{refs['data']}", "--json").out) == ["new/place"]
    assert Path("new/place/one").read_text() == "data/one"


def test_ls_prints_the_files_of_a_ref_and_the_candidates_of_runs(shell: Shell, tmp_path: Path) -> None:
    ref = json.loads(shell("push", "data", "--json").out)["data"]
    files = json.loads(shell("ls", ref, "--json").out)
    assert list(files) == ["one", "sub/two"]
    assert shell("ls", ref).out == "".join(f"{md5}  {path}\n" for path, md5 in files.items())
    assert shell("ls").out == ""
    open_store(str(tmp_path / "store")).put("nofrost/locks/run.yaml", b"x")
    assert shell("ls").out == "nofrost/locks/run.yaml\n"
    assert json.loads(shell("ls", "--json").out) == ["nofrost/locks/run.yaml"]


def test_gc_deletes_saves_that_a_newer_one_replaced(shell: Shell, tmp_path: Path) -> None:
    saves = open_store(str(tmp_path / "store/nofrost/unfinished/key"))
    for text in ("first", "second"):
        (tmp_path / "data/one").write_text(text)
        saves.put("save", str(push(tmp_path / "data", saves)).encode())
    assert shell("ls").out.splitlines() == ["nofrost/unfinished/key/save"]
    said = json.loads(shell("gc", "--older-than", "0", "--delete", "--json").out)
    assert len(said) == 2
    assert all(item["deleted"] and item["name"].startswith("nofrost/unfinished/key/files/md5/") for item in said)
    pull(Ref.parse(saves.get("save").decode()), tmp_path / "newest", saves)
    assert (tmp_path / "newest/one").read_text() == "second"
    assert json.loads(shell("gc", "--older-than", "0", "--json").out) == []


def test_verify_reports_damaged_objects(shell: Shell, tmp_path: Path) -> None:
    ref = json.loads(shell("push", "data", "--json").out)["data"]
    assert shell("verify", ref).out == f"{ref}: whole\n"
    assert json.loads(shell("verify", ref, "--json").out) == [ref]
    files = json.loads(shell("ls", ref, "--json").out)
    (tmp_path / "store" / "files" / "md5" / files["one"][:2] / files["one"][2:]).unlink()
    ended = shell("verify", ref)
    assert ended.code == 2
    assert f"of 2 objects 1 are wrong ({files['one']} is missing)" in ended.err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("push", "nowhere"), "nowhere does not exist: give a file or folder to push"),
        (("push", "data", "--store", "gs://bucket"), "'gs://bucket' is not a store: write s3://BUCKET/PREFIX"),
        (("pull", "data"), "'data' has no path: write PATH@REF, as `nofrost store push` prints it"),
        (("pull", "data@abc"), "'abc' is not a ref: write 32 hexadecimal digits"),
        (("pull", f"data@{'0' * 32}"), "cannot write data: it contains "),
        (("pull", f"new@{'0' * 32}"), f"holds no object {'0' * 32}: push it there with `nofrost store push`"),
        (("push", "data", "--store", "s3:bkt/x"), "here s3://bkt/x, or './s3:bkt/x' for a folder of that name"),
        (("ls", "abc"), "'abc' is not a ref"),
        (("ls", "0" * 32), f"holds no object {'0' * 32}: push it there with `nofrost store push`"),
        (("ls", f"{'0' * 32}.dir"), f"holds no object {'0' * 32}.dir: push it there with `nofrost store push`"),
        (("ls", "--store", "nowhere"), "there is no store at nowhere: push something there first"),
        (("gc", "--store", "nowhere"), "there is no store at nowhere: push something there first"),
        (("verify", "abc"), "'abc' is not a ref"),
        (("verify", f"{'0' * 32}.dir"), f"holds no object {'0' * 32}.dir"),
    ],
)
def test_mistakes_end_in_one_sentence_and_code_2(shell: Shell, arguments: tuple[str, ...], sentence: str) -> None:
    ended = shell(*arguments)
    assert ended.code == 2
    assert ended.out == ""
    told = [line for line in ended.err.splitlines() if ": done in" not in line]
    assert len(told) == 1
    assert told[0].startswith("nofrost: ")
    assert sentence in told[0]
    assert Path("data/one").read_text() == "data/one"


@pytest.mark.parametrize("command", ["push", "pull", "verify"])
def test_a_command_without_its_arguments_says_so(shell: Shell, command: str) -> None:
    ended = shell(command)
    assert ended.code == 2
    assert "Missing argument" in ended.err


@pytest.mark.parametrize("name", ["push", "pull", "ls", "verify", "gc"])
def test_help_explains_every_command(name: str) -> None:
    result = CliRunner().invoke(group, [name, "--help"])
    assert result.exit_code == 0
    assert "--store URL" in result.output
    assert "NOFROST_STORE" in result.output
    command = group.commands[name]
    assert all(option.help for option in command.params if isinstance(option, click.Option))


def test_help_loads_neither_boto3_nor_the_store() -> None:
    script = "import sys, nofrost.cli.store; print(sorted(set(sys.modules) & {'boto3', 'botocore', 'nofrost.store'}))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
