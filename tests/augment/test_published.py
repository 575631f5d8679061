"""Published weights: layouts of the authors' files, as far as their names and shapes go, with drawn numbers."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from click.testing import CliRunner
from torch import Tensor

from nofrost.augment.deepaugment.networks import load_network
from nofrost.augment.deepaugment.published import convert
from nofrost.cli import cli
from nofrost.errors import UserError

Weights = dict[str, Tensor]
MEAN = torch.tensor([0.4488, 0.4371, 0.4040]) * 255


def drawn(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape))) * 0.05


def edsr_weights(width: int = 8, blocks: int = 6) -> Weights:
    shapes: dict[str, tuple[int, ...]] = {"head.0": (width, 3, 3, 3), f"body.{blocks}": (width, width, 3, 3)}
    shapes |= {f"body.{n}.body.{m}": (width, width, 3, 3) for n in range(blocks) for m in (0, 2)}
    shapes |= {f"tail.0.{n}": (4 * width, width, 3, 3) for n in (0, 2)} | {"tail.1": (3, width, 3, 3)}
    weights = {f"{name}.weight": drawn(*shape) for name, shape in shapes.items()}
    weights |= {f"{name}.bias": drawn(shape[0]) for name, shape in shapes.items()}
    for name, sign in (("sub_mean", -1), ("add_mean", 1)):
        weights |= {f"{name}.weight": torch.eye(3).view(3, 3, 1, 1), f"{name}.bias": sign * MEAN}
    return weights


def edsr_output(weights: Weights, image: Tensor, blocks: int = 6) -> Tensor:
    """EDSR as Lim et al. 2017 draw it, on an image to 255 that is reduced already."""

    def run(name: str, values: Tensor, padding: int = 1) -> Tensor:
        return F.conv2d(values, weights[f"{name}.weight"], weights[f"{name}.bias"], padding=padding)

    features = run("head.0", run("sub_mean", image, 0))
    refined = features
    for number in range(blocks):
        refined = refined + run(f"body.{number}.body.2", F.relu(run(f"body.{number}.body.0", refined)))
    refined = features + run(f"body.{blocks}", refined)
    for number in (0, 2):
        refined = F.pixel_shuffle(run(f"tail.0.{number}", refined), 2)
    return run("add_mean", run("tail.1", refined), 0)


def cae_weights() -> Weights:
    plain = {"e_conv_1.1": (64, 3, 5, 5), "e_conv_2.1": (128, 64, 5, 5), "e_conv_3.0": (32, 128, 5, 5)}
    plain |= {f"{s}_block_{n}.{m}": (128, 128, 3, 3) for s in "ed" for n in (1, 2, 3) for m in (1, 4)}
    plain |= {"d_up_conv_1.0": (64, 32, 3, 3), "d_up_conv_2.0": (32, 128, 3, 3)}
    plain |= {"d_up_conv_3.0": (16, 256, 3, 3), "d_up_conv_3.3": (3, 16, 3, 3)}
    turned = {"d_up_conv_1.3": (64, 128, 2, 2), "d_up_conv_2.3": (32, 256, 2, 2)}
    weights = {f"{name}.weight": drawn(*shape) for name, shape in (plain | turned).items()}
    weights |= {f"{name}.bias": drawn(shape[0]) for name, shape in plain.items()}
    return weights | {f"{name}.bias": drawn(shape[1]) for name, shape in turned.items()}


def saved(content: Any, path: Path, new: bool = True) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=new)
    return path


@pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize(
    "wrap",
    [lambda w: w, lambda w: {"state_dict": w}, lambda w: {f"module.{name}": value for name, value in w.items()}],
    ids=["plain", "inside", "of several GPUs"],
)
def test_a_converted_edsr_computes_what_the_paper_draws(
    wrap: Callable[[Weights], Any], new: bool, tmp_path: Path
) -> None:
    weights = edsr_weights()
    convert(saved(wrap(weights), tmp_path / "edsr_baseline_x4.pt", new), tmp_path / "edsr.safetensors")
    network = load_network(tmp_path / "edsr.safetensors")
    image = torch.rand(1, 3, 32, 24, generator=torch.Generator().manual_seed(0))
    reduced = F.interpolate(image, scale_factor=0.25, mode="bilinear", antialias=True) * 255
    torch.testing.assert_close(network(image), edsr_output(weights, reduced) / 255, atol=1e-5, rtol=1e-4)


def test_a_converted_auto_encoder_keeps_every_number_at_its_place(tmp_path: Path) -> None:
    weights = cae_weights()
    network = convert(saved(weights, tmp_path / "model_final.state", new=False), tmp_path / "cae.safetensors")
    assert network.spec.as_json() == {"format": 1, "architecture": "cae", "channels": 3, "width": 64}
    ours = load_network(tmp_path / "cae.safetensors").state_dict()
    places = {"e_block_2.4": "encoder.1.second", "d_up_conv_1.3": "decode.1", "d_up_conv_3.0": "output.0"}
    for theirs, name in (places | {"e_conv_3.0": "code", "d_block_3.1": "decoder.2.first"}).items():
        for kind in ("weight", "bias"):
            assert torch.equal(ours[f"{name}.{kind}"], weights[f"{theirs}.{kind}"])
    assert len(ours) == len(weights)


def changed(weights: Weights, **values: Tensor | None) -> Weights:
    merged: dict[str, Any] = {**weights, **{name.replace("__", "."): value for name, value in values.items()}}
    return {name: value for name, value in merged.items() if value is not None}


class RunsCode:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch run-by-a-pickle",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"a": RunsCode()}, r"asks for (posix|nt)\.system, where only tensors are read"),
        ({"head.0.weight": "text"}, r"'head\.0\.weight' is not a weight"),
        ([1, 2], "holds no weights by name"),
        ({}, "holds no weights by name"),
        ({"conv1.weight": drawn(3, 3)}, "neither an EDSR"),
        (changed(edsr_weights(), tail__0__2__weight=None), "EDSR of another scale"),
        (changed(edsr_weights(), sub_mean__bias=-MEAN / 255), "sub_mean is not that of images to 255"),
        (changed(edsr_weights(), body__3__body__2__bias=None), r"body\.3\.second\.bias is absent"),
        (changed(edsr_weights(), tail__1__weight=drawn(3, 9, 3, 3)), r"tail\.weight is float32 \(3, 9, 3, 3\)"),
        (changed(edsr_weights(), extra__weight=drawn(2)), r"extra\.weight is float32 \(2,\), it must be absent"),
        (changed(edsr_weights(), tail__1__bias=torch.full((3,), float("nan"))), "NaN or infinite"),
        (changed(edsr_weights(blocks=3)), "at least 6 blocks"),
        (changed(cae_weights(), e_conv_1__1__weight=drawn(64, 5, 5, 5)), "auto-encoder for 5 channels"),
    ],
)
@pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])
def test_a_file_of_something_else_is_refused_in_one_sentence_and_runs_nothing(
    content: Any, message: str, new: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = saved(content, tmp_path / "weights.pt", new)
    with pytest.raises(UserError, match=message) as error:
        convert(file, tmp_path / "out.safetensors")
    assert str(file) in str(error.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["weights.pt"]


@pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("keep", [0, 1, 60, 300, -1, -4000])
def test_a_cut_off_file_is_refused(keep: int, new: bool, tmp_path: Path) -> None:
    file = saved(edsr_weights(), tmp_path / "weights.pt", new)
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(UserError, match=r"weights\.pt (is|asks)"):
        convert(file, tmp_path / "out.safetensors")
    with pytest.raises(UserError, match=r"gone\.pt"):
        convert(tmp_path / "gone.pt", tmp_path / "out.safetensors")


def test_the_command_names_what_it_wrote(tmp_path: Path) -> None:
    file = saved(edsr_weights(), tmp_path / "edsr.pt")
    out = tmp_path / "edsr.safetensors"
    result = CliRunner().invoke(cli, ["models", "convert", str(file), "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert "edsr for 3 channels with" in result.output
    assert out.exists()
    assert out.with_suffix(".json").exists()
    result = CliRunner().invoke(cli, ["models", "convert", str(file), "--out", str(tmp_path / "edsr.pth")])
    assert "does not end in .safetensors" in str(result.exception)
