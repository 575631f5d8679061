"""The command line: helps that stand alone, one sentence for every mistake, exit codes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
import yaml
from click.testing import CliRunner

from nofrost.cli import cli, main
from pipelines.cli import pipelines

STAGES = ("prepare", "augment", "train", "evaluate", "report")
# The schema of a card checks it.
NOT_OF_CLICK = {("nofrost card", "reported")}
EVALUATE = ("evaluate", "--suite", "ood-quick", "--dataset", "d", "--checkpoint", "c", "--out", "o")


def run(*arguments: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """Run the command as a shell would; return exit code, standard output and standard error."""
    monkeypatch.setattr(sys, "argv", ["nofrost", *arguments])
    try:
        main()
        code = 0
    except SystemExit as end:
        code = int(end.code or 0)
    said = capsys.readouterr()
    return code, said.out, said.err


def walk(group: click.Group, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Return the paths of all commands below a group."""
    found: list[tuple[str, ...]] = []
    for name, command in group.commands.items():
        found += walk(command, (*path, name)) if isinstance(command, click.Group) else [(*path, name)]
    return found


def command_at(path: tuple[str, ...], group: click.Command = cli) -> click.Command:
    command = group
    for name in path:
        assert isinstance(command, click.Group)
        command = command.commands[name]
    return command


def test_every_stage_has_its_command() -> None:
    others = {"transfer", "card", "study", "recipes", "papers", "models", "attacks", "store", "data", "promote"}
    others |= {"task", "metrics", "champion", "gallery"}
    assert {path[0] for path in walk(cli)} == {*STAGES, *others}


@pytest.mark.parametrize("path", walk(cli), ids=" ".join)
def test_the_help_of_every_command_explains_it_and_all_of_its_options(path: tuple[str, ...]) -> None:
    result = CliRunner().invoke(cli, [*path, "--help"])
    assert result.exit_code == 0
    assert len((command_at(path).help or "").split()) >= 5
    for parameter in command_at(path).params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{parameter.name} of {path} is not explained"
    if path[0] in STAGES:
        assert "Example: nofrost" in result.output


def numbers() -> list[tuple[str, click.Parameter]]:
    """Return the options of all commands that take a number with a fraction."""
    groups = {"nofrost": cli, "pipelines": pipelines}
    named = {(name, *path): command_at(path, group) for name, group in groups.items() for path in walk(group)}
    options = [(" ".join(path), each) for path, command in named.items() for each in command.params]
    of_numbers = [(path, each) for path, each in options if each.type.name.startswith("float")]
    return [(path, each) for path, each in of_numbers if (path, each.name) not in NOT_OF_CLICK]


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
@pytest.mark.parametrize(("path", "option"), numbers(), ids=lambda value: getattr(value, "name", value))
def test_no_command_takes_a_number_that_is_not_finite(path: str, option: click.Parameter, value: str) -> None:
    with pytest.raises(click.BadParameter, match=r"is not (a finite number|in the range)"):
        option.type.convert(value, option, None)


