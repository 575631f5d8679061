"""`nofrost models` lists architectures, and prints what they and the layers of a checkpoint hold."""

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


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["models", *map(str, arguments)])


def run(*arguments: object) -> Result:
    return invoke("statistics", *arguments)


def checkpoint(folder: Path, normaliser: str) -> Path:
    torch.manual_seed(0)
    model = models.create_model("resnet8", normaliser=normaliser, num_classes=10, image_size=8, channels=1)
    save_checkpoint(folder / "best.safetensors", model, {})
    return folder


def test_text_and_json_name_every_layer_and_both_branches(tmp_path: Path) -> None:
    path = checkpoint(tmp_path, "mbn")
    text, metrics = run(path).output, json.loads(run(path, "--json").output)
    assert len(metrics["weight_norms"]["layers"]) == 10
    assert [layer["branch"] for layer in metrics["batch_norm"]] == ["clean", "adversarial"] * 9
    for layer in metrics["weight_norms"]["layers"]:
        assert f"{layer['layer']} " in text
        assert f"{layer['spectral']:.4g}" in text
    assert text.count(" adversarial ") == 9


def test_a_model_without_batch_norm_says_so(tmp_path: Path) -> None:
    path = checkpoint(tmp_path, "gn")
    assert "no batch norm" in run(path).output
    assert json.loads(run(path, "--json").output)["batch_norm"] == []


def test_the_file_contains_every_value(tmp_path: Path) -> None:
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


def test_the_list_groups_our_architectures_by_family() -> None:
    text, known = invoke("list").output, json.loads(invoke("list", "--json").output)
    assert known["CIFAR ResNet"]["names"][0] == "cifar-resnet18"
    assert known["Small ResNet"]["normalisers"] == ["bn", "mbn", "gn", "in", "ln", "none", "nf", "fixup"]
    assert known["Linear"]["without"] == ["dropout", "drop_path"]
    assert known["Normaliser-free"]["normalisers"] == ["nf"]
    for title, family in known.items():
        assert f"{title}\n" in text
        assert ", ".join(family["names"]) in text


def test_a_pattern_lists_the_names_that_match() -> None:
    assert invoke("list", "cifar-resnet1*").output.split() == ["cifar-resnet18", "cifar-resnet101", "cifar-resnet152"]
    assert set(json.loads(invoke("list", "nf_resnet*", "--json").output)) >= {"nf_resnet26", "nf_resnet50"}


def test_an_architecture_is_shown_with_its_parameters_and_layers() -> None:
    about = json.loads(invoke("show", "cifar-resnet18", "--json").output)
    assert (about["parameters"], about["of_normalisers"], about["of_the_rest"]) == (11_173_962, 9_600, 11_164_362)
    assert about["layers"][1] == {
        "name": "bn1",
        "kind": "BatchNorm2d",
        "normalises": True,
        "shapes": {"weight": [64], "bias": [64]},
        "parameters": 128,
    }
    text = invoke("show", "cifar-resnet18").output
    assert "of_normalisers: 9,600\n" in text
    assert "layer4.1.conv2       Conv2d       512 x 512 x 3 x 3  2,359,296\n" in text


@pytest.mark.parametrize(
    ("options", "parameters"),
    [
        (["resnet8", "--normaliser", "none"], 77_370),
        (["linear", "--channels", "1", "--image-size", "28", "--classes", "2"], 2 * 784 + 785 * 2),
        (["nf_resnet26"], 15_995_176 - 990 * 2049),  # 10 classes in place of 1000
    ],
)
def test_options_change_the_architecture_that_is_shown(options: list[str], parameters: int) -> None:
    assert json.loads(invoke("show", *options, "--json").output)["parameters"] == parameters


def test_a_checkpoint_is_shown_with_its_signature_and_layers(tmp_path: Path) -> None:
    about = json.loads(invoke("show", checkpoint(tmp_path, "gn"), "--json").output)
    assert (about["arch"], about["normaliser"], about["image_size"]) == ("resnet8", "gn", [8, 8])
    assert sum(layer["parameters"] for layer in about["layers"]) == about["parameters"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["no-such-net"], "unknown arch 'no-such-net'"),
        (["runs/nowhere"], "runs/nowhere is missing"),
        (["resnet50", "--normaliser", "fixup"], "no Fixup form"),
        (["resnet8", "--normaliser", "batch"], "normaliser: input should be 'bn', 'mbn'"),
        (
            ["best.safetensors", "--classes", "3"],
            "is a checkpoint, whose settings are fixed: leave out num_classes",
        ),
    ],
)
def test_a_wrong_model_gets_one_sentence(arguments: list[str], said: str) -> None:
    found = invoke("show", *arguments)
    assert isinstance(found.exception, UserError)
    assert said in str(found.exception)


def signal(*arguments: str) -> Result:
    return invoke("signal", "--image-size", "16", *arguments)


def test_text_and_json_name_every_block_and_its_expected_variance() -> None:
    arguments = ("--arch", "resnet8", "--normaliser", "nf", "--channels", "1", "--seed", "3")
    text, blocks = signal(*arguments).output.splitlines(), json.loads(signal(*arguments, "--json").output)
    assert [block["name"] for block in blocks] == ["stages.0", "stages.1", "stages.2"]
    assert [block["expected_variance"] for block in blocks] == [2.0, 2.0, 2.0]
    for line, block in zip(text[1:], blocks, strict=True):
        expected = f"{block['squared_mean']:.4g}", f"{block['variance']:.4g}", "2"
        assert tuple(line.split()) == (block["name"], *expected)


def test_without_an_expected_variance_the_column_is_empty() -> None:
    assert [len(line.split()) for line in signal("--arch", "resnet8").output.splitlines()[1:]] == [3, 3, 3]


@pytest.mark.parametrize(
    ("arguments", "word"),
    [(("--arch", "resnet9"), "resnet9"), (("--arch", "resnet8", "--normaliser", "in", "--image-size", "4"), "1 x 1")],
)
def test_an_impossible_network_gets_one_sentence(arguments: tuple[str, ...], word: str) -> None:
    with pytest.raises(UserError, match=word):
        CliRunner().invoke(cli, ["models", "signal", *arguments], catch_exceptions=False)


def test_a_published_classifier_becomes_a_checkpoint(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = models.create_model("bagnet9-w8", normaliser="bn", num_classes=3, image_size=32).network
    published = {name.replace(".shortcut.", ".downsample."): each for name, each in network.state_dict().items()}
    torch.save(published, tmp_path / "published.pth")
    out = tmp_path / "bagnet.safetensors"
    options = ("--arch", "bagnet9-w8", "--image-size", 32, "--out", out)
    assert "bagnet9-w8 for 3 channels" in invoke("convert", tmp_path / "published.pth", *options).output
    assert models.load_model(out).signature.num_classes == 3
    without_arch = invoke("convert", tmp_path / "published.pth", "--image-size", 32, "--out", out)
    assert "--image-size is of a classifier" in str(without_arch.exception)
