"""Batch norms that normalise by the test images: what the numbers are, what is recorded, and that the model stays."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from nofrost import models
from nofrost.config import AdversarialSuite
from nofrost.evaluate import evaluate_robustness, run
from nofrost.models.contents import model_sha256
from nofrost.models.modes import batch_statistics

MakeSuite = Callable[..., AdversarialSuite]
Digits = tuple[torch.Tensor, torch.Tensor]
PGD = {"pgd": {"name": "pgd", "steps": 3, "keep": "last"}}


def in_training(model: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
    """The logits of a pass in training mode, whose running statistics are put back."""
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    logits: torch.Tensor = model.train()(images).detach()
    model.load_state_dict(state)
    model.eval()
    return logits


@pytest.mark.parametrize("normaliser", ["bn", "mbn"])
def test_answers_are_those_of_training_mode_batch_by_batch(
    checkpoint_with: Callable[[str], Path], test_digits: Digits, make_suite: MakeSuite, normaliser: str
) -> None:
    images, labels = test_digits
    model = models.load_model(checkpoint_with(normaliser))
    before = model_sha256(model)
    suite = make_suite(attacks=PGD, branch_attacks=[], batch_statistics="batch", batch_size=48)
    result = evaluate_robustness(model, images, labels, suite)
    assert model_sha256(model) == before
    expected = torch.cat([in_training(model, part) for part in images.split(48)]).argmax(1)
    assert np.array_equal(result.predictions, expected.numpy())
    running = evaluate_robustness(model, images, labels, make_suite(attacks=PGD, branch_attacks=[], batch_size=48))
    assert not np.array_equal(result.predictions, running.predictions)
    assert (result.protocol.batch_statistics, running.protocol.batch_statistics) == ("batch", None)
    assert not (result.flags["pgd"] & ~result.flags["clean"]).any()
    alarm = next(alarm for alarm in result.alarms if alarm.name == "answers-ignore-the-batch")
    assert alarm.status != "pass"


def test_the_stage_records_it_and_says_nothing_otherwise(
    dataset: Path, plain_checkpoint: Path, make_suite: MakeSuite, tmp_path: Path
) -> None:
    for name in ("batch", "running"):
        run(dataset, plain_checkpoint, make_suite(attacks=PGD, batch_statistics=name), tmp_path / name)
    records = {name: json.loads((tmp_path / name / "record.json").read_text()) for name in ("batch", "running")}
    assert records["batch"]["protocol"]["batch_statistics"] == "batch"
    assert "batch_statistics" not in records["running"]["protocol"]
    assert "batch_statistics" not in records["running"]["config"]


def test_running_statistics_are_back_after_an_error(plain_checkpoint: Path) -> None:
    model = models.load_model(plain_checkpoint)
    before = model_sha256(model)
    with pytest.raises(RuntimeError, match="stop"), batch_statistics(model):
        raise RuntimeError("stop")
    assert model_sha256(model) == before


def test_a_cascade_is_refused(make_suite: MakeSuite) -> None:
    with pytest.raises(ValueError, match="batch statistics are of attacks that run on every image"):
        make_suite(batch_statistics="batch", cascade=True)
