"""Phases follow one another on one model: what each trains, resets, sees and saves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import nofrost
from nofrost import train
from nofrost.config import Recipe
from nofrost.data import read_split
from nofrost.models import build, create_model
from nofrost.results import PhaseMetrics, Proportion, Selection, TrainMetrics
from nofrost.seeds import derive_seed

TINY: dict[str, Any] = {
    "title": "Tiny",
    "citation": "own",
    "model": {"arch": "resnet8", "normaliser": "bn"},
    "objective": {"name": "st"},
    "threat": {"eps": "8/255"},
    "attack": {"name": "pgd", "steps": 1, "keep": "last"},
    "schedule": {"epochs": 1, "batch_size": 40},
    "selection": {"attack": {"name": "pgd", "steps": 1}},
}


def trained(digits: Path, out: Path, **changes: Any) -> TrainMetrics:
    """Return the metrics of a tiny training."""
    return train.run(digits, None, Recipe.model_validate({**TINY, **changes}), "tiny", 0, out)


def content(out: Path, name: str) -> Any:
    return json.loads((out / name).read_text())


def test_after_natural_training_batch_norms_alone_are_retrained_adversarially(digits: Path, tmp_path: Path) -> None:
    """zeise2025 §4, All_N→BN_A."""
    natural = {"schedule": {"epochs": 2, "batch_size": 40}}
    robust = {"objective": {"name": "pgdat"}, "trainable": "bn", "reset": "all"}
    metrics = trained(digits, tmp_path / "two", phases={"natural": natural, "robust": robust})
    trained(digits, tmp_path / "one", **natural)
    before, after = (load_file(tmp_path / out / "last.safetensors") for out in ("one", "two"))
    moved = {name for name in after if not torch.equal(before[name], after[name])}
    assert moved == {name for name in after if ".bn" in name or "shortcut.1" in name}
    counts = {int(value) for name, value in after.items() if name.endswith("num_batches_tracked")}
    assert counts == {len(read_split(digits, "train")) // 40}, "statistics start anew, once"
    affine = sum(after[name].numel() for name in moved if name.endswith(("weight", "bias")))
    assert metrics.trained_parameters == affine < metrics.parameters
    assert metrics.phases == {
        "natural": PhaseMetrics(epochs=2, trained_parameters=metrics.parameters),
        "robust": PhaseMetrics(epochs=1, trained_parameters=affine),
    }
    rows = content(tmp_path / "two", "curves.json")
    assert [(row["epoch"], row["phase"]) for row in rows] == [(1, "natural"), (2, "natural"), (3, "robust")]
    assert rows[:2] == [{**row, "phase": "natural"} for row in content(tmp_path / "one", "curves.json")]
    assert [row["selection_attacked"] is None for row in rows] == [True, True, False]
    assert metrics.best_epoch == 3, "the best of the last phase, even if an earlier one answered better"
    steps = content(tmp_path / "two", "record.json")["steps"]
    assert [steps[phase]["trained_parameters"] for phase in steps] == [metrics.parameters, affine]


def test_images_grow_from_phase_to_phase(digits: Path, tmp_path: Path) -> None:
    small = {"views": {"image_size": 8}, "schedule": {"epochs": 1, "batch_size": 100}}
    metrics = trained(digits, tmp_path / "out", phases={"small": small, "large": {}})
    steps = content(tmp_path / "out", "record.json")["steps"]
    assert [steps[phase]["image_size"] for phase in steps] == [[8, 8], [16, 16]]
    assert [steps[phase]["images"] for phase in steps] == [{"clean": 100}, {"clean": 40}]
    assert metrics.selection.clean.total == len(read_split(digits, "selection"))


def test_running_statistics_are_fixed_in_the_last_epochs_and_weights_are_not(digits: Path, tmp_path: Path) -> None:
    schedule = {"epochs": 2, "batch_size": 100}
    trained(digits, tmp_path / "out", schedule={**schedule, "running_statistics_epochs": 1})
    trained(digits, tmp_path / "moving", schedule=schedule)
    ours, moving = (load_file(tmp_path / out / "last.safetensors") for out in ("out", "moving"))
    batches = {name for name in ours if name.endswith("num_batches_tracked")}
    assert batches
    assert all(2 * ours[name] == moving[name] for name in batches)
    moved = {name for name in ours if not torch.equal(ours[name], moving[name])}
    assert {name for name, _ in create_model("resnet8", num_classes=10, image_size=16).named_parameters()} <= moved


@pytest.mark.parametrize(
    ("changes", "kept"),
    [
        ({}, 1),
        ({"selection": {"keep": "last"}}, 4),
        ({"schedule": {"running_statistics_epochs": 2}}, 3),
        ({"optimiser": {"averaging": {"decay": 0.5, "start_epoch": 3}}}, 4),
        ({"optimiser": {"averaging": {"decay": 0.5, "start_epoch": 2.5}}}, 3),
    ],
)
def test_the_kept_epoch_is_the_best_of_those_that_the_recipe_is_about_or_the_last(
    changes: dict[str, Any], kept: int, digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each epoch is measured worse than the one before."""
    scores = iter((0.8, 0.6, 0.4, 0.2))

    def falling(*_: object) -> Selection:
        score = next(scores)
        return Selection(clean=Proportion.of(round(score * 20), 20), attacked=None, score=score)

    monkeypatch.setattr("nofrost.train.trainer.select", falling)
    schedule = {"epochs": 4, "batch_size": 80, **changes.get("schedule", {})}
    metrics = trained(digits, tmp_path / "out", **{"optimiser": {"lr": 0.01}, **changes, "schedule": schedule})
    assert (metrics.best_epoch, metrics.selection.score) == (kept, (0.8, 0.6, 0.4, 0.2)[kept - 1])
    best, last = (load_file(tmp_path / "out" / f"{name}.safetensors") for name in ("best", "last"))
    assert all(torch.equal(best[name], last[name]) for name in best) == (kept == 4)


