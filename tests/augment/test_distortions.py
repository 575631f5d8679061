from __future__ import annotations

import pytest
import torch
from torch import Tensor

from nofrost.augment.deepaugment.distortions import (
    ACTIVATION_DISTORTIONS,
    WEIGHT_DISTORTIONS,
    BatchDraws,
    DistortedConvolution,
    Distortion,
)
from nofrost.augment.deepaugment.encoder_decoder import EncoderDecoderSpec, ReconstructionNetwork
from nofrost.augment.deepaugment.networks import new_network

CPU = torch.device("cpu")
CASES = [
    pytest.param(distortion, shape, id=f"{kind}-{distortion.__name__}")
    for kind, shape, distortions in (
        ("weights", (6, 8, 3, 4, 4), WEIGHT_DISTORTIONS),
        ("activations", (6, 8, 7, 5), ACTIVATION_DISTORTIONS),
    )
    for distortion in distortions
]


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def network() -> ReconstructionNetwork:
    network = new_network(EncoderDecoderSpec(channels=3, width=8), torch.Generator().manual_seed(0))
    assert isinstance(network, ReconstructionNetwork)
    return network.requires_grad_(False)


@pytest.mark.parametrize(("distortion", "shape"), CASES)
def test_full_strength_changes_values_and_keeps_their_shape(distortion: Distortion, shape: tuple[int, ...]) -> None:
    values = drawn(*shape)
    before = values.clone()
    changed = distortion(values, torch.ones(6), BatchDraws(0, CPU))
    assert changed.shape == values.shape
    assert changed.isfinite().all()
    assert not torch.equal(changed, values)
    assert torch.equal(values, before), "the values given must stay as they are"


@pytest.mark.parametrize(("distortion", "shape"), CASES)
def test_strength_zero_changes_nothing(distortion: Distortion, shape: tuple[int, ...]) -> None:
    values = drawn(*shape)
    torch.testing.assert_close(distortion(values, torch.zeros(6), BatchDraws(0, CPU)), values)


@pytest.mark.parametrize(("distortion", "shape"), CASES)
def test_more_strength_changes_more(distortion: Distortion, shape: tuple[int, ...]) -> None:
    values = drawn(6, 64, *shape[2:])
    mild, strong = (distortion(values, torch.full((6,), each), BatchDraws(1, CPU)) for each in (0.2, 1.0))
    assert (mild - values).abs().mean() < (strong - values).abs().mean()


@pytest.mark.parametrize(("distortion", "shape"), CASES)
def test_images_are_distorted_apart_from_each_other(distortion: Distortion, shape: tuple[int, ...]) -> None:
    values = drawn(*shape)
    other = values.clone()
    other[3:] = drawn(3, *shape[1:], seed=9)
    first, second = (distortion(each, torch.ones(6), BatchDraws(0, CPU)) for each in (values, other))
    assert torch.equal(first[:3], second[:3])


@pytest.mark.parametrize(("distortion", "shape"), CASES)
def test_one_filter_alone_can_be_distorted(distortion: Distortion, shape: tuple[int, ...]) -> None:
    values = drawn(4, 1, *shape[2:])
    assert distortion(values, torch.ones(4), BatchDraws(0, CPU)).isfinite().all()


@pytest.mark.parametrize("size", [(8, 8), (9, 7), (5, 12)])
def test_a_pass_of_strength_zero_is_the_plain_network(network: ReconstructionNetwork, size: tuple[int, int]) -> None:
    images = drawn(5, 3, *size).sigmoid()
    distorted = network(images, DistortedConvolution(torch.zeros(5), BatchDraws(0, CPU)))
    torch.testing.assert_close(distorted, network(images))
    assert distorted.shape == images.shape


def test_every_image_has_distortions_of_its_own(network: ReconstructionNetwork) -> None:
    image = drawn(1, 3, 8, 8).sigmoid()
    outputs = network(image.repeat(16, 1, 1, 1), DistortedConvolution(torch.ones(16), BatchDraws(0, CPU)))
    assert torch.pdist(outputs.flatten(1)).min() > 1e-3


def test_images_of_a_batch_do_not_touch_each_other(network: ReconstructionNetwork) -> None:
    images = drawn(8, 3, 8, 8).sigmoid()
    others = torch.cat([images[:4], drawn(4, 3, 8, 8, seed=5).sigmoid()])
    first, second = (
        network(batch, DistortedConvolution(torch.ones(8), BatchDraws(2, CPU))) for batch in (images, others)
    )
    torch.testing.assert_close(first[:4], second[:4])


def test_the_network_itself_stays_as_it_is(network: ReconstructionNetwork) -> None:
    before = {name: values.clone() for name, values in network.state_dict().items()}
    network(drawn(4, 3, 8, 8).sigmoid(), DistortedConvolution(torch.ones(4), BatchDraws(0, CPU)))
    assert all(torch.equal(values, before[name]) for name, values in network.state_dict().items())


def test_every_image_gets_its_number_of_kinds() -> None:
    convolve = DistortedConvolution(torch.ones(50), BatchDraws(0, CPU))
    assert (convolve.weight_kinds.sum(dim=1) == 3).all()
    assert (convolve.activation_kinds.sum(dim=1) == 1).all()
    assert convolve.weight_kinds.any(dim=0).all(), "over many images every kind occurs"
    assert convolve.activation_kinds.any(dim=0).all()
