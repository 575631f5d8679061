"""Attacks and properties that are measured on a subset of the images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn

from nofrost.attacks import create_attack
from nofrost.config import AdversarialSuite
from nofrost.errors import UserError
from nofrost.evaluate import evaluate_robustness, stage
from nofrost.evaluate.properties import boundary_thickness, decision_margin
from nofrost.evaluate.sharding import Shard

MakeSuite = Callable[..., AdversarialSuite]
Digits = tuple[torch.Tensor, torch.Tensor]
SUBSET = {"max_images": 9, "classes": 4}


def rows_of_subset(labels: torch.Tensor) -> torch.Tensor:
    """Nine evenly spaced images of the digits 0 to 3."""
    rows = torch.nonzero(labels < 4).flatten()
    return rows[torch.arange(9) * len(rows) // 9]


def test_an_attack_of_a_subset_has_an_accuracy_of_its_own_and_its_share_in_the_worst_case(
    robust_model: nn.Module, test_digits: Digits, make_suite: MakeSuite
) -> None:
    images, labels = test_digits
    suite = make_suite(attacks={"fgsm": {}, "few": {"name": "apgd-ce", "steps": 5, **SUBSET}})
    result = evaluate_robustness(robust_model, images, labels, suite)
    rows = rows_of_subset(labels)
    attack = create_attack("apgd-ce", norm="linf", eps=suite.threat.eps, seed=0, steps=5)
    found = attack(robust_model, images[rows], labels[rows], indices=rows)
    clean = (robust_model(images).argmax(1) == labels).numpy()
    expected = clean[rows] & (robust_model(found).argmax(1) == labels[rows]).numpy()
    assert np.array_equal(result.flags["few"], expected)
    assert result.accuracy["few"].total == result.metrics.attacks["few"].images == 9
    assert result.accuracy["fgsm"].total == len(labels)
    assert result.metrics.attacks["fgsm"].images is None
    worst = clean & result.flags["fgsm"]
    worst[rows] &= expected
    assert np.array_equal(result.flags["worst-case"], worst)
    assert "pgd-agrees-with-apgd" not in {alarm.name for alarm in result.alarms}


def test_properties_are_those_of_the_subset_and_thickness_is_measured_both_ways(
    robust_model: nn.Module, test_digits: Digits, make_suite: MakeSuite
) -> None:
    images, labels = test_digits
    thickness = {"space": "pixel", "eps": 1.5, "steps": 4, "points": 16, "against": "both"}
    suite = make_suite(properties={**SUBSET, "decision_margin": True, "boundary_thickness": thickness})
    result = evaluate_robustness(robust_model, images, labels, suite)
    rows = rows_of_subset(labels)
    margins = decision_margin(robust_model, images[rows], labels[rows])
    assert np.allclose(result.properties["decision_margin"], margins.numpy())
    assert suite.properties is not None
    assert suite.properties.boundary_thickness is not None
    for against, name in (("target", "boundary_thickness"), ("predicted", "boundary_thickness_predicted")):
        spec = suite.properties.boundary_thickness.model_copy(update={"against": against})
        expected = boundary_thickness(robust_model, images[rows], labels[rows], spec=spec, indices=rows)
        assert np.allclose(result.properties[name], expected.numpy()), name
        assert result.metrics.properties[name].total == 9
        assert result.metrics.properties[name].options["against"] == against


def test_shards_of_subsets_merge_to_what_one_run_writes(
    dataset: Path, plain_checkpoint: Path, make_suite: MakeSuite, tmp_path: Path
) -> None:
    suite = make_suite(
        attacks={"fgsm": {}, "few": {"name": "autoattack-paper", "steps": 2, "max_images": 30}},
        properties={**SUBSET, "decision_margin": True},
        batch_size=8,
        max_images=40,
    )
    stage.run(dataset, plain_checkpoint, suite, tmp_path / "whole")
    shards = [tmp_path / f"part-{index}" for index in range(2)]
    for index, out in enumerate(shards):
        stage.run(dataset, plain_checkpoint, suite, out, shard=Shard(index, 2))
    stage.merge(dataset, plain_checkpoint, suite, shards, tmp_path / "merged")
    for file in ("metrics.json", "flags.npz", "record.json"):
        assert (tmp_path / "merged" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes(), file


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"attacks": {"fgsm": {"max_images": 5}}, "cascade": True}, "attacks.fgsm: a cascade attacks what is left"),
        (
            {"attacks": {"fgsm": {"classes": 2}}, "branch_attacks": ["fgsm"]},
            "branch_attacks: fgsm attacks some of the images only",
        ),
    ],
)
def test_a_subset_where_all_images_are_needed_is_one_sentence(
    keys: dict[str, Any], message: str, make_suite: MakeSuite
) -> None:
    with pytest.raises(ValidationError, match=message):
        make_suite(**keys)


def test_a_subset_without_images_is_one_sentence(
    robust_model: nn.Module, test_digits: Digits, make_suite: MakeSuite
) -> None:
    images, labels = test_digits
    rows = labels > 0
    suite = make_suite(attacks={"few": {"name": "fgsm", "classes": 1}})
    with pytest.raises(UserError, match=r"suite: attacks\.few\.classes: no image that is evaluated is of the first 1"):
        evaluate_robustness(robust_model, images[rows], labels[rows], suite)


def test_a_suite_without_subsets_says_nothing_of_them(make_suite: MakeSuite) -> None:
    values = make_suite(properties={"decision_margin": True}).as_json()
    assert values["attacks"] == {"fgsm": {"name": "fgsm"}, "apgd-ce-5": {"name": "apgd-ce", "steps": 5}}
    assert not {"max_images", "classes"} & set(values["properties"])
