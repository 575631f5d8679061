"""The stage evaluate-adversarial: what it writes, that it goes on after a kill, and what it refuses."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nofrost import models
from nofrost.attacks import create_attack
from nofrost.config import AdversarialSuite
from nofrost.data import read_split, to_tensor
from nofrost.errors import UserError
from nofrost.evaluate import run

MakeSuite = Callable[..., AdversarialSuite]
MakeCheckpoint = Callable[..., Path]
FILES = ["examples.npz", "flags.npz", "metrics.json", "record.json"]
CURVES = {
    "steps_curve": {"attack": "apgd-ce", "steps": [1, 2]},
    "budget_curve": {"attack": {"name": "fgsm"}, "multiples": [1]},
}


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def evaluated(
    dataset: Path, mixture_checkpoint: Path, make_suite: MakeSuite, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any]]:
    """The output of an evaluation of all images with two curves, in a folder of its own, and the metrics returned."""
    out = tmp_path_factory.mktemp("evaluated") / "out"
    return out, run(dataset, mixture_checkpoint, make_suite(**CURVES), out).as_json()


def test_the_output_is_whole_agrees_with_the_metrics_returned_and_leaves_nothing_beside_it(
    evaluated: tuple[Path, dict[str, Any]],
) -> None:
    out, metrics = evaluated
    assert sorted(contents(out)) == FILES
    assert [path.name for path in out.parent.iterdir()] == ["out"]
    assert json.loads((out / "metrics.json").read_text()) == metrics
    assert metrics["samples"] == 60
    indices = 1000 + 3 * np.arange(60, dtype="<i8")
    assert metrics["indices_sha256"] == hashlib.sha256(indices.tobytes()).hexdigest()


def test_flags_and_predictions_are_saved_by_image_and_add_up_to_the_metrics(
    evaluated: tuple[Path, dict[str, Any]], dataset: Path
) -> None:
    out, metrics = evaluated
    flags = np.load(out / "flags.npz", allow_pickle=False)
    split = read_split(dataset, "test")
    assert np.array_equal(flags["labels"], split.labels)
    assert np.array_equal(flags["indices"], split.indices)
    assert np.array_equal(flags["correct/clean"], flags["predictions"] == split.labels)
    for name, accuracy in metrics["accuracy"].items():
        assert flags[f"correct/{name}"].dtype == np.bool_
        assert flags[f"correct/{name}"].sum() == accuracy["correct"]
    for branch, accuracies in metrics["branches"].items():
        for name, accuracy in accuracies.items():
            assert flags[f"branches/{branch}/{name}"].sum() == accuracy["correct"]
    for point in metrics["steps_curve"]["points"]:
        assert flags[f"steps/{point['steps']}"].sum() == point["correct"]
    for point in metrics["budget_curve"]["points"]:
        assert flags[f"budgets/{point['eps']}"].sum() == point["correct"]


def test_each_branch_of_a_mixture_is_measured_with_model_and_attacker_on_that_branch(
    dataset: Path, mixture_checkpoint: Path, make_suite: MakeSuite, tmp_path: Path
) -> None:
    suite = make_suite(attacks={"pgd": {"name": "pgd", "steps": 3}})
    metrics = run(dataset, mixture_checkpoint, suite, tmp_path / "out").as_json()
    model = models.load_model(mixture_checkpoint)
    split = read_split(dataset, "test")
    images, labels = to_tensor(split.images), torch.from_numpy(np.array(split.labels))
    indices = torch.from_numpy(np.array(split.indices))
    attack = create_attack("pgd", norm="linf", eps=suite.threat.eps, seed=0, steps=3)

    def count() -> dict[str, int]:
        clean = model(images).argmax(1) == labels
        found = attack(model, images, labels, indices=indices)
        return {"clean": int(clean.sum()), "pgd": int((clean & (model(found).argmax(1) == labels)).sum())}

    expected = {"": count()}
    for branch in ("clean", "adversarial"):
        with models.branch(model, branch):  # type: ignore[arg-type]
            expected[branch] = count()
    written = {"": metrics["accuracy"], **metrics["branches"]}
    found = {branch: {name: each[name]["correct"] for name in ("clean", "pgd")} for branch, each in written.items()}
    assert found == expected
    assert len({tuple(each.values()) for each in expected.values()}) == 3, "the three must differ to prove anything"


def test_the_deployed_mixture_also_classifies_images_made_through_each_branch(
    dataset: Path, mixture_checkpoint: Path, make_suite: MakeSuite, tmp_path: Path
) -> None:
    suite = make_suite(attacks={"fgsm": {}, "pgd": {"steps": 3}}, branch_attacks=["fgsm", "pgd"])
    run(dataset, mixture_checkpoint, suite, tmp_path / "out")
    flags = np.load(tmp_path / "out/flags.npz")
    model, split = models.load_model(mixture_checkpoint), read_split(dataset, "test")
    images, labels = to_tensor(split.images), torch.from_numpy(np.array(split.labels))
    clean = model(images).argmax(1) == labels
    worst = clean & torch.from_numpy(flags["correct/fgsm"] & flags["correct/pgd"])
    for branch in ("clean", "adversarial"):
        right = clean.clone()
        for name, settings in (("fgsm", {}), ("pgd", {"steps": 3})):
            attack = create_attack(name, norm="linf", eps=suite.threat.eps, seed=0, **settings)
            with models.branch(model, branch):  # type: ignore[arg-type]
                found = attack(model, images[clean], labels[clean], indices=torch.from_numpy(split.indices[clean]))
            right[clean] &= model(found).argmax(1) == labels[clean]
        assert flags[f"correct/through-{branch}-branch"].tolist() == right.tolist()
        worst &= right
    assert flags["correct/worst-case"].tolist() == worst.tolist()
    metrics = json.loads((tmp_path / "out/metrics.json").read_text())
    assert metrics["accuracy"]["through-clean-branch"]["correct"] > 0


@pytest.mark.parametrize("name", ["clean", "worst-case", "through-clean-branch"])
def test_an_attack_may_not_be_called_like_a_result(make_suite: MakeSuite, tmp_path: Path, name: str) -> None:
    suite = make_suite(attacks={name: {"name": "fgsm"}})
    with pytest.raises(UserError, match="the name is that of a result"):
        run(tmp_path, tmp_path, suite, tmp_path / "out")


def test_a_model_without_mixture_has_no_branches(
    dataset: Path, make_checkpoint: MakeCheckpoint, make_suite: MakeSuite, tmp_path: Path
) -> None:
    metrics = run(dataset, make_checkpoint(), make_suite(max_images=8), tmp_path / "out").as_json()
    assert metrics["branches"] == {}
    assert not any(name.startswith("through-") for name in metrics["accuracy"])


def test_examples_show_evenly_spaced_images_under_the_strongest_attack(
    evaluated: tuple[Path, dict[str, Any]], dataset: Path, mixture_checkpoint: Path, make_suite: MakeSuite
) -> None:
    suite, (out, metrics) = make_suite(**CURVES), evaluated
    examples = np.load(out / "examples.npz", allow_pickle=False)
    split, rows = read_split(dataset, "test"), np.arange(8) * 60 // 8
    assert examples["images"].dtype == np.float32
    assert np.array_equal(examples["images"], np.float32(split.images[rows]) / 255)
    assert np.array_equal(examples["labels"], split.labels[rows])
    change = np.abs(examples["adversarial"] - examples["images"])
    assert examples["adversarial"].shape == (8, 8, 8, 1)
    assert 0 < change.max() <= float(suite.threat.eps) + 1e-6
    (attack,) = examples["attack"].tolist()
    assert attack == min(suite.attacks, key=lambda name: metrics["accuracy"][name]["correct"])
    model = models.load_model(mixture_checkpoint)
    shown = torch.from_numpy(examples["adversarial"]).permute(0, 3, 1, 2)
    assert model(shown).argmax(1).tolist() == examples["adversarial_predictions"].tolist()


def test_the_record_says_how_the_numbers_were_made(
    dataset: Path, mixture_checkpoint: Path, make_suite: MakeSuite, tmp_path: Path
) -> None:
    suite = make_suite(max_images=4)
    run(dataset, mixture_checkpoint, suite, tmp_path / "out")
    text = (tmp_path / "out/record.json").read_text()
    made = json.loads(text)
    assert made["stage"] == "evaluate-adversarial"
    assert made["config"] == suite.as_json()
    assert sorted(made["inputs"]) == ["best.json", "best.safetensors", "dataset"]
    assert made["seeds"] == {"suite": 0}
    assert sorted(made["libraries"]) == ["numpy", "timm", "torch"]
    assert made["split"] == "test"
    comparable = made["protocol"]
    assert (comparable["dtype"], comparable["tf32"], comparable["autocast"]) == ("float32", False, False)
    assert comparable["device"] in ("cpu", "cuda")
    assert str(tmp_path) not in text


def test_two_runs_write_the_same_bytes(
    dataset: Path, mixture_checkpoint: Path, make_suite: MakeSuite, tmp_path: Path
) -> None:
    suite = make_suite(max_images=20, **CURVES)
    for name in ("one", "two"):
        run(dataset, mixture_checkpoint, suite, tmp_path / name)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


@pytest.fixture(scope="module")
def undisturbed(
    dataset: Path, mixture_checkpoint: Path, make_suite: MakeSuite, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, bytes]:
    """What an evaluation of 12 images with two curves writes."""
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    run(dataset, mixture_checkpoint, make_suite(max_images=12, **CURVES), out)
    return contents(out)


@pytest.mark.parametrize("finished", [0, 6, 11])
def test_a_killed_run_repeats_no_finished_condition_and_ends_with_the_same_bytes(
    dataset: Path,
    mixture_checkpoint: Path,
    make_suite: MakeSuite,
    undisturbed: dict[str, bytes],
    tmp_path: Path,
    started: Any,
    finished: int,
) -> None:
    suite = make_suite(max_images=12, **CURVES)
    # Two attacks, two steps, the unbounded point; both attacks on and through each branch.
    total = 5 + 2 * 2 * 2
    started.limit = finished
    with pytest.raises(KeyboardInterrupt):
        run(dataset, mixture_checkpoint, suite, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    started.clear()
    started.limit = 100
    run(dataset, mixture_checkpoint, suite, tmp_path / "out")
    assert len(started) == total - finished
    assert contents(tmp_path / "out") == undisturbed


def test_measurements_of_another_suite_are_not_reused(
    dataset: Path,
    mixture_checkpoint: Path,
    make_suite: MakeSuite,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("nofrost.evaluate.stage._AdversarialEvaluation._examples", stop)
        with pytest.raises(KeyboardInterrupt):
            run(dataset, mixture_checkpoint, make_suite(max_images=12), tmp_path / "out")
    assert list((tmp_path / ".out.nofrost-partial/unfinished/conditions").iterdir())
    run(dataset, mixture_checkpoint, make_suite(max_images=10), tmp_path / "out")
    assert len(np.load(tmp_path / "out/flags.npz")["labels"]) == 10


def test_an_unknown_attack_is_refused_before_any_input_is_read(make_suite: MakeSuite, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"suite: attacks\.x\.name: unknown attack 'pdg'"):
        run(tmp_path / "no", tmp_path / "no", make_suite(attacks={"x": {"name": "pdg"}}), tmp_path / "out")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_classes": 7}, "classes 7 against 10"),
        ({"channels": 3}, "channels 3 against 1"),
        ({"image_size": 16}, r"image size \(16, 16\) against \(8, 8\)"),
        ({"classes": tuple("abcdefghij")}, "names other classes"),
    ],
)
def test_a_model_made_for_another_dataset_is_refused(
    dataset: Path,
    make_checkpoint: MakeCheckpoint,
    make_suite: MakeSuite,
    tmp_path: Path,
    arguments: dict[str, object],
    message: str,
) -> None:
    with pytest.raises(UserError, match=message):
        run(dataset, make_checkpoint(**arguments), make_suite(), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_dataset_whose_test_split_was_changed_is_refused(
    dataset: Path, mixture_checkpoint: Path, make_suite: MakeSuite, tmp_path: Path
) -> None:
    copy = tmp_path / "dataset"
    for file in (path for path in dataset.rglob("*") if path.is_file()):
        target = copy / file.relative_to(dataset)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.read_bytes())
    labels = np.load(copy / "test/labels.npy")
    np.save(copy / "test/labels.npy", labels[::-1].copy())
    with pytest.raises(UserError, match="does not match its checksum"):
        run(copy, mixture_checkpoint, make_suite(), tmp_path / "out")


def test_a_missing_checkpoint_is_refused(dataset: Path, make_suite: MakeSuite, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is missing"):
        run(dataset, tmp_path / "nothing", make_suite(), tmp_path / "out")


def test_a_checkpoint_file_can_be_named_instead_of_its_folder(
    dataset: Path, mixture_checkpoint: Path, make_suite: MakeSuite, tmp_path: Path
) -> None:
    suite = make_suite(max_images=4)
    folder = run(dataset, mixture_checkpoint, suite, tmp_path / "a").as_json()
    file = run(dataset, mixture_checkpoint / "best.safetensors", suite, tmp_path / "b").as_json()
    assert folder == file
