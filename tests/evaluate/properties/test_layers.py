"""Weight norms and batch norm statistics are those that a layer computes with."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nofrost import models
from nofrost.evaluate.properties import batch_norm_layers, batch_statistics, layer_statistics, weight_norms
from nofrost.evaluate.properties.weights import applied_weight, log_product


@pytest.fixture
def images() -> Tensor:
    return torch.rand(12, 1, 16, 16, generator=torch.Generator().manual_seed(0))


def make(normaliser: str) -> models.Classifier:
    torch.manual_seed(0)
    return models.create_model("resnet8", normaliser=normaliser, num_classes=10, image_size=16, channels=1)


def test_norms_are_those_of_the_matrix_of_a_layer() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(4, 6, 3, groups=2), nn.Conv1d(6, 20, 1), nn.ReLU(), nn.Linear(30, 7))
    norms = weight_norms(model)
    assert [each.layer for each in norms] == ["0", "1", "3"]
    for each, layer in zip(norms, (model[0], model[1], model[3]), strict=True):
        matrix = layer.weight.detach().flatten(1).double()
        assert each.shape == tuple(layer.weight.shape)
        assert each.frobenius == pytest.approx(float(matrix.norm()), rel=1e-12)
        assert each.spectral == pytest.approx(float(torch.linalg.matrix_norm(matrix, ord=2)), rel=1e-10)


def test_the_product_is_a_logarithm_that_no_depth_overflows() -> None:
    assert log_product([2.0, 50.0]) == pytest.approx(2)
    assert log_product([1e3] * 1000) == pytest.approx(3000)
    assert log_product([1.0, 0.0]) is None


@pytest.mark.parametrize(
    "make_layer",
    [
        lambda: models.ScaledStdConv2d(4, 6, 3, padding=1),
        lambda: timm.layers.ScaledStdConv2d(4, 6, 3, gamma=1.7),
        lambda: timm.layers.ScaledStdConv2dSame(4, 6, 3),
        lambda: nn.Conv2d(4, 6, 3, padding=1),
    ],
    ids=["ours", "timm", "timm-same", "plain"],
)
def test_the_weight_of_a_standardised_convolution_is_the_one_it_applies(make_layer: Callable[[], nn.Conv2d]) -> None:
    torch.manual_seed(0)
    layer = make_layer()
    features = torch.rand(2, 4, 5, 5)
    applied = F.conv2d(features, applied_weight(layer), layer.bias, padding=1)
    torch.testing.assert_close(layer(features), applied, rtol=1e-4, atol=1e-5)


def test_a_batch_norm_gives_its_statistics_and_parameters_by_branch(images: Tensor) -> None:
    model = make("mbn")
    with models.branch(model.train(), "adversarial"):
        model(images)
    found = batch_norm_layers(model)
    assert [layer.branch for layer in found] == ["clean", "adversarial"] * (len(found) // 2)
    first, second = found[:2]
    mixture = model.network.bn1
    assert (first.name, second.name) == ("network.bn1", "network.bn1")
    assert torch.equal(first.mean, torch.zeros(16))
    assert torch.equal(second.mean, mixture.adversarial.running_mean)
    assert torch.equal(second.variance, mixture.adversarial.running_var)
    assert torch.equal(second.weight, mixture.adversarial.weight)
    second.mean.zero_()
    assert mixture.adversarial.running_mean.abs().max() > 0, "what was given out is a copy"


def test_plain_batch_norms_are_of_all_images_and_other_normalisers_have_none() -> None:
    assert {layer.branch for layer in batch_norm_layers(make("bn"))} == {"all"}
    assert batch_norm_layers(make("gn")) == ()
    bare = nn.BatchNorm2d(3, affine=False, track_running_stats=False)
    (layer,) = batch_norm_layers(bare)
    assert (layer.mean, layer.variance, layer.weight, layer.bias) == (None, None, None, None)


@pytest.mark.parametrize("name", ["resnet8", "resnet26"])
def test_batch_statistics_are_what_a_training_step_would_make_of_the_running_ones(name: str, images: Tensor) -> None:
    torch.manual_seed(0)
    model = models.create_model(name, num_classes=10, image_size=32, channels=1)
    large = images.repeat(1, 1, 2, 2)
    found = batch_statistics(model, large)
    norms = {name: module for name, module in model.named_modules() if isinstance(module, nn.BatchNorm2d)}
    assert list(found) == list(norms)
    for norm in norms.values():
        norm.momentum = 1.0  # the running statistics become those of the batch
    model.train()(large)
    for name, (mean, variance) in found.items():
        torch.testing.assert_close(mean, norms[name].running_mean, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(variance, norms[name].running_var, rtol=1e-4, atol=1e-5)


def test_batch_statistics_leave_the_model_as_it_was(images: Tensor) -> None:
    model = make("mbn").train()
    before = {name: values.clone() for name, values in model.state_dict().items()}
    with models.branch(model, "adversarial"):
        found = batch_statistics(model, images)
    assert list(found) == [layer.name for layer in batch_norm_layers(model) if layer.branch == "adversarial"]
    assert all(torch.equal(values, before[name]) for name, values in model.state_dict().items())
    assert all(module.training for module in model.modules())
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    assert all(norm.track_running_stats and not norm._forward_pre_hooks for norm in norms)


def test_a_mixture_is_measured_in_the_branch_that_the_images_pass(images: Tensor) -> None:
    model = make("mbn")
    for module in model.modules():
        if isinstance(module, models.MixtureBatchNorm):
            module.clean.weight.data.fill_(2.0)
    by_branch = {}
    for branch in ("clean", "adversarial"):
        with models.branch(model, branch):
            by_branch[branch] = batch_statistics(model, images)
    first, second = list(by_branch["clean"])[:2]
    for value in (0, 1):
        torch.testing.assert_close(by_branch["clean"][first][value], by_branch["adversarial"][first][value])
    assert not torch.allclose(by_branch["clean"][second][1], by_branch["adversarial"][second][1])


def test_arrays_of_layers_are_named_by_layer_and_value() -> None:
    model = make("mbn")
    model.network.bn1.clean.weight.data[:4] = 0.001
    statistics = layer_statistics(model)
    arrays, metrics = statistics.arrays(), statistics.metrics().as_json()
    assert arrays["batch_norm/clean/network.bn1/weight"].shape == (16,)
    np.testing.assert_array_equal(
        arrays["batch_norm/adversarial/network.bn1/variance"], model.network.bn1.adversarial.running_var.numpy()
    )
    first = metrics["batch_norm"][0]
    assert (first["layer"], first["branch"]) == ("network.bn1", "clean")
    assert first["weight"] == pytest.approx([0.001, 1, 1])
    assert (first["weight_near_zero"], first["bias_near_zero"]) == (0.25, 1)
    norms = metrics["weight_norms"]
    assert norms["log10_spectral_product"] == pytest.approx(
        math.log10(math.prod(layer["spectral"] for layer in norms["layers"]))
    )
