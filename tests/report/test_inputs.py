"""Missing, damaged and foreign inputs: one sentence each; optional parts may be absent."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from nofrost.config import load_study
from nofrost.data import checksum
from nofrost.errors import UserError
from nofrost.report.collect import collect, stages_of
from tests.report.dataset_on_disk import make_dataset
from tests.report.study_on_disk import Tree, make_run


@pytest.mark.parametrize(
    ("missing", "sentence"),
    [
        ("mbnat/seed-0/train", r"seed-0/train is missing: make it with `nofrost train .*--recipe mbnat --seed 0 "),
        (
            "mbnat/seed-0/evaluate-adversarial/quick",
            r"`nofrost evaluate .*--suite adversarial/quick .*--checkpoint .*/train --out",
        ),
        (
            "st/seed-0/evaluate-ood/quick",
            r"`nofrost evaluate .*--suite ood/quick .*--out .*st/seed-0/evaluate-ood/quick`",
        ),
        ("st", r"st/seed-0/train is missing"),
    ],
)
def test_a_missing_run_is_named_with_the_command_that_makes_it(tree: Any, missing: str, sentence: str) -> None:
    shutil.rmtree(tree.runs / missing)
    with pytest.raises(UserError, match=sentence):
        tree.report()
    assert not (tree.root / "report").exists()


def test_a_missing_file_is_named(tree: Any) -> None:
    (tree.runs / "st" / "seed-0" / "evaluate-adversarial" / "quick" / "flags.npz").unlink()
    with pytest.raises(UserError, match=r"evaluate-adversarial/quick/flags\.npz is missing: make it with"):
        tree.report()


@pytest.mark.parametrize("stage", ["evaluate-adversarial/quick", "evaluate-ood/quick"])
def test_a_shard_is_not_accepted_as_an_evaluation(tree: Any, stage: str) -> None:
    folder = tree.runs / "st/seed-0" / stage
    (folder / "examples.npz").unlink()
    tree.change(f"st/seed-0/{stage}/metrics.json", lambda _: {"shard": "0/3", "samples": 120})
    message = (
        rf"{stage} contains only shard 0/3 of an evaluation: merge all shards into this folder with `nofrost evaluate"
    )
    with pytest.raises(UserError, match=message):
        tree.report()
    assert not (tree.root / "report").exists()


def nested(path: str, value: Any) -> Callable[[Any], Any]:
    def change(content: Any) -> Any:
        *parents, last = path.split(".")
        below = content
        for key in parents:
            below = below[int(key) if isinstance(below, list) else key]
        below[last] = value
        return content

    return change


ATTACKED = "st/seed-0/evaluate-adversarial/quick/metrics.json"
RECORDED = "st/seed-0/evaluate-adversarial/quick/record.json"


@pytest.mark.parametrize(
    ("file", "key", "value", "sentence"),
    [
        (ATTACKED, "accuracy.clean.correct", 3, r"accuracy\.clean: accuracy 0\.98\d* is not 3 of 360"),
        (ATTACKED, "accuracy.clean.low", 0.999, r"accuracy 0\.98\d* is outside 0\.999 to"),
        (ATTACKED, "accuracy.clean.total", "many", r"metrics\.json: accuracy\.clean\.total: .*got 'many'"),
        (ATTACKED, "samples", 359, r"was measured on 360 images, not 359"),
        (RECORDED, "config.protocol", "paper", r"has protocol paper, the study quick: evaluate this run again"),
        (RECORDED, "config.threat.eps", "8/255", r"has threat.eps 8/255, the study 32/255: evaluate this run again"),
        (RECORDED, "config.threat.norm", "l2", r"has threat.norm l2, the study linf: evaluate this run again"),
        (ATTACKED, "alarms.0.status", "maybe", r"alarms\.0\.status: .*got 'maybe'"),
        ("st/seed-0/train/metrics.json", "seed", 5, r"contains recipe st with seed 5: train this run again"),
        ("st/seed-0/train/metrics.json", "recipe", "sat", r"contains recipe sat with seed 0: train this run again"),
        ("st/seed-0/evaluate-ood/quick/metrics.json", "corruptions", {}, r"corruptions and their mean do not fit"),
        (
            "st/seed-0/evaluate-ood/quick/record.json",
            "config.seed",
            9,
            r"has seed 9, the study 0: evaluate this run again",
        ),
        ("st/seed-0/evaluate-ood/quick/record.json", "config.jpeg_quality", 85, r"has jpeg_quality 85, the study none"),
        (
            "st/seed-0/evaluate-ood/quick/record.json",
            "config.baseline",
            "alexnet",
            r"has baseline alexnet, the study none",
        ),
    ],
)
def test_a_file_that_contradicts_itself_or_the_study_is_refused(
    tree: Any, file: str, key: str, value: Any, sentence: str
) -> None:
    tree.change(file, nested(key, value))
    with pytest.raises(UserError, match=sentence):
        tree.report()


def test_an_attack_of_the_study_that_was_not_run_is_named(tree: Any) -> None:
    def without_fgsm(metrics: Any) -> Any:
        del metrics["accuracy"]["fgsm"]
        return metrics

    tree.change(ATTACKED, without_fgsm)
    with pytest.raises(UserError, match=r"evaluate-adversarial/quick lacks fgsm: evaluate this run again"):
        tree.report()


@pytest.mark.parametrize(
    ("stage", "name"), [("evaluate-adversarial/quick", "correct/fgsm"), ("evaluate-ood/quick", "correct/contrast/3")]
)
def test_flags_that_do_not_add_up_to_the_accuracy_are_refused(tree: Any, stage: str, name: str) -> None:
    path = tree.runs / "st" / "seed-0" / stage / "flags.npz"
    with np.load(path) as file:
        arrays = dict(file)
    arrays[name][:] = True
    np.savez(path, **arrays)
    with pytest.raises(UserError, match=rf"{name} is not \d+ of 360 images as in metrics\.json"):
        collect(tree.dataset, tree.augmentation, tree.runs, tree.study)


@pytest.mark.parametrize("content", [b"", b"not a zip file", b"PK\x03\x04 cut off"])
@pytest.mark.parametrize("name", ["flags.npz", "examples.npz"])
def test_damaged_arrays_are_named(tree: Any, name: str, content: bytes) -> None:
    (tree.runs / "st" / "seed-0" / "evaluate-adversarial" / "quick" / name).write_bytes(content)
    with pytest.raises(UserError, match=rf"{name} is damaged"):
        tree.report()


def test_pickled_arrays_are_refused(tree: Any) -> None:
    path = tree.runs / "st" / "seed-0" / "evaluate-adversarial" / "quick" / "examples.npz"
    np.savez(path, images=np.array([{"a": 1}], dtype=object))
    with pytest.raises(UserError, match=r"examples\.npz is damaged"):
        tree.report()


def test_invalid_json_is_named(tree: Any) -> None:
    (tree.runs / "st" / "seed-0" / "train" / "curves.json").write_text("{", encoding="utf-8")
    with pytest.raises(UserError, match=r"curves\.json is not valid JSON"):
        tree.report()


def test_curves_that_are_not_a_list_are_named(tree: Any) -> None:
    tree.change("st/seed-0/train/curves.json", lambda _: {"epoch": 1})
    with pytest.raises(UserError, match=r"curves\.json is not a list"):
        tree.report()


def test_an_augmentation_set_of_another_dataset_is_refused(tree: Any) -> None:
    path = tree.augmentation / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**manifest, "dataset": "0" * 64}), encoding="utf-8")
    with pytest.raises(UserError, match=r"was made from another dataset"):
        tree.report()


def without(*keys: str) -> Callable[[Any], Any]:
    return lambda metrics: {**metrics, **dict.fromkeys(keys)}


def sections(folder: Path) -> set[str]:
    import re

    return set(re.findall(r'<section id="([^"]*)"', (folder / "report.html").read_text(encoding="utf-8")))


def test_sections_without_measurements_are_omitted(tree: Any) -> None:
    everything = sections(tree.report("everything"))
    for recipe in tree.study.runs.recipe:
        file = f"{recipe}/seed-0/evaluate-adversarial/quick/metrics.json"
        tree.change(file, without("steps_curve", "budget_curve"))
        tree.change(file, lambda metrics: {**metrics, "branches": {}, "alarms": []})
    folder = tree.report("little", augmentation=False)
    assert everything - sections(folder) == {"convergence", "budget", "branches", "augmentation", "alarms"}
    assert (folder / "plots" / "steps.csv").read_text() == "run,steps,accuracy,low,high\n"
    assert "none checked" in (folder / "report.html").read_text(encoding="utf-8")


def test_runs_attacked_on_different_images_are_not_compared(tree: Any) -> None:
    tree.run_again("mbnat", samples=300)
    text = (tree.report() / "report.md").read_text(encoding="utf-8")
    assert "A paired test needs the same test images" in text
    assert "mbnat/seed-0 (300 images" in text
    assert "★" not in text
    assert "exact McNemar" not in text


def test_a_study_of_one_recipe_has_nothing_to_compare(tree: Any) -> None:
    runs = tree.study.runs.model_copy(update={"recipe": ("st",)})
    tree.study = tree.study.model_copy(update={"runs": runs})
    text = (tree.report() / "report.md").read_text(encoding="utf-8")
    assert "The study has one recipe, so there is nothing to compare." in text


def test_an_earlier_report_stays_when_the_new_one_fails(tree: Any) -> None:
    folder = tree.report()
    before = (folder / "report.html").read_bytes()
    (tree.runs / "st" / "seed-0" / "evaluate-ood" / "quick" / "examples.npz").write_bytes(b"damaged")
    with pytest.raises(UserError):
        tree.report()
    assert (folder / "report.html").read_bytes() == before
    assert not (tree.root / ".report.nofrost-partial").exists()


def test_accuracies_that_were_not_measured_leave_gaps_in_the_curves(tree: Any) -> None:
    file = "st/seed-0/train/curves.json"
    tree.change(file, lambda curves: [{**epoch, "train_clean": None} for epoch in curves])
    with (tree.report() / "plots" / "curves.csv").open(encoding="utf-8", newline="") as rows:
        assert next(csv.DictReader(rows))["train_clean"] == ""


RESULTS = [
    f"{stage}/{name}"
    for stage, names in stages_of(load_study("digits")).items()
    for name in names
    if name.endswith(".json")
]


def test_eight_results_of_a_run_are_read() -> None:
    assert len(RESULTS) == 8


@pytest.mark.parametrize("file", RESULTS)
def test_a_renamed_key_of_a_result_is_an_error_that_names_file_and_key(tree: Any, file: str) -> None:
    path = tree.runs / "st" / "seed-0" / file
    content = json.loads(path.read_text(encoding="utf-8"))
    values = content[0] if isinstance(content, list) else content
    for key in list(values):
        renamed = {("renamed" if name == key else name): value for name, value in values.items()}
        path.write_text(json.dumps([renamed] if isinstance(content, list) else renamed), encoding="utf-8")
        with pytest.raises(UserError, match=rf"{file}: (.*unknown key 'renamed'|key {key} is missing)"):
            collect(tree.dataset, tree.augmentation, tree.runs, tree.study)


def test_a_run_without_a_curve_leaves_its_cells_empty(tree: Any) -> None:
    tree.change("mbnat/seed-0/evaluate-adversarial/quick/metrics.json", without("steps_curve", "budget_curve"))
    assert "mbnat" in (tree.report() / "report.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("file", ["train/metrics.json", "evaluate-ood/quick/metrics.json", "train/record.json"])
def test_a_number_that_nothing_can_compute_with_is_refused_by_file_and_key(tree: Any, file: str) -> None:
    tree.change(f"st/seed-0/{file}", nested("seed" if "metrics" in file else "seeds.a", 10**400))
    with pytest.raises(UserError, match=rf"{file}: seeds?(\.a)? is a number of 1329 bits, too large"):
        collect(tree.dataset, tree.augmentation, tree.runs, tree.study)


def test_names_from_outside_reach_no_browser_or_terminal_as_control_characters(tree: Any) -> None:
    file = tree.dataset / "manifest.json"
    manifest = json.loads(file.read_text(encoding="utf-8"))
    manifest["classes"][0] = "a\x1b[31m\n\u202eb"
    manifest["provenance"]["origin"] = "half of a \ud800 character"
    file.write_text(json.dumps(manifest), encoding="utf-8")
    folder = tree.report(augmentation=False)
    for name in ("report.html", "report.md"):
        text = (folder / name).read_text(encoding="utf-8")
        assert r"half of a \ud800 character" in text.replace("\\\\", "\\"), name
        assert not set("\x1b\u202e") & set(text), name


@pytest.fixture
def on_two_datasets(tmp_path: Path) -> Tree:
    """A study with a recipe on each of two datasets, whose files say so."""
    path = tmp_path / "study.yaml"
    values = {
        "base": "digits",
        "datasets": {"few": {}},
        "runs": {"recipe": ["st"], "dataset": {"few": ["sat"]}},
        "suites": {"ood": {"quick": {"base": "ood-quick", "corruptions": ["contrast"]}}},
    }
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    tree = Tree(tmp_path, load_study(path))
    make_run(tree.runs, tree.study, "sat", 0)
    few = make_dataset(tmp_path / "datasets" / "few", test_images=300)
    for recipe, dataset in (("st", tree.dataset), ("sat", few)):
        sha256 = checksum(dataset)
        tree.change(
            f"{recipe}/seed-0/train/record.json", lambda record, of=sha256: {**record, "inputs": {"dataset": of}}
        )
        for evaluation in ("evaluate-adversarial/quick", "evaluate-ood/quick"):
            tree.change(f"{recipe}/seed-0/{evaluation}/record.json", partial(_on_dataset, sha256))
    return tree


def _on_dataset(sha256: str, record: dict[str, Any]) -> dict[str, Any]:
    return {**record, "protocol": {**record["protocol"], "data_sha256": sha256}}


def test_a_run_on_another_dataset_than_the_study_says_is_refused(on_two_datasets: Tree) -> None:
    def collected() -> None:
        collect(on_two_datasets.dataset, None, on_two_datasets.runs, on_two_datasets.study)

    collected()
    other = checksum(on_two_datasets.dataset)
    for evaluation in ("evaluate-adversarial/quick", "evaluate-ood/quick"):
        path = on_two_datasets.runs / "sat" / "seed-0" / evaluation / "record.json"
        before = path.read_bytes()
        on_two_datasets.change(f"sat/seed-0/{evaluation}/record.json", partial(_on_dataset, other))
        with pytest.raises(UserError, match=f"sat/seed-0/{evaluation} is of another dataset than the study says"):
            collected()
        path.write_bytes(before)
    on_two_datasets.change("sat/seed-0/train/record.json", lambda record: {**record, "inputs": {"dataset": other}})
    with pytest.raises(UserError, match="sat/seed-0/train was trained on another dataset than the study says"):
        collected()
