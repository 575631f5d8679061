"""Transfer: who still gets right what was made against whom."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import nn

from nofrost import models
from nofrost.attacks import Attack, WorstCase, create_attack
from nofrost.cli import cli
from nofrost.config import AttackSpec, PixelFraction, Threat
from nofrost.errors import UserError
from nofrost.evaluate import run_transfer, transfer
from nofrost.evaluate.measuring.cache import MeasurementCache

EPS = 0.12
Digits = tuple[torch.Tensor, torch.Tensor]


def pgd(**settings: Any) -> Attack:
    return create_attack("pgd", eps=EPS, steps=5, early_stop=False, **settings)


@pytest.fixture
def two(standard_model: nn.Module, robust_model: nn.Module) -> dict[str, nn.Module]:
    return {"standard": standard_model, "robust": robust_model}


def test_flags_are_those_of_images_made_against_each_source(two: dict[str, nn.Module], test_digits: Digits) -> None:
    images, labels = test_digits
    result = transfer(two, images, labels, pgd(), batch_size=50)
    assert result.names == ("standard", "robust")
    for row, source in enumerate(two.values()):
        made = pgd()(source, images, labels)
        for column, target in enumerate(two.values()):
            right = (target(images).argmax(1) == labels) & (target(made).argmax(1) == labels)
            assert result.flags[row, column].tolist() == right.tolist()
    for column, target in enumerate(two.values()):
        assert result.clean[column].tolist() == (target(images).argmax(1) == labels).tolist()


def test_white_box_finds_more_than_transfer_and_the_counts_are_exact(
    two: dict[str, nn.Module], test_digits: Digits
) -> None:
    result = transfer(two, *test_digits, pgd())
    accuracy = result.accuracy
    assert accuracy["standard"]["standard"].correct < accuracy["robust"]["standard"].correct
    assert accuracy["robust"]["robust"].correct < accuracy["standard"]["robust"].correct
    metrics = result.metrics.as_json()
    assert metrics["accuracy"]["standard"]["robust"] == accuracy["standard"]["robust"].as_json()
    assert metrics["attack"]["steps"] == 5
    flags = result.arrays()
    assert flags["standard/robust"].sum() == accuracy["standard"]["robust"].correct
    assert flags["clean/robust"].sum() == metrics["clean"]["robust"]["correct"]


def test_no_result_depends_on_the_batch_size_or_on_the_other_models(
    two: dict[str, nn.Module], test_digits: Digits
) -> None:
    whole = transfer(two, *test_digits, pgd(), batch_size=120)
    parts = transfer(dict(reversed(two.items())), *test_digits, pgd(), batch_size=37)
    assert np.array_equal(whole.flags, parts.flags[::-1, ::-1])


def test_a_mixture_is_attacked_as_deployed_and_through_each_branch(
    mixture_checkpoint: Path, robust_model: nn.Module, test_digits: Digits
) -> None:
    images, labels = test_digits
    mixture = models.load_model(mixture_checkpoint)
    result = transfer({"mixture": mixture, "robust": robust_model}, images, labels, pgd(), batch_size=120)
    assert result.names == ("mixture", "mixture-clean-branch", "mixture-adversarial-branch", "robust")
    with models.branch(mixture, "clean"):
        made = pgd()(mixture, images, labels)
    right = (mixture(images).argmax(1) == labels) & (mixture(made).argmax(1) == labels)
    assert result.flags[1, 0].tolist() == right.tolist(), "made against the clean branch, asked of the mixture"
    with models.branch(mixture, "adversarial"), torch.no_grad():
        right = (mixture(images).argmax(1) == labels) & (mixture(made).argmax(1) == labels)
    assert result.flags[1, 2].tolist() == right.tolist(), "asked of the other branch"


def test_models_and_their_modes_are_restored(two: dict[str, nn.Module], test_digits: Digits) -> None:
    for model in two.values():
        model.train()
    transfer(two, *test_digits, pgd())
    assert all(module.training for model in two.values() for module in model.modules())
    for model in two.values():
        model.eval()


class Killed(BaseException):
    pass


def test_a_killed_call_resumes_from_its_last_batch(
    two: dict[str, nn.Module], test_digits: Digits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = transfer(two, *test_digits, pgd(), batch_size=30)
    kept = []
    write = MeasurementCache.write_batch

    def write_and_die(cache: MeasurementCache, name: str, *batch: Any) -> None:
        write(cache, name, *batch)
        kept.append(name)
        # the clean predictions of both models, and six of eight batches
        if len(kept) == 8 + 6:
            raise Killed

    monkeypatch.setattr(MeasurementCache, "write_batch", write_and_die)
    with pytest.raises(Killed):
        transfer(two, *test_digits, pgd(), batch_size=30, checkpoint_dir=tmp_path)
    after: list[str] = []

    def write_and_count(cache: MeasurementCache, name: str, *batch: Any) -> None:
        write(cache, name, *batch)
        after.append(name)

    monkeypatch.setattr(MeasurementCache, "write_batch", write_and_count)
    again = transfer(two, *test_digits, pgd(), batch_size=30, checkpoint_dir=tmp_path)
    assert np.array_equal(again.flags, undisturbed.flags)
    assert len(after) == 2, "only the batches that were missing"


def test_a_worst_case_over_attacks_can_be_transferred(two: dict[str, nn.Module], test_digits: Digits) -> None:
    worst = WorstCase.of(pgd(), create_attack("fgsm", eps=EPS))
    metrics = transfer(two, *test_digits, worst).metrics.as_json()
    assert [member["name"] for member in metrics["attack"]["attacks"]] == ["pgd", "fgsm"]
    json.dumps(metrics, allow_nan=False)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "there is no model"),
        ({"a": nn.Flatten()}, "model a: labels run from 60 to 69"),
        ({"a": nn.Sequential(nn.Flatten(), nn.Linear(9, 10))}, "model a: the model failed on"),
    ],
)
def test_models_that_cannot_be_attacked_are_refused(
    given: dict[str, nn.Module], message: str, test_digits: Digits
) -> None:
    images, labels = test_digits
    with pytest.raises(UserError, match=message):
        transfer(given, images, labels + 60 * (len(given) == 1), pgd())


def test_there_is_no_limit_to_the_number_of_models(robust_model: nn.Module, test_digits: Digits) -> None:
    images, labels = test_digits[0][:2], test_digits[1][:2]
    result = transfer(
        {str(number): robust_model for number in range(70)}, images, labels, create_attack("fgsm", eps=EPS)
    )
    assert result.flags.shape == (70, 70, 2)
    assert (result.flags == result.flags[0, 0]).all()


def test_the_stage_writes_what_it_returns_and_no_attack_stops_early(
    dataset: Path, plain_checkpoint: Path, mixture_checkpoint: Path, tmp_path: Path
) -> None:
    threat = Threat(eps=PixelFraction(str(EPS)))
    sources = {"plain": plain_checkpoint, "mixture": mixture_checkpoint}
    spec = AttackSpec(name="pgd", steps=3)
    metrics = run_transfer(dataset, sources, spec, threat, tmp_path / "out", max_images=20).as_json()
    files = {path.name for path in (tmp_path / "out").iterdir()}
    assert files == {"metrics.json", "flags.npz", "record.json"}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert json.loads((tmp_path / "out/metrics.json").read_text()) == metrics
    assert metrics["attack"]["early_stop"] is False
    assert metrics["samples"] == 20
    assert metrics["models"] == ["plain", "mixture", "mixture-clean-branch", "mixture-adversarial-branch"]
    record = json.loads((tmp_path / "out/record.json").read_text())
    assert {"dataset", "plain/best.safetensors", "mixture/best.safetensors"} <= set(record["inputs"])
    assert (record["split"], record["config"]["max_images"], record["protocol"]["samples"]) == ("test", 20, 20)
    assert record["protocol"]["threat"] == {"norm": "linf", "eps": str(EPS)}
    flags = np.load(tmp_path / "out/flags.npz", allow_pickle=False)
    assert flags["plain/mixture"].sum() == metrics["accuracy"]["plain"]["mixture"]["correct"]


@pytest.fixture
def command(dataset: Path, plain_checkpoint: Path, tmp_path: Path) -> Callable[..., tuple[int, str]]:
    """Run `nofrost transfer` on one model with further arguments; return exit code and output."""

    def run(*arguments: str) -> tuple[int, str]:
        fixed = ["--dataset", str(dataset), "--out", str(tmp_path / "out"), "--max-images", "10"]
        given = arguments if "--model" in arguments else ("--model", f"plain={plain_checkpoint}", *arguments)
        result = CliRunner().invoke(cli, ["transfer", *fixed, *given])
        if isinstance(result.exception, UserError):
            return 2, str(result.exception)
        return result.exit_code, result.stdout

    return run


def test_the_command_prints_a_table_or_json(command: Callable[..., tuple[int, str]], tmp_path: Path) -> None:
    code, table = command("--set", "steps=2")
    assert code == 0
    assert [line.split()[0] for line in table.splitlines()[1:]] == ["plain", "clean", "against"]
    assert "of each column's model on 10 test images" in table
    code, text = command("--set", "steps=2", "--attack", "bim", "--eps", "4/255", "--json")
    assert code == 0
    assert json.loads(text) == json.loads((tmp_path / "out/metrics.json").read_text())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--attack", "pdg"), "unknown attack 'pdg': did you mean 'pgd'"),
        (("--set", "stps=3"), "unknown setting 'stps': did you mean 'steps'"),
        (("--set", "decay=1"), "unknown setting 'decay'"),
        (("--set", "steps"), "--set 'steps' is not of the form key=value"),
        (("--eps", "-1"), "'-1' is negative"),
        (("--eps", "300"), "eps 300 is larger than the whole pixel range"),
        (("--model", "plain"), "--model 'plain' is not of the form NAME=PATH"),
        (("--model", "a=x", "--model", "a=y"), "--model a is used twice"),
        (("--model", "a=nowhere"), "nowhere"),
    ],
)
def test_wrong_usage_is_one_message_and_writes_nothing(
    command: Callable[..., tuple[int, str]], arguments: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    code, text = command(*arguments)
    assert code == 2
    assert message in text
    assert "\n" not in text.strip()
    assert not list(tmp_path.iterdir())
