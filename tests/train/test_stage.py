"""The train stage: what it writes, what it refuses, and that no kill changes its result."""

from __future__ import annotations

import csv
import hashlib
import json
import math
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

import nofrost
from nofrost import models, prepare, train
from nofrost.config import DatasetSpec, Recipe, load_recipe, recipe_of
from nofrost.data import manifest
from nofrost.errors import UserError
from nofrost.files import read_checked_json, read_json, write_checked_json
from nofrost.models.checkpoint import read_signature
from nofrost.results import TrainMetrics, read_result
from nofrost.train.saving import discard_damaged
from tests.child_process import running

SMALL = ("schedule.epochs=3", "schedule.batch_size=32", "attack.steps=2", "selection.attack.steps=2")


def tiny(name: str, *overrides: str) -> Recipe:
    return recipe_of("digits", name, (*SMALL, *overrides))


def fingerprints(out: Path) -> dict[str, str]:
    names = ("best.safetensors", "last.safetensors", "curves.json", "metrics.json", "record.json")
    return {name: hashlib.sha256((out / name).read_bytes()).hexdigest() for name in names}


@pytest.mark.parametrize("name", ["st", "sat", "mbnat", "nofrost"])
def test_every_recipe_of_the_study_trains_and_writes_all_files(
    name: str, digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed: list[Path] = []
    monkeypatch.setattr(manifest, "read_json", lambda path: parsed.append(path) or read_json(path))
    recipe = tiny(name, "schedule.epochs=1", "schedule.lr_warmup_epochs=0", "schedule.threat_warmup_epochs=0")
    metrics = train.run(digits, None, recipe, name, 0, tmp_path / "out")
    written = {path.name for path in (tmp_path / "out").iterdir()}
    checkpoints = {f"{which}.{suffix}" for which in ("best", "last") for suffix in ("safetensors", "json")}
    assert written == checkpoints | {"metrics.json", "timing.json", "curves.json", "curves.csv", "record.json"}
    assert not (tmp_path / ".out.nofrost-partial").exists()
    assert read_result(TrainMetrics, tmp_path / "out" / "metrics.json") == metrics
    assert (metrics.selection.attacked is None) == (name == "st")
    model = nofrost.load_model(tmp_path / "out")
    assert model.signature.classes == tuple("0123456789")
    record = json.loads((tmp_path / "out" / "record.json").read_text())
    assert record["config"] == recipe.as_json()
    assert "torch" in record["libraries"]
    assert parsed == [digits / "manifest.json"], "once, as that of a large dataset takes long"


def test_without_a_selection_split_the_last_epoch_is_kept(tmp_path: Path) -> None:
    prepare.run(DatasetSpec(limit=200, selection_share=0), tmp_path / "digits")
    recipe = tiny("sat", "schedule.epochs=2")
    metrics = train.run(tmp_path / "digits", None, recipe, "sat", 0, tmp_path / "out")
    assert (metrics.best_epoch, metrics.training_images) == (2, 160)
    assert (metrics.selection.clean, metrics.selection.attacked) == (None, None)
    curves = json.loads((tmp_path / "out" / "curves.json").read_text())
    assert [(row["selection_clean"], row["selection_attacked"]) for row in curves] == [(None, None)] * 2
    best, last = (load_file(tmp_path / "out" / f"{name}.safetensors") for name in ("best", "last"))
    assert all(torch.equal(best[name], last[name]) for name in last)


def test_a_guard_needs_a_selection_split(tmp_path: Path) -> None:
    prepare.run(DatasetSpec(limit=60, selection_share=0), tmp_path / "digits")
    with pytest.raises(
        UserError, match=r"selection\.guard watches .* and the dataset has none \(its selection_share is 0"
    ):
        train.run(tmp_path / "digits", None, tiny("sat", "selection.guard=0.2"), "sat", 0, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not(digits: Path, tmp_path: Path) -> None:
    recipe = tiny("sat", "schedule.epochs=1", "model.dropout=0.2", "model.drop_path=0.1")
    for out, seed in (("first", 0), ("second", 0), ("third", 1)):
        train.run(digits, None, recipe, "sat", seed, tmp_path / out)
    first, second, third = (fingerprints(tmp_path / out) for out in ("first", "second", "third"))
    assert first == second
    assert first["last.safetensors"] != third["last.safetensors"]


# Torch is imported once; each start is a fork of a process in which torch has not yet computed anything.
KILLED = """
import json, os, signal, sys
from pathlib import Path
import torch._dynamo  # which every first optimiser of a process loads, for seconds
from nofrost import train
from nofrost.config import load_recipe
import nofrost.stage as contract
from nofrost.train import saving, stage, trainer
moments, recipe, digits, out = sys.argv[1:]

def kill_on_call(module, name, call, after):
    original, calls = getattr(module, name), []
    def replaced(*arguments, **named):
        calls.append(1)
        if len(calls) == call and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        result = original(*arguments, **named)
        if len(calls) == call and after:
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    setattr(module, name, replaced)

def start(moment):
    if moment == "in the first epoch":
        kill_on_call(trainer.Trainer, "train_step", 4, after=True)
    elif moment.startswith("between two saves"):
        trainer.save_interval_s = lambda: 0.0
        kill_on_call(trainer.Trainer, "train_step", 5, after=False)
    elif moment == "between two phases":
        kill_on_call(trainer.Trainer, "start_phase", 2, after=True)
    elif moment == "in the first step of the second phase":
        kill_on_call(trainer.Trainer, "train_step", 1, after=True)
    elif moment == "while the state is written":
        kill_on_call(saving, "write_checked_json", 1, after=False)
    elif moment == "after the best checkpoint, before the state":
        kill_on_call(trainer, "save_best", 1, after=True)
    elif moment == "after the last epoch":
        kill_on_call(stage, "save_checkpoint", 1, after=False)
    elif moment == "while results are written":
        kill_on_call(stage, "write_text", 1, after=True)
    elif moment == "before the folder appears":
        kill_on_call(contract, "replace_folder", 1, after=False)
        kill_on_call(trainer.Trainer, "train_step", 1, after=False)  # what is finished is not done again
    train.run(Path(digits), None, load_recipe(recipe), "sat", 0, Path(out))

for moment in json.loads(moments):
    child = os.fork()
    if child == 0:
        start(moment)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    print(json.dumps([moment, os.waitstatus_to_exitcode(status), Path(out).exists()]))
"""
MOMENTS = (
    "in the first epoch",
    "between two saves inside an epoch",
    "while the state is written",
    "after the best checkpoint, before the state",
    "between two phases",
    "in the first step of the second phase",
    "between two saves inside the second phase",
    "after the last epoch",
    "while results are written",
    "before the folder appears",
)


PHASES = {
    "natural": {"objective": {"name": "st"}, "schedule": {"epochs": 1, "lr_warmup_epochs": 0}},
    "robust": {
        "objective": {"name": "free", "replays": 2},  # whose perturbation outlives a batch
        "attack": {"name": "pgd", "steps": 1, "step_size": None},
        "optimiser": {"averaging": {"decay": 0.9}},
        "schedule": {"epochs": 2, "lr_warmup_epochs": 0},
        "trainable": "bn",
        "reset": "all",
    },
}


@pytest.mark.slow
def test_kills_at_any_moment_change_no_bit_of_the_result(digits: Path, tmp_path: Path) -> None:
    recipe = tiny("sat", "model.dropout=0.2", "views.crop_padding=1", f"phases={json.dumps(PHASES)}")
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe.as_json(), sort_keys=False))
    train.run(digits, None, recipe, "sat", 0, tmp_path / "undisturbed")
    moments = json.dumps([*MOMENTS, "never"])
    command = [sys.executable, "-c", KILLED, moments, str(tmp_path / "recipe.yaml"), str(digits), str(tmp_path / "out")]
    output = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    ends = [json.loads(line) for line in output.splitlines()]
    assert ends == [*([moment, -signal.SIGKILL, False] for moment in MOMENTS), ["never", 0, True]]
    assert fingerprints(tmp_path / "out") == fingerprints(tmp_path / "undisturbed")


