"""`nofrost models statistics` prints what the layers of a checkpoint hold."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

from nofrost import models
from nofrost.cli import cli
from nofrost.errors import UserError
from nofrost.models.checkpoint import save_checkpoint


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["models", "statistics", *map(str, arguments)])


def checkpoint(folder: Path, normaliser: str) -> Path:
    torch.manual_seed(0)
    model = models.create_model("resnet8", normaliser=normaliser, num_classes=10, image_size=8, channels=1)
    save_checkpoint(folder / "best.safetensors", model, {})
    return folder


def test_text_and_json_name_every_layer_and_both_branches(tmp_path: Path) -> None:
    path = checkpoint(tmp_path, "mbn")
    text, metrics = run(path).output, json.loads(run(path, "--json").output)
    assert len(metrics["weight_norms"]["layers"]) == 10
    assert [layer["domain"] for layer in metrics["batch_norm"]] == ["clean", "adversarial"] * 9
    for layer in metrics["weight_norms"]["layers"]:
        assert f"{layer['layer']} " in text
        assert f"{layer['spectral']:.4g}" in text
    assert text.count(" adversarial ") == 9


def test_a_model_without_batch_norm_says_so(tmp_path: Path) -> None:
    path = checkpoint(tmp_path, "gn")
    assert "no batch norm" in run(path).output
    assert json.loads(run(path, "--json").output)["batch_norm"] == []


def test_the_file_holds_every_value(tmp_path: Path) -> None:
    path, out = checkpoint(tmp_path, "bn"), tmp_path / "deep" / "statistics.npz"
    assert run(path, "--out", out).exit_code == 0
    model = models.load_model(path)
    with np.load(out, allow_pickle=False) as arrays:
        np.testing.assert_array_equal(
            arrays["batch_norm/all/network.bn1/weight"], model.network.bn1.weight.detach().numpy()
        )
        assert arrays["weight_norms/layers"][0] == "network.conv1"
        assert len([name for name in arrays.files if name.startswith("batch_norm/")]) == 9 * 4


@pytest.mark.parametrize(
    ("out", "said"),
    [("values.csv", "does not end in .npz"), ("/proc/nofrost/values.npz", "cannot write /proc/nofrost")],
)
def test_a_file_that_cannot_be_written_gets_one_sentence(tmp_path: Path, out: str, said: str) -> None:
    found = run(checkpoint(tmp_path, "bn"), "--out", out)
    assert isinstance(found.exception, UserError)
    assert said in str(found.exception)
