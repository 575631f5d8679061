"""Cross-entropy and top-5 accuracy, clean and attacked, and the generalisation gap, against torch's own functions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from nofrost import models
from nofrost.attacks import create_attack
from nofrost.config import AdversarialSuite
from nofrost.data import read_split, to_tensor
from nofrost.errors import UserError
from nofrost.evaluate import evaluate_robustness, merge, run
from nofrost.statistics import mean_interval
from tests.evaluate.shards import contents, run_shards

MakeSuite = Callable[..., AdversarialSuite]
Digits = tuple[torch.Tensor, torch.Tensor]
PGD = {"pgd": {"name": "pgd", "steps": 3}}
EPS = 0.12


def test_losses_and_top_5_are_those_of_torch_on_every_image_attacked_or_not(
    standard_model: nn.Module, test_digits: Digits, make_suite: MakeSuite
) -> None:
    images, labels = test_digits
    result = evaluate_robustness(standard_model, images, labels, make_suite(attacks=PGD, losses=True, batch_size=50))
    adversarial = create_attack("pgd", eps=EPS, steps=3)(standard_model, images, labels)
    for name, points in (("clean", images), ("pgd", adversarial)):
        logits = standard_model(points).detach()
        loss = F.cross_entropy(logits.double(), labels, reduction="none").numpy()
        measured = result.losses.cross_entropy[name]
        assert measured.dtype == np.float32
        np.testing.assert_allclose(measured, loss, rtol=2e-4, atol=1e-6)
        top = (logits.topk(5).indices == labels[:, None]).any(1).numpy()
        assert np.array_equal(result.losses.top_5[name], top)
        summary = result.metrics.cross_entropy[name]
        assert (summary.mean, summary.deviation, summary.low, summary.high) == pytest.approx(
            mean_interval(measured.astype(np.float64))
        )
        assert result.metrics.top_5[name].correct == top.sum()
        assert np.array_equal(result.arrays()[f"cross_entropy/{name}"], measured)
    assert result.metrics.cross_entropy["clean"].mean < result.metrics.cross_entropy["pgd"].mean  # type: ignore[operator]


def test_with_losses_accuracies_are_the_same_as_without(
    standard_model: nn.Module, test_digits: Digits, make_suite: MakeSuite
) -> None:
    plain, with_losses = (
        evaluate_robustness(standard_model, *test_digits, make_suite(losses=losses)) for losses in (False, True)
    )
    for name, flags in plain.flags.items():
        # Images in batches of other sizes differ in the last bits of a logit.
        assert (flags != with_losses.flags[name]).sum() <= 1
    assert not (with_losses.flags["fgsm"] & ~with_losses.flags["clean"]).any()


def test_five_classes_or_fewer_have_no_top_5(test_digits: Digits, make_suite: MakeSuite) -> None:
    torch.manual_seed(0)
    model, labels = nn.Sequential(nn.Flatten(), nn.Linear(64, 5)), test_digits[1] % 5
    result = evaluate_robustness(model, test_digits[0], labels, make_suite(attacks=PGD, losses=True))
    assert result.metrics.top_5 == {}
    assert set(result.metrics.cross_entropy) == {"clean", "pgd"}


def test_training_images_give_accuracy_loss_and_gap(
    dataset: Path, plain_checkpoint: Path, make_suite: MakeSuite, tmp_path: Path
) -> None:
    metrics: Any = run(
        dataset, plain_checkpoint, make_suite(attacks={"fgsm": {}}, training_images=20), tmp_path / "out"
    )
    split, model = read_split(dataset, "train"), models.load_model(plain_checkpoint)
    rows = np.arange(20) * 2
    labels = torch.from_numpy(split.labels[rows])
    logits = model(to_tensor(split.images[rows])).detach()
    training = metrics.training
    assert training.accuracy.correct == int((logits.argmax(1) == labels).sum())
    assert training.cross_entropy.mean == pytest.approx(float(F.cross_entropy(logits, labels)), rel=1e-4)
    assert training.gap == pytest.approx(training.accuracy.accuracy - metrics.accuracy["clean"].accuracy)
    assert training.gap_low <= training.gap <= training.gap_high
    assert training.loss_gap == pytest.approx(metrics.cross_entropy["clean"].mean - training.cross_entropy.mean)
    flags = np.load(tmp_path / "out" / "flags.npz")
    assert np.array_equal(flags["training/indices"], split.indices[rows])
    assert set(metrics.cross_entropy) == {"clean"}


def test_shards_with_losses_training_images_and_mixtures_merge_byte_for_byte(
    dataset: Path, mixture_checkpoint: Path, make_suite: MakeSuite, tmp_path: Path
) -> None:
    suite = make_suite(
        attacks={"fgsm": {}}, losses=True, training_images=30, mixtures={"weights": [0.5]}, batch_size=20
    )
    run(dataset, mixture_checkpoint, suite, tmp_path / "whole")
    shards = run_shards(dataset, mixture_checkpoint, suite, 2, tmp_path)
    merge(dataset, mixture_checkpoint, suite, shards, tmp_path / "merged")
    assert contents(tmp_path / "merged") == contents(tmp_path / "whole")


def test_keys_that_are_not_set_are_in_no_file(make_suite: MakeSuite) -> None:
    assert not {"losses", "training_images", "mixtures"} & set(make_suite().as_json())
    suite = make_suite(losses=True, training_images=9, mixtures={})
    assert AdversarialSuite.model_validate(suite.as_json()) == suite


def test_losses_of_a_cascade_and_training_images_of_a_tensor_are_refused(
    standard_model: nn.Module, test_digits: Digits, make_suite: MakeSuite
) -> None:
    with pytest.raises(ValueError, match="losses are of attacks that run on every image"):
        make_suite(losses=True, cascade=True)
    with pytest.raises(UserError, match="training_images is for a dataset on disk"):
        evaluate_robustness(standard_model, *test_digits, make_suite(training_images=3))
