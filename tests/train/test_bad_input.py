"""What cannot be trained: one sentence that says what to do, exit code 2, no traceback, and earlier results stay."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import nofrost
from nofrost.cli import main
from nofrost.config.recipe import ViewSpec
from nofrost.data import read_split
from nofrost.errors import UserError
from nofrost.models import create_model, save_checkpoint
from nofrost.processes import ProcessGroup
from nofrost.train.batches import TrainingImages

SMALL = (
    "model.arch=resnet8",
    "schedule.epochs=1",
    "schedule.batch_size=32",
    "schedule.lr_warmup_epochs=0",
    "schedule.threat_warmup_epochs=0",
    "attack.steps=1",
    "selection.attack.steps=1",
)


def arguments(recipe: str, dataset: Path, out: Path, *overrides: str) -> list[str]:
    """Return the command line that trains a small recipe with some changes."""
    changes = [part for each in (*SMALL, *overrides) for part in ("--set", each)]
    return ["train", "--study", "digits", "--recipe", recipe, *changes, "--dataset", str(dataset), "--out", str(out)]


def checksums(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """The output of an earlier training, which the next one would replace."""
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "record.json").write_text(json.dumps({"stage": "train", "nofrost": "0.1"}))
    (folder / "best.safetensors").write_bytes(b"weeks of work")
    return folder


@pytest.fixture
def refusal(
    digits: Path, out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """Return a function that runs `nofrost train`, which must fail, and returns its error."""

    def train(recipe: str, *overrides: str) -> str:
        monkeypatch.setattr(sys, "argv", ["nofrost", *arguments(recipe, digits, out, *overrides)])
        before = checksums(out)
        with pytest.raises(SystemExit) as end:
            main()
        assert end.value.code == 2
        assert checksums(out) == before
        lines = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("train ")]
        assert len(lines) == 1, lines
        return lines[0]

    return train


@pytest.mark.parametrize(
    ("recipe", "overrides", "words"),
    [
        ("st", ("objective.name=tardes",), ("unknown objective 'tardes'", "did you mean 'trades'")),
        ("st", ("objective.name=trades", "objective.tau=1"), ("unknown key 'objective.tau'", "beta")),
        ("st", ("model.arch=resnet9",), ("unknown arch 'resnet9'",)),
        ("st", ("model.normaliser=batch",), ("model.normaliser", "'bn'", "'mbn'")),
        ("sat", ("attack.name=pdg",), ("unknown attack 'pdg'", "did you mean 'pgd'")),
        ("mbnat", ("model.arch=nf_resnet26",), ("nf_resnet26", "normaliser-free", "'mbn'", "nf")),
        ("sat", ("model.normaliser=mbn",), ("mixture batch norm", "mbnat")),
        ("st", ("model.arch=resnet26", "model.normaliser=in"), ("instance norm", "1 x 1", "take larger images")),
        ("sat", ("objective.name=alp", "objective.clean_share=0"), ("ALP without clean images", "clean_share")),
        ("sat", ("objective.name=alp", "objective.adversarial_weight=1"), ("adversarial_weight 1", "between 0 and 1")),
        ("st", ("model.arch=inception_v3",), ("'inception_v3' does not take images of", "1 channels")),
        ("st", ("model.arch=convnext_atto",), ("'convnext_atto' does not take images of", "take larger images")),
        ("st", ("model.arch=densenet121",), ("'densenet121' does not take images of", "take larger images")),
        ("st", ("model.arch=dla34",), ("'dla34' does not take images of", "take larger images")),
        ("st", ("model.arch=gcvit_xxtiny",), ("arch 'gcvit_xxtiny' cannot be built with",)),
        ("st", ("model.arch=mlp-2-900000000",), ("no network has a size of 900000000",)),
        ("st", ("trainable=layer:conv9",), ("layer:conv9", "no layer of this name", "conv1")),
        ("st", ("trainable=bn", "model.normaliser=nf"), ("finds nothing", "batch norms")),
        ("st", ("trainable=everything",), ("trainable", "'everything' is none of")),
        ("st", ("phases={later: {model: {arch: resnet8}}}",), ("phases.later.model", "allowed here are")),
        ("nofrost", ("reset=statistics",), ("finds no batch norm",)),
        ("st", ("selection.guard=0.2",), ("selection.guard", "attacked accuracy")),
        ("st", ("precision=float16",), ("float16", "CUDA GPU", "set precision: ")),
        ("sat", ("objective.name=multi-view",), ("views.augmentation_sets",)),
        ("st", ("schedule.batch_size=1000",), ("schedule.batch_size 1000 is larger",)),
        ("st", ("model.weights=nowhere.safetensors",), ("nowhere.safetensors",)),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) and "=" in value[0] else None,
)
def test_what_cannot_be_trained_is_refused(
    recipe: str, overrides: tuple[str, ...], words: tuple[str, ...], refusal: Callable[..., str]
) -> None:
    sentence = refusal(recipe, *overrides)
    for each in words:
        assert each in sentence


def test_weights_of_another_shape_are_refused_with_both_shapes(refusal: Callable[..., str], tmp_path: Path) -> None:
    other = create_model("resnet8", normaliser="bn", num_classes=7, image_size=16, channels=1)
    save_checkpoint(tmp_path / "other.safetensors", other, {})
    sentence = refusal("st", f"model.weights={tmp_path / 'other.safetensors'}")
    for words in ("other.safetensors", "7", "10", "new_head"):
        assert words in sentence


def test_a_loss_that_is_not_finite_leaves_the_last_good_checkpoint(refusal: Callable[..., str], out: Path) -> None:
    later = "phases={good: {}, lost: {optimiser: {lr: 10000000}}}"
    sentence = refusal("st", later)
    assert "the loss became" in sentence
    assert "lower optimiser.lr" in sentence
    kept = out.with_name(".out.nofrost-partial") / "unfinished/best-00001.safetensors"
    assert str(kept) in sentence
    logits = nofrost.load_model(kept)(torch.zeros(2, 1, 16, 16))
    assert bool(logits.isfinite().all())


def test_processes_that_cannot_share_a_batch_are_refused(digits: Path) -> None:
    split = read_split(digits, "train", verify=False)
    with pytest.raises(UserError, match=r"batch_size 32 cannot be shared equally by 3 processes: set it to"):
        TrainingImages(split, {}, (), ViewSpec(), 32, ProcessGroup(0, 3))


LIMITED = """
import resource, sys
import torch
from nofrost import train
from nofrost.cli import main

used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (400 << 20),) * 2)
main()
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the limit on a process's memory is Linux's")
def test_out_of_memory_is_one_sentence_and_keeps_earlier_results(digits: Path, out: Path) -> None:
    before = checksums(out)
    command = arguments("st", digits, out, "schedule.batch_size=192", "views.image_size=128")
    limited = [sys.executable, "-c", LIMITED, *command]
    ended = subprocess.run(limited, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 2
    assert "Traceback" not in ended.stderr
    assert "nofrost: memory does not hold a training step on 192 images: lower schedule.batch_size" in ended.stderr
    assert checksums(out) == before
