"""Checkpoints: what is written comes back, what is damaged is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import nofrost
from nofrost.errors import UserError
from nofrost.models import Classifier, create_model, load_weights, save_checkpoint

IMAGES = torch.rand(3, 1, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def model() -> Classifier:
    torch.manual_seed(0)
    return create_model("resnet8", normaliser="mbn", num_classes=3, image_size=16, channels=1, classes=("a", "b", "c"))


@pytest.fixture
def checkpoint(model: Classifier, tmp_path: Path) -> Path:
    save_checkpoint(tmp_path / "best.safetensors", model, {"epoch": 3})
    return tmp_path / "best.safetensors"


@pytest.mark.parametrize("name", ["folder", "file"])
def test_a_saved_model_comes_back_in_evaluation_mode(model: Classifier, checkpoint: Path, name: str) -> None:
    loaded = nofrost.load_model(checkpoint.parent if name == "folder" else checkpoint)
    assert not any(module.training for module in loaded.modules())
    assert loaded.signature == model.signature
    with torch.no_grad():
        assert torch.equal(loaded(IMAGES), model.eval()(IMAGES))


def test_the_json_beside_a_checkpoint_describes_it(checkpoint: Path) -> None:
    content = json.loads(checkpoint.with_suffix(".json").read_text())
    assert content["signature"]["classes"] == ["a", "b", "c"]
    assert content["about"] == {"epoch": 3}


def cut_in_half(checkpoint: Path) -> None:
    checkpoint.write_bytes(checkpoint.read_bytes()[: checkpoint.stat().st_size // 2])


def another_architecture(checkpoint: Path) -> None:
    other = create_model("resnet14", normaliser="mbn", num_classes=3, image_size=16, channels=1)
    content = json.loads(checkpoint.with_suffix(".json").read_text())
    save_checkpoint(checkpoint, other, {})
    beside = json.loads(checkpoint.with_suffix(".json").read_text())
    checkpoint.with_suffix(".json").write_text(json.dumps({**beside, "signature": content["signature"]}))


def other_classes(checkpoint: Path) -> None:
    content = json.loads(checkpoint.with_suffix(".json").read_text())
    content["signature"] |= {"num_classes": 5, "classes": []}
    checkpoint.with_suffix(".json").write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("damage", "word"),
    [
        (cut_in_half, "damaged"),
        (another_architecture, "another architecture"),
        (other_classes, "another architecture"),
        (lambda path: path.unlink(), "missing"),
        (lambda path: path.with_suffix(".json").unlink(), "missing"),
        (lambda path: path.with_suffix(".json").write_text("{"), "not valid JSON"),
        (lambda path: path.with_suffix(".json").write_text("[]"), "not a checkpoint"),
        (lambda path: path.with_suffix(".json").write_text('{"signature": {}, "sha256": ""}'), "arch"),
    ],
)
def test_a_checkpoint_that_is_not_one_is_refused_in_one_sentence(checkpoint: Path, damage: object, word: str) -> None:
    damage(checkpoint)  # type: ignore[operator]
    with pytest.raises(UserError, match=word) as error:
        nofrost.load_model(checkpoint.parent)
    assert "\n" not in str(error.value)


def test_a_file_that_is_no_safetensors_is_refused_without_running_it(model: Classifier, tmp_path: Path) -> None:
    torch.save(model.state_dict(), tmp_path / "weights.safetensors")
    with pytest.raises(UserError, match="cannot be read as safetensors"):
        load_weights(model, tmp_path / "weights.safetensors")
