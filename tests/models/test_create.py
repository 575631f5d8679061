"""Architectures and normalisers by name."""

from __future__ import annotations

import threading
from typing import get_args

import pytest
import torch
from torch import nn

from nofrost.config.model import Normaliser
from nofrost.errors import UserError
from nofrost.models import MixtureBatchNorm, create_model, list_models
from nofrost.models.architectures import own_names
from nofrost.models.create import Size, _at_most


@pytest.mark.parametrize("normaliser", get_args(Normaliser))
@pytest.mark.parametrize(("channels", "size", "classes"), [(1, 16, 2), (3, 32, 10), (3, 64, 100)])
def test_a_small_network_maps_images_of_any_size_to_logits(
    normaliser: str, channels: int, size: int, classes: int
) -> None:
    model = create_model("resnet8", normaliser=normaliser, num_classes=classes, image_size=size, channels=channels)
    assert model(torch.rand(2, channels, size, size)).shape == (2, classes)


@pytest.mark.parametrize("normaliser", ["mbn", "gn", "in", "ln", "none"])
def test_another_normaliser_takes_the_place_of_every_batch_norm(normaliser: str) -> None:
    model = create_model("resnet14", normaliser=normaliser, num_classes=10, image_size=32)
    outside = [
        module
        for parent in model.modules()
        if not isinstance(parent, MixtureBatchNorm)
        for module in parent.children()
        if isinstance(module, nn.BatchNorm2d)
    ]
    assert outside == []


def test_a_batch_norm_of_timm_with_a_built_in_activation_keeps_it() -> None:
    model = create_model("efficientnet_b0", normaliser="gn", num_classes=10, image_size=32)
    reference = create_model("efficientnet_b0", normaliser="bn", num_classes=10, image_size=32)
    activations = [sum(isinstance(m, nn.SiLU) for m in network.modules()) for network in (model, reference)]
    assert activations[0] == activations[1] > 0


def test_a_replaced_normaliser_keeps_the_zero_gain_at_the_end_of_a_residual_branch() -> None:
    model = create_model("resnet26", normaliser="gn", num_classes=10, image_size=32)
    gains = [module.weight.abs().sum().item() for module in model.modules() if isinstance(module, nn.GroupNorm)]
    assert gains.count(0.0) == 8  # one for each bottleneck block


def test_an_architecture_with_a_fixed_input_size_is_built_for_the_images() -> None:
    model = create_model("vit_tiny_patch16_224", num_classes=10, image_size=32).eval()
    assert model(torch.rand(1, 3, 32, 32)).shape == (1, 10)


def test_the_input_normaliser_is_inside_the_model() -> None:
    model = create_model("resnet8", num_classes=3, image_size=16, mean=(0.2,), std=(0.1,), channels=1).eval()
    images = torch.rand(2, 1, 16, 16)
    assert torch.equal(model(images), model.network((images - 0.2) / 0.1))


def test_our_architectures_are_listed_before_those_of_timm() -> None:
    names = list_models()
    assert {"resnet8", "cifar-resnet18", "wrn-28-10", "linear"} <= set(names[: len(own_names())])
    assert len(names) == len(set(names)) > 1000


def test_models_are_listed_by_pattern_and_normaliser() -> None:
    assert list_models("cifar-resnet[13]*")[:2] == ["cifar-resnet18", "cifar-resnet34"]
    assert "nf_resnet26" in list_models("nf_*", normaliser="nf")
    assert list_models("nf_*", normaliser="bn") == []
    assert {"resnet110", "wrn-28-10"} <= set(list_models(normaliser="fixup"))
    assert list_models("no such name") == []
    with pytest.raises(UserError, match="unknown normaliser 'fixed': did you mean 'fixup'"):
        list_models(normaliser="fixed")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"dropuot": 0.1}, ["unknown key 'dropuot'", "did you mean 'dropout'", "mixture_share"]),
        ({"dropout": 1.5}, ["dropout", "less than 1", "1.5"]),
        ({"groups": "many"}, ["groups", "integer", "'many'"]),
        ({"normaliser_eps": 0}, ["normaliser_eps", "greater than 0"]),
        ({"mixture_inference": "logit"}, ["mixture_inference", "'random'", "did you mean 'logits'"]),
    ],
)
def test_a_wrong_setting_is_refused_in_one_sentence(settings: dict[str, object], words: list[str]) -> None:
    with pytest.raises(UserError, match="arch 'resnet8': ") as error:
        create_model("resnet8", num_classes=10, image_size=32, **settings)
    assert all(word in str(error.value) for word in words)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("arch", "normaliser", "words"),
    [
        ("resnet5", "bn", ["unknown arch 'resnet5'", "resnet50"]),
        ("nothing_like_it", "bn", ["unknown arch", "nofrost models list"]),
        ("resnet18", "nf", ["no normaliser-free form", "resnet26"]),
        ("resnet8", "batch", ["normaliser", "'batch'", "'mbn'"]),
    ],
)
def test_an_impossible_model_is_refused_in_one_sentence(arch: str, normaliser: str, words: list[str]) -> None:
    with pytest.raises(UserError) as error:
        create_model(arch, normaliser=normaliser, num_classes=10, image_size=32)
    assert all(word in str(error.value) for word in words)
    assert "\n" not in str(error.value)


def test_a_single_class_is_refused() -> None:
    with pytest.raises(UserError, match="at least 2 classes"):
        create_model("resnet8", num_classes=1, image_size=16)


@pytest.mark.parametrize(
    ("arch", "normaliser"), [("resnet8", "bn"), ("resnet8", "nf"), ("resnet26", "nf"), ("cifar-vgg8", "bn")]
)
def test_every_convolution_works_with_channels_last(arch: str, normaliser: str) -> None:
    model = create_model(arch, normaliser=normaliser, num_classes=10, image_size=32).eval()
    layouts: list[bool] = []
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(
                lambda _, inputs, output: layouts.extend(
                    each.is_contiguous(memory_format=torch.channels_last) for each in (*inputs, output)
                )
            )
    model(torch.rand(2, 3, 32, 32))
    assert layouts
    assert all(layouts)


@pytest.mark.parametrize(("arch", "normaliser"), [("resnet8", "bn"), ("resnet8", "nf"), ("resnet26", "nf")])
def test_no_copy_of_a_weight_is_kept_for_the_backward_pass(arch: str, normaliser: str) -> None:
    model = create_model(arch, normaliser=normaliser, num_classes=10, image_size=32)
    weights = [layer.weight.detach() for layer in model.modules() if isinstance(layer, nn.Conv2d)]
    copies: list[torch.Tensor] = []

    def look(tensor: torch.Tensor) -> torch.Tensor:
        others = [w for w in weights if w.numel() == tensor.numel() and w.data_ptr() != tensor.data_ptr()]
        copies.extend(weight for weight in others if torch.equal(weight.flatten(), tensor.flatten()))
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(look, lambda tensor: tensor):
        model(torch.rand(2, 3, 32, 32)).sum()
    assert copies == []


def test_layers_that_another_thread_makes_are_not_counted() -> None:
    with _at_most(Size(2, 100), "too large"):
        thread = threading.Thread(target=lambda: [nn.Linear(2, 2) for _ in range(5)])
        thread.start()
        thread.join()
        nn.Linear(2, 2)
        with pytest.raises(UserError, match="too large"):
            nn.Linear(2, 2)
