"""The plan of a study: what each stage depends on, and nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from nofrost import tasks
from nofrost.config import load_study, study_as_yaml
from nofrost.errors import UserError
from nofrost.promotion import read_candidate
from nofrost.store import open_store
from nofrost.tasks.ascii_text import from_ascii


def test_each_stage_gets_only_its_section_of_the_study() -> None:
    study = load_study("digits")
    plan = tasks.plan("digits", 0, 1)
    assert json.loads(plan.dataset) == study.dataset.as_json()
    assert json.loads(plan.augmentation) == tasks.check_study(study).augmentation.as_json()
    assert json.loads(plan.augmentation)["deepaugment"]["epochs"] == 4
    assert json.loads(plan.adversarial) == study.suites.adversarial.as_json()
    assert json.loads(plan.ood) == study.suites.ood.as_json()
    assert plan.on_gpu is False
    assert tasks.plan("digits", 1, 1).on_gpu is True


def test_a_study_is_named_or_spelled_out() -> None:
    assert tasks.plan(study_as_yaml(load_study("digits")), 0, 1) == tasks.plan("digits", 0, 1)


def test_a_run_is_planned_for_every_recipe_and_seed() -> None:
    study = load_study("digits", ["runs.recipe=[sat, st]", "runs.seed=[0, 7]"])
    items = tasks.plan_runs(study_as_yaml(study))
    assert [(item["recipe_id"], item["seed"]) for item in items] == [
        ("sat", "0"),
        ("sat", "7"),
        ("st", "0"),
        ("st", "7"),
    ]
    assert json.loads(from_ascii(items[0]["recipe"])) == study.recipes["sat"].as_json()


def test_changing_one_recipe_changes_its_runs_only() -> None:
    before = tasks.plan_runs("digits")
    changed = load_study("digits", ["recipes.sat.optimiser.lr=0.3"])
    after = tasks.plan_runs(study_as_yaml(changed))
    assert {one["recipe_id"] for one, other in zip(before, after, strict=True) if one != other} == {"sat"}
    assert tasks.plan(study_as_yaml(changed), 0, 1) == tasks.plan("digits", 0, 1)


def test_shards_are_numbered_from_0() -> None:
    assert tasks.plan_shards(3) == ["0/3", "1/3", "2/3"]


@pytest.mark.parametrize(
    ("study", "gpus", "nodes", "message"),
    [
        ("digits", 2, 1, "use gpus 0 or 1 and nodes 1"),
        ("digits", 1, 2, "use gpus 0 or 1 and nodes 1"),
        ("digit", 0, 1, "did you mean 'digits'?"),
        ("name: x\n", 0, 1, "key recipes"),
        ("- 1\n- 2\n", 0, 1, "the study holds no keys"),
        (
            study_as_yaml(load_study("digits", ["augmentation.deepaugment.weights=a.safetensors"])),
            0,
            1,
            "augmentation.deepaugment.weights is a file of one machine",
        ),
        (
            study_as_yaml(load_study("digits", ["recipes.sat.model.weights=runs/mine"])),
            0,
            1,
            "recipes.sat.model.weights is a file of one machine",
        ),
    ],
)
def test_a_study_that_cannot_be_run_ends_the_task_with_one_sentence(
    study: str, gpus: int, nodes: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        tasks.plan(study, gpus, nodes)
    assert end.value.code == 2
    err = capsys.readouterr().err
    assert err.startswith("nofrost: ")
    assert err.count("\n") == 1
    assert message in err


def test_weights_by_ref_can_be_planned() -> None:
    ref = "0123456789abcdef" * 2 + ".dir:10:2"
    study = study_as_yaml(load_study("digits", [f"recipes.sat.model.weights={ref}"]))
    assert tasks.plan(study, 0, 1) == tasks.plan("digits", 0, 1)


def test_0_shards_are_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        tasks.plan_shards(0)
    assert "at least 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("dataset.source=cifar", ["dataset.source: input should be 'digits'", "did you mean 'cifar10'?"]),
        ("dataset.limt=60", ["unknown key 'dataset.limt'", "did you mean 'limit'?"]),
        ("augmentation.methods=[augmix]", ["augmentation.methods.0", "'deepaugment' or 'tda'", "got 'augmix'"]),
        ("augmentation.deepaugment.wide=1", ["'augmentation.deepaugment.wide'", "did you mean 'width'?"]),
        ("augmentation.tda=3", ["augmentation.tda: 3 is not a mapping", "horizontal_flip"]),
        ("recipes.sat.attack.stepz=3", ["recipes.sat.attack.stepz", "did you mean 'steps'?"]),
    ],
)
def test_owners_check_what_a_study_says_of_them(override: str, words: list[str]) -> None:
    with pytest.raises(UserError) as error:
        tasks.check_study(
            load_study("digits", [override, "recipes.sat.views.augmentation_sets=[]"]), "digits", [override]
        )
    message = str(error.value)
    assert message.startswith("digits")
    assert all(word in message for word in words)
    assert f"--set '{override}'" in message


def test_a_candidate_of_a_shipped_study_says_as_much_as_params_yaml(tmp_path: Path) -> None:
    """Otherwise the run of a study that is named, not spelled out, could not be promoted."""
    tasks.write_candidate("digits", "", [], "run-1", "image@1", str(tmp_path))
    candidate = read_candidate("run-1", open_store(str(tmp_path)))
    assert candidate.study == tasks.check_study(load_study("digits")).as_json()
    assert candidate.study["augmentation"]["deepaugment"]["width"] > 0


def test_tasks_that_compute_nothing_do_not_load_torch(tmp_path: Path) -> None:
    script = (
        "import sys\nsys.modules['torch'] = None\nfrom nofrost import tasks\n"
        "print(tasks.plan_shards(2), len(tasks.plan_runs('digits')), tasks.finish('r', 'FAILED', 'e', sys.argv[1]))"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "['0/2', '1/2'] 4 nofrost/runs/r.json" in done.stdout
