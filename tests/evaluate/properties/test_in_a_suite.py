"""A suite's properties are those of the pure functions, whatever the batch, the shard or a kill in between."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from nofrost import models
from nofrost.attacks import create_attack
from nofrost.config import AdversarialSuite
from nofrost.errors import UserError
from nofrost.evaluate import Shard, evaluate_robustness, merge, properties, run

MakeSuite = Callable[..., AdversarialSuite]
Digits = tuple[torch.Tensor, torch.Tensor]
FGSM = {"fgsm": {"name": "fgsm"}}
OF_IMAGES = {
    "decision_margin": True,
    "boundary_thickness": {"space": "pixel", "eps": 1.5, "steps": 4, "points": 16},
    "model_smoothness": {"attack": {"name": "pgd", "steps": 3, "keep": "last"}},
    "gradient_norm": True,
    "boundary_distance": {"queries": 20},
}
OF_LAYERS = {"weight_norms": True, "batch_norm": {"mini_batches": 2, "batch_size": 20, "attack": {"name": "fgsm"}}}
NAMES = [
    "decision_margin",
    "boundary_thickness",
    "model_smoothness",
    "gradient_norm_l1",
    "gradient_norm_l2",
    "boundary_distance",
]


def test_properties_of_a_suite_are_those_of_the_functions(
    robust_model: nn.Module, test_digits: Digits, make_suite: MakeSuite
) -> None:
    images, labels = test_digits
    suite = make_suite(attacks=FGSM, properties=OF_IMAGES, seed=3, batch_size=50)
    indices = torch.arange(120) + 700
    found = evaluate_robustness(robust_model, images, labels, suite, indices=indices).properties
    assert list(found) == NAMES
    attack = create_attack("pgd", eps=0.12, steps=3, keep="last", seed=3)
    adversarial = attack(robust_model, images, labels, indices=indices)
    assert suite.properties is not None
    expected = {
        "decision_margin": properties.decision_margin(robust_model, images, labels),
        "boundary_thickness": properties.boundary_thickness(
            robust_model, images, labels, spec=suite.properties.boundary_thickness, indices=indices, seed=3
        ),
        "model_smoothness": properties.model_smoothness(robust_model, images, adversarial),
        "gradient_norm_l1": properties.gradient_norm(robust_model, images, labels, "l1"),
        "gradient_norm_l2": properties.gradient_norm(robust_model, images, labels, "l2"),
        "boundary_distance": properties.boundary_distance(robust_model, images, labels, queries=20),
    }
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-4, atol=1e-6, err_msg=name)
        assert found[name].dtype == np.float64
        assert np.unique(found[name]).size > 5, name


def test_metrics_hold_each_property_with_its_interval_and_its_options(
    robust_model: nn.Module, test_digits: Digits, make_suite: MakeSuite
) -> None:
    result = evaluate_robustness(robust_model, *test_digits, make_suite(attacks=FGSM, properties=OF_IMAGES))
    metrics = json.loads(json.dumps(result.metrics.as_json(), allow_nan=False))["properties"]
    margin = metrics["decision_margin"]
    values = result.properties["decision_margin"]
    assert margin["mean"] == pytest.approx(values.mean())
    assert margin["deviation"] == pytest.approx(values.std(ddof=1))
    assert margin["low"] < margin["mean"] < margin["high"]
    assert (margin["total"], margin["infinite"], margin["options"]) == (120, 0, {})
    assert metrics["boundary_thickness"]["options"]["space"] == "pixel"
    assert metrics["boundary_thickness"]["options"]["eps"] == "1.5"
    assert metrics["model_smoothness"]["options"]["attack"]["steps"] == 3
    assert np.array_equal(result.arrays()["properties/decision_margin"], values)


def test_without_properties_nothing_is_measured(
    robust_model: nn.Module, test_digits: Digits, make_suite: MakeSuite
) -> None:
    for chosen in (None, {}, {"decision_margin": False, "weight_norms": None}):
        result = evaluate_robustness(robust_model, *test_digits, make_suite(attacks=FGSM, properties=chosen))
        metrics = result.metrics.as_json()
        assert result.properties == {}
        assert (metrics["properties"], metrics["weight_norms"], metrics["batch_norm"]) == ({}, None, [])
        assert result.layers.arrays() == {}


def test_mini_batches_of_a_mixture_pass_their_own_branch(
    mixture_checkpoint: Path, test_digits: Digits, make_suite: MakeSuite
) -> None:
    model = models.load_model(mixture_checkpoint)
    suite = make_suite(attacks=FGSM, branch_attacks=[], properties=OF_LAYERS)
    layers = evaluate_robustness(model, *test_digits, suite).layers
    assert [batch.name for batch in layers.mini_batches] == ["clean-0", "clean-1", "adversarial-0", "adversarial-1"]
    rows = np.sort(np.random.default_rng(0).permutation(120)[:20])
    with models.branch(model, "clean"):
        expected = properties.batch_statistics(model, test_digits[0][rows])
    for name, (mean, variance) in expected.items():
        torch.testing.assert_close(layers.mini_batches[0].statistics[name], (mean, variance), rtol=1e-4, atol=1e-5)
    arrays = layers.arrays()
    assert {"clean", "adversarial"} == {name.split("/")[1] for name in arrays if name.startswith("batch_norm/")}
    assert "mini_batches/adversarial-1/network.bn1/variance" in arrays


def test_a_model_without_batch_norm_has_weight_norms_alone(
    robust_model: nn.Module, test_digits: Digits, make_suite: MakeSuite
) -> None:
    result = evaluate_robustness(robust_model, *test_digits, make_suite(attacks=FGSM, properties=OF_LAYERS))
    assert len(result.layers.weights) == 2
    assert (result.layers.batch_norms, result.layers.mini_batches) == ((), ())


def test_fewer_images_than_mini_batches_ask_for_give_fewer(
    plain_checkpoint: Path, test_digits: Digits, make_suite: MakeSuite
) -> None:
    model, images, labels = models.load_model(plain_checkpoint), *test_digits
    suite = make_suite(attacks=FGSM, properties={"batch_norm": {"mini_batches": 3, "batch_size": 20, "attack": None}})
    for count, expected in ((50, ["clean-0", "clean-1"]), (12, ["clean-0"]), (1, [])):
        layers = evaluate_robustness(model, images[:count], labels[:count], suite).layers
        assert [batch.name for batch in layers.mini_batches] == expected


def test_shards_merge_into_the_whole_byte_for_byte(
    dataset: Path, mixture_checkpoint: Path, make_suite: MakeSuite, tmp_path: Path
) -> None:
    suite = make_suite(attacks=FGSM, branch_attacks=[], properties={**OF_IMAGES, **OF_LAYERS}, batch_size=16)
    inputs = (dataset, mixture_checkpoint, suite)
    run(*inputs, tmp_path / "whole")
    folders = [tmp_path / f"shard-{index}" for index in range(3)]
    for index, folder in enumerate(folders):
        run(*inputs, folder, Shard(index, 3))
    merge(*inputs, folders, tmp_path / "merged")
    for name in ("metrics.json", "flags.npz", "properties.npz"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "merged" / name).read_bytes(), name
    with np.load(tmp_path / "whole" / "flags.npz") as flags:
        assert {f"properties/{name}" for name in NAMES} <= set(flags.files)


def test_a_stage_without_layer_properties_writes_no_file_of_them(
    dataset: Path, plain_checkpoint: Path, make_suite: MakeSuite, tmp_path: Path
) -> None:
    run(dataset, plain_checkpoint, make_suite(attacks=FGSM), tmp_path / "out")
    assert not (tmp_path / "out" / "properties.npz").exists()


def test_a_killed_measurement_resumes(
    robust_model: nn.Module,
    test_digits: Digits,
    make_suite: MakeSuite,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The probe of the batch calls the model too, in the run that resumes as well: not what is counted here.
    monkeypatch.setattr("nofrost.evaluate.adversarial.judging.batch_effects", lambda *_: [])
    suite = make_suite(attacks=FGSM, properties={"decision_margin": True, "gradient_norm": True}, batch_size=30)
    whole = evaluate_robustness(robust_model, *test_digits, suite).properties

    class KilledError(BaseException):
        pass

    class Mortal(nn.Module):
        def __init__(self, left: int | None) -> None:
            super().__init__()
            self.model, self.left, self.calls = robust_model, left, 0

        def __repr__(self) -> str:
            return "Mortal"

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            self.calls += 1
            if self.left is not None and self.calls > self.left:
                raise KilledError
            return self.model(images)

    full = Mortal(None)
    evaluate_robustness(full, *test_digits, suite)
    with pytest.raises(KilledError):
        evaluate_robustness(Mortal(full.calls - 31), *test_digits, suite, checkpoint_dir=tmp_path)
    rest = Mortal(None)
    resumed = evaluate_robustness(rest, *test_digits, suite, checkpoint_dir=tmp_path).properties
    assert all(np.array_equal(resumed[name], whole[name]) for name in whole)
    assert rest.calls < 0.75 * full.calls


@pytest.mark.parametrize("place", ["model_smoothness", "batch_norm"])
def test_an_attack_that_there_is_not_is_refused_before_anything_is_measured(
    place: str, test_digits: Digits, make_suite: MakeSuite
) -> None:
    suite = make_suite(properties={place: {"attack": {"name": "pgd-20"}}})

    def never(images: torch.Tensor) -> torch.Tensor:
        raise AssertionError

    model = nn.Module()
    model.forward = never
    with pytest.raises(UserError, match=rf"properties\.{place}\.attack\.name: unknown attack 'pgd-20'"):
        evaluate_robustness(model, *test_digits, suite)


def test_a_model_that_does_not_say_its_std_is_refused_before_it_is_attacked(
    robust_model: nn.Module, test_digits: Digits, make_suite: MakeSuite, monkeypatch: pytest.MonkeyPatch
) -> None:
    suite = make_suite(attacks=FGSM, properties={"boundary_thickness": True})
    monkeypatch.setattr("nofrost.evaluate.measuring.attacking.EvaluatedModel.attack", None)
    with pytest.raises(UserError, match=r"suite: properties\.boundary_thickness: .* space: pixel"):
        evaluate_robustness(robust_model, *test_digits, suite)
