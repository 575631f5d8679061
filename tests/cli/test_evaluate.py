"""`nofrost evaluate` measures models of other people too, and tells every wrong input in one sentence."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from nofrost.cli import main

EARLIER = '{"stage": "evaluate-adversarial", "nofrost": "0.1"}'
CODE = """
import torch
from torch import nn

def linear(classes=10, pixels=256):
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(pixels, classes))

def failing():
    raise OSError("no weights")

def half():
    return linear().half()
"""
SUITE = """
kind: adversarial
title: Short
citation: own
protocol: quick
threat: {eps: 0.02}
attacks: {fgsm: {}}
max_images: 12
batch_size: 4
"""
Evaluate = Callable[..., tuple[int, str, str]]


@pytest.fixture
def evaluate(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Evaluate]:
    """Run `nofrost evaluate` on digits in a folder with code of one's own and an earlier result."""
    (tmp_path / "foreign.py").write_text(CODE)
    (tmp_path / "suite.yaml").write_text(SUITE)
    (tmp_path / "text.safetensors").write_text("no weights")
    (tmp_path / "text.json").write_text("{}")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/record.json").write_text(EARLIER)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def run(*arguments: str) -> tuple[int, str, str]:
        given = ["evaluate", "--dataset", str(digits), "--out", "out", *arguments]
        if "--suite" not in arguments:
            given += ["--suite", "suite.yaml"]
        monkeypatch.setattr(sys, "argv", ["nofrost", *given])
        code = 0
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
        said = capsys.readouterr()
        return code, said.out, said.err

    yield run
    sys.modules.pop("foreign", None)


@pytest.mark.parametrize("place", ["foreign", "foreign.py"])
def test_a_model_is_evaluated_by_the_name_of_a_function(evaluate: Evaluate, tmp_path: Path, place: str) -> None:
    code, printed, errors = evaluate("--model", f"{place}:linear", "--set-model", "classes=11", "--json")
    assert code == 0, errors
    metrics = json.loads(printed)
    assert metrics["samples"] == 12
    assert metrics["accuracy"]["fgsm"]["correct"] <= metrics["accuracy"]["clean"]["correct"]
    record = json.loads((tmp_path / "out/record.json").read_text())
    assert sorted(record["inputs"]) == ["code", "dataset", "model"]
    assert str(tmp_path) not in json.dumps(record)
    assert len(np.load(tmp_path / "out/flags.npz")["predictions"]) == 12


def test_the_progress_of_every_attack_is_shown_with_its_place(
    evaluate: Evaluate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nofrost.evaluate.measuring.engine.MIN_SECONDS", 0)
    _, _, errors = evaluate("--model", "foreign:linear")
    titles = [line.partition(": done in")[0] for line in errors.splitlines()]
    assert titles == ["evaluate-adversarial 1/2: clean images", "evaluate-adversarial 2/2: fgsm, linf 0.02"]


def test_shards_of_such_a_model_are_merged_and_another_model_is_refused(evaluate: Evaluate, tmp_path: Path) -> None:
    whole = ("--model", "foreign:linear")
    for shard in ("0/2", "1/2"):
        assert evaluate(*whole, "--shard", shard, "--out", shard[0])[0] == 0
    assert evaluate(*whole)[0] == 0
    assert evaluate(*whole, "--merge", "0", "--merge", "1", "--out", "merged")[0] == 0
    for name in ("flags.npz", "metrics.json", "record.json"):
        assert (tmp_path / "merged" / name).read_bytes() == (tmp_path / "out" / name).read_bytes()
    code, _, errors = evaluate("--model", "foreign:linear", "--set-model", "classes=12", "--merge", "0", "--merge", "1")
    assert (code, "inputs.model is" in errors) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "name the model by one of --checkpoint and --model"),
        (("--model", "foreign:linear", "--checkpoint", "c"), "name the model by one of --checkpoint and --model"),
        (("--checkpoint", "c", "--set-model", "classes=3"), "--set-model is for the function of --model"),
        (("--model", "foreign:linear", "--set-model", "classes"), "--set-model 'classes' is not of the form key=value"),
        (("--model", "foreign:linear", "--set-model", "depth=3"), "raised TypeError: linear() got an unexpected"),
        (("--model", "foreign"), "is not of the form module:function or file.py:function"),
        (("--model", "foreing:linear"), "there is no module foreing"),
        (("--model", "foreign:liner"), "did you mean 'linear'"),
        (("--model", "no.py:linear"), "no.py is missing"),
        (("--model", "foreign:failing"), "it raised OSError: no weights"),
        (("--model", "foreign:torch"), "it must be a torch.nn.Module"),
        (("--model", "foreign:half"), "the model computes in float16, but is evaluated in float32"),
        (("--model", "foreign:linear", "--set-model", "pixels=64"), "the model failed on"),
        (("--model", "foreign:linear", "--set-model", "classes=7"), "but the model has 7 classes"),
        (("--model", "text.safetensors"), "text.safetensors is no code: name a checkpoint with --checkpoint"),
        (("--model", "."), "--model is for code that returns a network, and . is no code"),
        (("--checkpoint", "nothing"), "nothing is missing: name a .safetensors checkpoint"),
        (("--checkpoint", "text.safetensors"), "text.json is not a checkpoint's JSON"),
        (("--model", "foreign:linear", "--shard", "3/3"), "there is no shard 3/3"),
        (("--model", "foreign:linear", "--shard", "one"), "shard 'one' is not of the form index/count"),
        (("--model", "foreign:linear", "--suite", "adversarial-quik"), "did you mean 'adversarial-quick'"),
        (("--model", "foreign:linear", "--set", "atacks={}"), "did you mean 'attacks'"),
        (("--model", "foreign:linear", "--set", "attacks.x.name=pdg"), "attacks.x.name: unknown attack 'pdg'"),
        (("--model", "foreign:linear", "--set", "threat.eps=-1"), "-1"),
        (("--model", "foreign:linear", "--set", "threat.eps=3"), "eps"),
        (("--model", "foreign:linear", "--set", "batch_size=0"), "batch_size"),
    ],
)
def test_invalid_input_is_one_message_and_keeps_earlier_results(
    evaluate: Evaluate, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    before = sorted(path.name for path in tmp_path.iterdir())
    code, printed, errors = evaluate(*arguments)
    assert (code, printed) == (2, "")
    assert message in errors
    assert len(errors.strip().splitlines()) == 1
    assert "Traceback" not in errors
    assert (tmp_path / "out/record.json").read_text() == EARLIER
    assert [name for name in sorted(path.name for path in tmp_path.iterdir()) if name != "__pycache__"] == before