def test_sigterm_saves_and_exits_143_and_the_next_start_resumes(digits: Path, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(tiny("sat", "schedule.epochs=40").as_json()))
    command = [sys.executable, "-m", "nofrost", "train", "--recipe", str(tmp_path / "recipe.yaml")]
    command += ["--dataset", str(digits), "--out", str(tmp_path / "out")]
    with running(command, stderr=subprocess.PIPE, text=True) as process:
        state = tmp_path / ".out.nofrost-partial/unfinished/state.json"
        deadline = time.monotonic() + 120
        while not state.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        process.terminate()
        _, output = process.communicate(timeout=60)
    assert process.returncode == 143
    assert "the same command continues from there" in output
    assert json.loads(state.read_text())["content"]["state"]["epoch"] < 40
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def saved(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training that failed in its last write, with its saved state, beside one that did not."""
    folder = tmp_path_factory.mktemp("saved")
    recipe = tiny("st", "schedule.epochs=2")
    train.run(digits, None, recipe, "st", 0, folder / "whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nofrost.train.stage.write_result", _interrupt)
        with pytest.raises(KeyboardInterrupt):
            train.run(digits, None, recipe, "st", 0, folder / "out")
    return folder


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.slow
@pytest.mark.parametrize("pattern", ["state.json", "state-*.safetensors", "best-*.safetensors", "best-*.json"])
@pytest.mark.parametrize(
    "damage", [Path.unlink, flip, lambda path: path.write_bytes(b""), lambda path: path.write_bytes(b'{"a": [1')]
)
def test_a_training_whose_saved_state_is_damaged_begins_anew_and_says_so(
    saved: Path, digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], pattern: str, damage: Any
) -> None:
    shutil.copytree(saved, tmp_path / "copy")
    (file,) = (tmp_path / "copy/.out.nofrost-partial/unfinished").glob(pattern)
    damage(file)
    capsys.readouterr()
    train.run(digits, None, tiny("st", "schedule.epochs=2"), "st", 0, tmp_path / "copy/out")
    said = capsys.readouterr().err
    if file.name != "state.json" or damage is not Path.unlink:
        assert "nofrost: what was saved of this training cannot be used" in said
        assert str(file) in said
    assert fingerprints(tmp_path / "copy/out") == fingerprints(saved / "whole")
    assert {path.name for path in (tmp_path / "copy/out").iterdir()} == {
        path.name for path in (saved / "whole").iterdir()
    }
    assert {path.name for path in (tmp_path / "copy").iterdir()} == {"whole", "out"}


def test_a_saved_state_of_another_version_is_discarded(
    saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(saved / ".out.nofrost-partial/unfinished", tmp_path / "copy")
    pointer = tmp_path / "copy" / "state.json"
    content = read_checked_json(pointer)
    content["state"]["curves"] = [{"of": "another version"}]
    write_checked_json(pointer, content)
    discard_damaged(tmp_path / "copy")
    assert "state.json was saved by another version): it begins from scratch" in capsys.readouterr().err
    assert not pointer.exists()


def test_an_intact_saved_state_is_finished_without_a_step(
    saved: Path, digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(saved, tmp_path / "copy")
    monkeypatch.setattr("nofrost.train.trainer.Trainer.train_step", _interrupt)
    train.run(digits, None, tiny("st", "schedule.epochs=2"), "st", 0, tmp_path / "copy/out")
    assert fingerprints(tmp_path / "copy/out") == fingerprints(saved / "whole")


def test_a_partial_run_of_another_recipe_is_not_continued(
    digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tiny("st", "schedule.epochs=1")
    unfinished = tmp_path / ".out.nofrost-partial/unfinished"
    unfinished.mkdir(parents=True)
    (unfinished / "fingerprint.json").write_text('{"recipe": "another"}')
    (unfinished / "state.json").write_text("{}")
    assert train.run(digits, None, recipe, "st", 0, tmp_path / "out").epochs == 1
    assert "belongs to another configuration" in capsys.readouterr().err


def test_a_published_network_keeps_its_weights_and_the_statistics_of_its_own_images(
    digits: Path, tmp_path: Path
) -> None:
    weights = tmp_path / "published.safetensors"
    published = models.create_model(
        "resnet8", normaliser="bn", num_classes=10, image_size=16, channels=1, mean=(0.3,), std=(0.2,)
    )
    models.save_checkpoint(weights, published, {})
    keys = ("model.arch=resnet8", "views.image_size=null", "model.input_statistics=weights")
    recipe = load_recipe("galloway2019-published-bn", [*keys, f"model.weights={weights}"])
    train.run(digits, None, recipe, "published", 0, tmp_path / "out")
    before, after = (load_file(path) for path in (weights, tmp_path / "out/best.safetensors"))
    assert before.keys() == after.keys()
    assert [name for name in before if not torch.equal(before[name], after[name])] == []
    assert read_signature(tmp_path / "out/best.safetensors").mean == (0.3,)
    without = load_recipe("galloway2019-published-bn", keys)
    with pytest.raises(UserError, match="which is not set: name them"):
        train.run(digits, None, without, "published", 0, tmp_path / "other")


@pytest.mark.parametrize(
    ("name", "overrides", "words"),
    [
        ("st", ["model.arch=resnet9"], "unknown arch 'resnet9'"),
        ("st", ["objective.name=stt"], "unknown objective 'stt'"),
        ("sat", ["attack.name=pdg"], "unknown attack 'pdg'"),
        ("sat", ["attack.name=fgsm", "attack.steps=2"], "unknown key 'attack.steps'"),
        ("sat", ["objective.name=mbnat"], "set model.normaliser to mbn"),
        ("mbnat", ["objective.name=sat"], "cannot train mixture batch norm"),
        ("sat", ["views.augmentation_sets=[tda]"], "with --augmentation"),
        ("sat", ["objective.name=multi-view"], "views.augmentation_sets has none"),
        ("sat", ["model.weights=nowhere.safetensors"], "nowhere.safetensors is missing"),
        ("sat", ["model.arch=mlp-1-8", "views.image_size=8"], "does not take images of 8 x 8 pixels"),
        ("st", ["selection.guard=0.2"], "selection.guard watches attacked accuracy"),
        ("st", ["schedule.batch_size=1000"], "schedule.batch_size 1000 is larger"),
        ("st", ["optimiser.lr=10000000", "schedule.lr_warmup_epochs=0"], "lower optimiser.lr"),
        ("sat", ["optimiser.lr=10000000", "schedule.lr_warmup_epochs=0"], "lower optimiser.lr"),  # met by the attack
    ],
)
def test_what_cannot_be_trained_is_refused_in_one_sentence(
    name: str, overrides: list[str], words: str, digits: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError) as error:
        train.run(digits, None, tiny(name, *overrides), name, 0, tmp_path / "out")
    assert words in str(error.value)
    assert not (tmp_path / "out").exists()


def test_a_training_that_fails_keeps_the_earlier_result(digits: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    train.run(digits, None, tiny("st", "schedule.epochs=1"), "st", 0, out)
    before = fingerprints(out)
    with pytest.raises(UserError):
        train.run(digits, None, tiny("st", "optimiser.lr=10000000", "schedule.lr_warmup_epochs=0"), "st", 0, out)
    assert fingerprints(out) == before


def test_two_epochs_of_augmix_with_randaugment_and_erasing(digits: Path, tmp_path: Path) -> None:
    views = ("views.augmix={depth: 1}", "views.randaugment={magnitude: 3}", "views.random_erasing={area: [0.02, 0.1]}")
    recipe = tiny("st", "objective={name: augmix, consistency_weight: 1}", *views, "schedule.epochs=2")
    train.run(digits, None, recipe, "augmix", 0, tmp_path / "out")
    curves = json.loads((tmp_path / "out" / "curves.json").read_text())
    assert [math.isfinite(row["loss"]) for row in curves] == [True, True]
    assert all(0 < curves[-1][f"train_{view}"] <= 1 for view in ("clean", "augmix", "augmix-2"))
    record = json.loads((tmp_path / "out" / "record.json").read_text())
    assert set(record["steps"]["train"]["images"]) == {"clean", "augmix", "augmix-2"}
    assert record["config"]["views"]["augmix"]["depth"] == 1
    assert {"torchvision", "pillow"} <= set(record["libraries"]), "whose operations these are"


def test_nofrost_star_trains_on_the_augmentation_sets(digits: Path, tmp_path: Path) -> None:
    from nofrost import augment
    from nofrost.config import AugmentationSpec

    recipe = tiny("sat", "objective.name=multi-view", "views.augmentation_sets=[tda]", "schedule.epochs=1")
    with pytest.raises(UserError, match="--augmentation"):
        train.run(digits, None, recipe, "nofrost-star", 0, tmp_path / "out")
    spec = {"methods": ["tda", "corruptions"], "corruptions": {"names": ["contrast", "brightness"]}}
    augment.run(digits, AugmentationSpec.model_validate(spec), tmp_path / "augmentation")
    train.run(digits, tmp_path / "augmentation", recipe, "nofrost-star", 0, tmp_path / "out")
    curves = json.loads((tmp_path / "out" / "curves.json").read_text())
    assert curves[0]["train_augmented"] is not None
    assert "corruptions" not in json.loads((tmp_path / "out" / "record.json").read_text())
    both = tiny(
        "sat",
        "objective={name: multi-view, views: [tda, clean, corruptions]}",
        "views.augmentation_sets=[tda, corruptions]",
        "schedule.epochs=1",
    )
    train.run(digits, tmp_path / "augmentation", both, "nofrost-star", 0, tmp_path / "views")
    assert json.loads((tmp_path / "views" / "record.json").read_text())["corruptions"] == ["brightness", "contrast"]
    (row,) = csv.DictReader((tmp_path / "views" / "curves.csv").read_text().splitlines())
    assert 0 <= float(row["train_tda"]) <= 1
    assert row["train_augmented"] == ""
    flip(tmp_path / "augmentation/tda/images.npy")
    with pytest.raises(UserError, match=r"tda/images.npy is damaged .*: augment again"):
        train.run(digits, tmp_path / "augmentation", recipe, "nofrost-star", 0, tmp_path / "again")
    flip(tmp_path / "augmentation/tda/images.npy")
    other = tmp_path / "other"
    shutil.copytree(digits, other)
    manifest = json.loads((other / "manifest.json").read_text())
    (other / "manifest.json").write_text(json.dumps({**manifest, "name": "another"}))
    with pytest.raises(UserError, match="made from another dataset"):
        train.run(other, tmp_path / "augmentation", recipe, "nofrost-star", 0, tmp_path / "again")