def test_help_imports_neither_torch_nor_anything_else_that_is_heavy() -> None:
    code = (
        "import sys; sys.argv = ['nofrost', '--help']\n"
        "from nofrost.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'numpy', 'pydantic', 'scipy', 'matplotlib', 'dvc', 'kfp'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_the_installed_command_prints_help_with_few_modules() -> None:
    command = shutil.which("nofrost", path=os.path.dirname(sys.executable))  # noqa: PTH120
    assert command, "the command nofrost is not installed beside python"
    bare, ours = (
        subprocess.run(arguments, env={**os.environ, "PYTHONPROFILEIMPORTTIME": "1"}, check=True, capture_output=True)
        for arguments in ([sys.executable, "-c", "import click"], [command, "--help"])
    )
    # Not seconds, which depend on what else the machine does: torch alone is a thousand modules.
    assert len(ours.stderr.splitlines()) < 3 * len(bare.stderr.splitlines())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["train", "--recipe", "sta", "--dataset", "d", "--out", "o"],
            ["unknown recipe 'sta'", "nofrost recipes list"],
        ),
        (["train", "--recipe", "st", "--set", "modle.arch=x", "--dataset", "d", "--out", "o"], ["modle", "'model'"]),
        (
            ["train", "--recipe", "sat", "--set", "threat.eps=8/0", "--dataset", "d", "--out", "o"],
            ["threat.eps", "zero"],
        ),
        (["train", "--recipe", "sat", "--set", "threat.eps=-8/255", "--dataset", "d", "--out", "o"], ["negative"]),
        (["train", "--recipe", "st", "--dataset", "nowhere", "--out", "o"], ["nowhere", "nofrost prepare"]),
        (["train", "--study", "digits", "--recipe", "fat", "--dataset", "d", "--out", "o"], ["recipe of study digits"]),
        (["prepare", "--study", "digit", "--out", "o"], ["unknown study 'digit'", "'digits'"]),
        (["prepare", "--source", "idxs", "--out", "o"], ["source", "'idx'"]),
        (["prepare", "--source", "folder", "--path", "nowhere", "--out", "o"], ["nowhere"]),
        (
            ["evaluate", "--suite", "adversarial-slow", "--dataset", "d", "--checkpoint", "c", "--out", "o"],
            ["unknown suite"],
        ),
        (["evaluate", "--suite", "ood-quick", "--dataset", "nowhere", "--checkpoint", "c", "--out", "o"], ["nowhere"]),
        ([*EVALUATE, "--shard", "3/3"], ["there is no shard 3/3", "last 2/3"]),
        ([*EVALUATE, "--shard", "one"], ["shard 'one' is not of the form", "0/3"]),
        ([*EVALUATE, "--shard", "0/2", "--merge", "part-1"], ["--shard measures one shard", "give one of the two"]),
        (["report", "--study", "nowhere.yaml", "--dataset", "d", "--runs", "r", "--out", "o"], ["nowhere.yaml"]),
        (["card", "nowhere", "--name", "x", "--authors", "y"], ["nowhere/metrics.json is missing"]),
        (["card", "nowhere", "--name", "x"], ["--authors"]),
        (["study", "show", "nothing"], ["unknown study 'nothing'"]),
        (["study", "select", "digits", "--set", "runs.recipe=[x]"], ["runs.recipe 'x'"]),
        (["models", "list", "no_such_*"], ["arch pattern"]),
        (["models", "show", "nowhere.safetensors"], ["nowhere.safetensors is missing"]),
        (["trane"], ["trane"]),
        (["train", "--recipe", "st"], ["--dataset"]),
    ],
)
def test_a_mistake_gets_one_sentence_and_exit_code_2(
    arguments: list[str],
    words: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = run(*arguments, monkeypatch=monkeypatch, capsys=capsys)
    assert code == 2
    assert out == ""
    assert all(word in err for word in words), err
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


def test_study_select_writes_the_study_that_show_prints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("study", "select", "digits", "--set", "runs.seed=[0, 1]", monkeypatch=monkeypatch, capsys=capsys)[0] == 0
    shown = run("study", "show", "params.yaml", monkeypatch=monkeypatch, capsys=capsys)[1]
    assert yaml.safe_load(shown) == yaml.safe_load((tmp_path / "params.yaml").read_text())
    assert yaml.safe_load(shown)["runs"]["seed"] == [0, 1]


def test_the_committed_params_are_the_shipped_digits_study() -> None:
    from nofrost.config import load_study
    from nofrost.tasks import check_study

    committed = Path(__file__).parent.parent.parent / "params.yaml"
    assert load_study(committed) == check_study(load_study("digits")), "run `nofrost study select digits`"


@pytest.mark.parametrize("arguments", [["study", "list"], ["attacks", "list"], ["models", "list", "nf_*"]])
def test_lists_come_as_text_and_as_json(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, text, _ = run(*arguments, monkeypatch=monkeypatch, capsys=capsys)
    assert code == 0
    _, as_json, _ = run(*arguments, "--json", monkeypatch=monkeypatch, capsys=capsys)
    names = list(json.loads(as_json))
    assert names
    assert all(name in text for name in names)


def test_prepare_prints_the_metrics_that_it_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "dataset"
    arguments = ["prepare", "--source", "digits", "--limit", "200", "--out", str(out)]
    code, said, _ = run(*arguments, monkeypatch=monkeypatch, capsys=capsys)
    assert code == 0
    assert "10 classes" in said
    code, said, _ = run(*arguments, "--json", monkeypatch=monkeypatch, capsys=capsys)
    assert code == 0
    assert json.loads(said) == json.loads((out / "metrics.json").read_text())


@pytest.mark.parametrize("suite", ["adversarial", "ood"])
def test_evaluate_in_shards_and_merged_writes_what_one_evaluation_does(
    suite: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from nofrost import models
    from nofrost.models.checkpoint import save_checkpoint

    def succeed(*arguments: str) -> str:
        code, said, err = run(*arguments, monkeypatch=monkeypatch, capsys=capsys)
        assert code == 0, err
        return said

    def evaluate(out: str, *options: str) -> str:
        curves = ["steps_curve=null", "budget_curve=null"]
        attacks = ["attacks.apgd-ce-100.steps=4", "attacks.square-200.queries=10"]
        short = ["batch_size=8", *([*curves, *attacks] if suite == "adversarial" else [])]
        sets = [word for each in short for word in ("--set", each)]
        given = ["--suite", f"{suite}-quick", "--dataset", "dataset", "--checkpoint", "best.safetensors"]
        return succeed("evaluate", *given, *sets, *options, "--out", out)

    monkeypatch.chdir(tmp_path)
    succeed("prepare", "--source", "digits", "--limit", "100", "--image-size", "8", "--out", "dataset")
    model = models.create_model("resnet8", num_classes=10, image_size=8, channels=1)
    save_checkpoint(tmp_path / "best.safetensors", model, {})
    said = evaluate("part-0", "--shard", "0/2") + evaluate("part-1", "--shard", "1/2")
    assert "part-0: shard 0/2 with 12 test images, to be merged with the others" in said
    assert "part-1: shard 1/2 with 8 test images" in said
    assert evaluate("merged", "--merge", "part-1", "--merge", "part-0") == evaluate("whole").replace(
        "whole:", "merged:"
    )
    for name in ("metrics.json", "flags.npz", "examples.npz", "record.json"):
        assert (tmp_path / "merged" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.parametrize("out", ["/proc/nofrost/out", "file/out"])
def test_an_output_folder_that_cannot_be_written_gets_one_sentence(
    out: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("not a folder")
    code, _, err = run("prepare", "--limit", "200", "--out", out, monkeypatch=monkeypatch, capsys=capsys)
    assert code == 2
    assert f"cannot write {out}" in err
    assert (tmp_path / "file").read_text() == "not a folder"


def test_a_file_larger_than_the_system_allows_gets_one_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    code = (
        "import resource, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        f"sys.argv = ['nofrost', 'prepare', '--out', {str(tmp_path / 'out')!r}]\n"
        "from nofrost.cli import main\n"
        "main()"
    )
    # Compiled modules would be cut off at this size too, without an error.
    end = subprocess.run([sys.executable, "-B", "-c", code], capture_output=True, text=True, check=False)
    assert end.returncode == 2, end.stderr
    assert "cannot write" in end.stderr
    assert "Traceback" not in end.stderr
    assert list(tmp_path.iterdir()) == []
