"""Published weights become checkpoints with the same answers: against the networks that they were published with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor

from nofrost import models
from nofrost.errors import UserError
from nofrost.models.published_weights import MEAN, STD, check_published, convert, renamed

STAGES, STRIDES, WITH_3X3 = (3, 4, 6, 3), (2, 2, 2, 1), 2  # of BagNet-9
WIDTH, CLASSES = 8, 5


def published_bagnet() -> dict[str, Tensor]:
    """Random weights of a narrow BagNet-9 by the names of its authors' files, which have those of a ResNet."""
    generator = torch.Generator().manual_seed(0)
    weights: dict[str, Tensor] = {}

    def convolution(name: str, inputs: int, outputs: int, kernel: int) -> None:
        scale = (2 / (inputs * kernel**2)) ** 0.5
        weights[f"{name}.weight"] = scale * torch.randn(outputs, inputs, kernel, kernel, generator=generator)

    def norm(name: str, channels: int) -> None:
        for value, low in (("weight", 0.5), ("bias", -0.5), ("running_mean", -0.5), ("running_var", 0.5)):
            weights[f"{name}.{value}"] = low + torch.rand(channels, generator=generator)

    convolution("conv1", 3, WIDTH, 1)
    convolution("conv2", WIDTH, WIDTH, 3)
    norm("bn1", WIDTH)
    inputs = WIDTH
    for stage, count in enumerate(STAGES):
        width = WIDTH * 2**stage
        for block in range(count):
            name = f"layer{stage + 1}.{block}"
            kernel = 3 if block == 0 and stage < WITH_3X3 else 1
            for number, (ins, outs, size) in enumerate(
                ((inputs, width, 1), (width, width, kernel), (width, 4 * width, 1)), start=1
            ):
                convolution(f"{name}.conv{number}", ins, outs, size)
                norm(f"{name}.bn{number}", outs)
            if block == 0:
                convolution(f"{name}.downsample.0", inputs, 4 * width, 1)
                norm(f"{name}.downsample.1", 4 * width)
            inputs = 4 * width
    weights["fc.weight"] = torch.randn(CLASSES, inputs, generator=generator)
    weights["fc.bias"] = torch.randn(CLASSES, generator=generator)
    return weights


def answers_of_bagnet(weights: dict[str, Tensor], images: Tensor) -> Tensor:
    """The logits of the authors' network, written down from its description."""

    def normalised(name: str, features: Tensor) -> Tensor:
        mean, variance, gain, shift = (
            weights[f"{name}.{each}"] for each in ("running_mean", "running_var", "weight", "bias")
        )
        return F.batch_norm(features, mean, variance, gain, shift)

    pixels = (images - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    features = F.conv2d(F.conv2d(pixels, weights["conv1.weight"]), weights["conv2.weight"])
    features = normalised("bn1", features).relu()
    for stage, (count, stride) in enumerate(zip(STAGES, STRIDES, strict=True)):
        for block in range(count):
            name, step = f"layer{stage + 1}.{block}", stride if block == 0 else 1
            branch = normalised(f"{name}.bn1", F.conv2d(features, weights[f"{name}.conv1.weight"])).relu()
            branch = normalised(f"{name}.bn2", F.conv2d(branch, weights[f"{name}.conv2.weight"], stride=step)).relu()
            branch = normalised(f"{name}.bn3", F.conv2d(branch, weights[f"{name}.conv3.weight"]))
            if block == 0:
                shortcut = F.conv2d(features, weights[f"{name}.downsample.0.weight"], stride=step)
                features = normalised(f"{name}.downsample.1", shortcut)
            features = (features[:, :, : branch.shape[2], : branch.shape[3]] + branch).relu()
    return F.linear(features.mean((2, 3)), weights["fc.weight"], weights["fc.bias"])


@pytest.mark.parametrize("form", ["plain", "parallel"])
def test_bagnet_answers_as_the_network_it_was_published_with(form: str, tmp_path: Path) -> None:
    weights = published_bagnet()
    content: Any = weights
    if form == "parallel":
        content = {"state_dict": {f"module.{name}": tensor for name, tensor in weights.items()}, "epoch": 3}
    torch.save(content, tmp_path / "bagnet.pth.tar")
    convert(tmp_path / "bagnet.pth.tar", "bagnet9-w8", tmp_path / "bagnet.safetensors", image_size=40)
    model = models.load_model(tmp_path / "bagnet.safetensors")
    images = torch.rand(3, 3, 40, 40, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(model(images).detach(), answers_of_bagnet(weights, images), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("arch", ["vgg11", "vgg16_bn", "vgg19", "resnet50"])
def test_every_tensor_of_torchvision_has_the_name_and_shape_of_ours(arch: str) -> None:
    normaliser = "bn" if arch.endswith(("bn", "50")) else "none"
    with torch.device("meta"):
        theirs = getattr(torchvision.models, arch)().state_dict()
        model = models.create_model(arch, normaliser=normaliser, num_classes=1000, image_size=224)
    ours = model.network.state_dict()
    converted = renamed(theirs, arch)
    assert {name: tensor.shape for name, tensor in converted.items()} == {
        name: tensor.shape for name, tensor in ours.items()
    }


def test_the_linear_layers_of_vgg_become_convolutions_with_the_same_answers() -> None:
    generator = torch.Generator().manual_seed(0)
    weight, features = (torch.randn(*shape, generator=generator) for shape in ((6, 2 * 49), (3, 2, 7, 7)))
    kernel = renamed({"classifier.0.weight": weight}, "vgg11")["pre_logits.fc1.weight"]
    expected = F.linear(features.flatten(1), weight)
    torch.testing.assert_close(F.conv2d(features, kernel).flatten(1), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda weights: weights.pop("layer2.0.conv1.weight"), r"'layer2\.0\.conv1\.weight' is missing from it"),
        (lambda weights: weights.update(extra=torch.ones(2)), "bagnet9-w8, which has no 'extra'"),
        (
            lambda weights: weights.update({"fc.bias": torch.ones(4)}),
            r"'fc\.bias' has shape \(4,\) in the file and \(5,\)",
        ),
        (lambda weights: weights.pop("fc.weight"), "holds no classifier of colour images"),
        (lambda weights: weights["conv2.weight"].fill_(torch.nan), "holds values that are NaN or infinite"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_in_a_sentence(change: Any, message: str, tmp_path: Path) -> None:
    weights = published_bagnet()
    change(weights)
    torch.save(weights, tmp_path / "bagnet.pth")
    with pytest.raises(UserError, match=message):
        convert(tmp_path / "bagnet.pth", "bagnet9-w8", tmp_path / "out.safetensors", image_size=40)
    assert not (tmp_path / "out.safetensors").exists()


@pytest.mark.parametrize("arch", ["vgg16_bn", "bagnet17"])
def test_published_weights_that_are_not_there_are_named_with_their_place_and_checksum(
    arch: str, tmp_path: Path
) -> None:
    weights = tmp_path / f"{arch}.safetensors"
    with pytest.raises(UserError, match=rf"does not exist: download https://\S+ \(its SHA-256.*--arch {arch}") as error:
        check_published(weights, arch)
    assert "\n" not in str(error.value)
    check_published(weights, "resnet8")
    weights.touch()
    check_published(weights, arch)