@pytest.mark.parametrize("averaging", [None, {"decay": 0.9}])
def test_the_checkpoint_is_the_model_that_was_measured(averaging: Any, digits: Path, tmp_path: Path) -> None:
    optimiser = {"lr": 0.05, "averaging": averaging}
    trained(digits, tmp_path / "out", optimiser=optimiser, schedule={"epochs": 2, "batch_size": 40})
    images, labels, _ = read_split(digits, "selection").batch(slice(None))
    rows = content(tmp_path / "out", "curves.json")
    for name, row in (("last", rows[-1]), ("best", rows[content(tmp_path / "out", "metrics.json")["best_epoch"] - 1])):
        model = nofrost.load_model(tmp_path / "out" / f"{name}.safetensors")
        with torch.inference_mode():
            assert float((model(images).argmax(1) == labels).float().mean()) == pytest.approx(row["selection_clean"])
    if averaging:
        trained(digits, tmp_path / "raw", optimiser={"lr": 0.05}, schedule={"epochs": 2, "batch_size": 40})
        ours, raw = (load_file(tmp_path / out / "last.safetensors") for out in ("out", "raw"))
        assert not torch.equal(ours["network.fc.weight"], raw["network.fc.weight"])
        assert [row["loss"] for row in rows] == [row["loss"] for row in content(tmp_path / "raw", "curves.json")]


def test_a_guard_ends_the_training_and_keeps_the_best_checkpoint(digits: Path, tmp_path: Path) -> None:
    """The learning rate explodes in the fourth of six epochs; the budget is too small to matter until then."""
    points = [[0, 0.02], [3, 0.02], [3.01, 1], [6, 1]]
    schedule = {"epochs": 6, "batch_size": 10, "shape": "piecewise-linear", "points": points}
    selection = {**TINY["selection"], "guard": 0.2}
    metrics = trained(
        digits,
        tmp_path / "out",
        objective={"name": "pgdat"},
        threat={"eps": "1/255"},
        optimiser={"lr": 5.0},
        schedule=schedule,
        selection=selection,
    )
    ended = metrics.stopped_early
    assert ended is not None
    assert 4 <= ended.epoch == metrics.epochs < 6
    assert "selection.guard 0.2" in ended.reason
    assert metrics.best_epoch < ended.epoch
    assert (tmp_path / "out" / "best.safetensors").is_file()


@pytest.mark.parametrize(("lr", "lr_per"), [(0.4, None), (0.2, 110)])
def test_gradient_descent_takes_all_images_in_one_step(
    lr: float, lr_per: int | None, digits: Path, tmp_path: Path
) -> None:
    """One step with SGD's own rule on the mean loss of all images, in any order."""
    model = {"arch": "linear", "normaliser": "none"}
    optimiser = {"lr": lr, "lr_per": lr_per, "momentum": 0.0, "weight_decay": 0.0}
    schedule = {"epochs": 1, "batch_size": "all", "shape": "constant"}
    trained(digits, tmp_path / "out", model=model, optimiser=optimiser, schedule=schedule)
    record = content(tmp_path / "out", "record.json")
    split = read_split(digits, "train")
    assert record["steps"]["train"]["images"] == {"clean": len(split)} == {"clean": 220}
    assert content(tmp_path / "out", "curves.json")[0]["lr"] == pytest.approx(0.4)
    images, labels, _ = split.batch(slice(None))
    stepped = nofrost.load_model(tmp_path / "out" / "last.safetensors")
    torch.manual_seed(derive_seed(0, "weights"))
    start = build(stepped.signature)
    torch.nn.functional.cross_entropy(start(images), labels).backward()
    for name, parameter in start.named_parameters():
        assert parameter.grad is not None
        assert torch.allclose(stepped.get_parameter(name), parameter - 0.4 * parameter.grad, atol=1e-6), name


@pytest.mark.parametrize("rate", [0.1, 0.05])
def test_gradient_descent_of_one_logit_is_logistic_regression_from_zero_with_statistics_of_all_images(
    rate: float, digits: Path, tmp_path: Path
) -> None:
    """galloway2019 §3: by hand on the normalised pixels, with weight decay. One logit for each class but the first."""
    trained(
        digits,
        tmp_path / "out",
        model={
            "arch": "logistic",
            "normaliser": "bn",
            "affine": False,
            "initial": "zeros",
            "batch_norm_momentum": 1.0,
        },
        optimiser={"lr": rate, "momentum": 0.0, "weight_decay": 0.1},
        schedule={"epochs": 3, "batch_size": "all", "shape": "constant"},
    )
    model = nofrost.load_model(tmp_path / "out" / "last.safetensors")
    images, labels, _ = read_split(digits, "train").batch(slice(None))
    pixels = ((images - model.mean) / model.std).flatten(1).double()
    norm = model.network.bn
    assert torch.allclose(norm.running_mean.double(), pixels.mean(0), atol=1e-5)
    assert torch.allclose(norm.running_var.double(), pixels.var(0), rtol=1e-4, atol=1e-6)
    pixels = (pixels - pixels.mean(0)) / (pixels.var(0, correction=0) + norm.eps).sqrt()
    weight, bias = torch.zeros(9, pixels.shape[1], dtype=torch.float64), torch.zeros(9, dtype=torch.float64)
    of_label = torch.nn.functional.one_hot(labels, 10).double()
    for _ in range(3):
        logits = torch.nn.functional.pad(pixels @ weight.T + bias, (1, 0))
        error = ((logits.softmax(1) - of_label) / len(labels))[:, 1:]
        weight = weight - rate * (error.T @ pixels + 0.1 * weight)
        bias = bias - rate * error.sum(0)
    assert torch.allclose(model.network.fc.weight.double(), weight, atol=1e-5)
    assert torch.allclose(model.network.fc.bias.double(), bias, atol=1e-5)


def test_training_starts_from_the_weights_that_the_recipe_names(digits: Path, tmp_path: Path) -> None:
    trained(digits, tmp_path / "first")
    weights = tmp_path / "first" / "best.safetensors"
    model = {**TINY["model"], "weights": str(tmp_path / "first")}
    trained(digits, tmp_path / "second", model=model, trainable="layer:fc", schedule={"epochs": 1, "batch_size": 200})
    before, after = load_file(weights), load_file(tmp_path / "second" / "last.safetensors")
    moved = {name for name in after if not torch.equal(before[name], after[name])}
    assert {name for name in moved if not name.rpartition(".")[2].startswith(("running", "num"))} == {
        "network.fc.weight",
        "network.fc.bias",
    }
    record = content(tmp_path / "second", "record.json")
    assert record["inputs"]["weights"] == content(tmp_path / "first", "best.json")["sha256"]
