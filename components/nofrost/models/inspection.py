"""Inspect a network: its layers and parameters, and how a signal propagates through its blocks."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from nofrost.models.classifier import Classifier
from nofrost.models.layers import NORMALISER_LAYERS, ExchangeableBatchNorm
from nofrost.models.mixture import branch
from nofrost.models.trial import images_refused

_CONTAINERS = nn.Sequential | nn.ModuleList


@dataclass(frozen=True)
class Layer:
    """A layer with parameters of its own.

    Attributes:
        name: inside the network, as a recipe names it.
        kind: its class.
        normalises: whether it is a normaliser.
        shapes: of its parameters, by name.
        parameters: how many.
    """

    name: str
    kind: str
    normalises: bool
    shapes: dict[str, tuple[int, ...]]
    parameters: int


@dataclass(frozen=True)
class Summary:
    """The layers of a network, in the order in which it holds them."""

    layers: tuple[Layer, ...]

    @property
    def parameters(self) -> int:
        """How many parameters the network has."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def of_normalisers(self) -> int:
        """How many of them are gains and shifts of normalisers (zeise2025: BN; the others are Rest)."""
        return sum(layer.parameters for layer in self.layers if layer.normalises)


def summarise(network: nn.Module) -> Summary:
    """Return the layers and parameters of `network`, which may be on the meta device."""
    layers = []
    for name, module in network.named_modules():
        parameters = dict(module.named_parameters(recurse=False))
        if parameters:
            shapes = {key: tuple(parameter.shape) for key, parameter in parameters.items()}
            count = sum(parameter.numel() for parameter in parameters.values())
            layers.append(Layer(name, type(module).__name__, isinstance(module, NORMALISER_LAYERS), shapes, count))
    return Summary(tuple(layers))


@dataclass(frozen=True)
class BlockSignal:
    """Statistics of the activations at the output of a block.

    Args:
        name: of the block in the network.
        squared_mean: mean over channels of the squared mean; it stays near 0 where no mean shift builds up.
        variance: mean over channels of the variance.
        expected_variance: what the block was designed for; None where it does not state one.
    """

    name: str
    squared_mean: float
    variance: float
    expected_variance: float | None


def signal_propagation(model: Classifier, *, images: int = 16, seed: int = 0) -> tuple[BlockSignal, ...]:
    """Return the signal behind each block of the network as it stands, on normal input of mean 0 and variance 1.

    Batch norms use the statistics of the batch, as in the first step of a training (in a mixture those of the clean
    branch); dropout and drop path are off. A copy of the model is run, so the model itself does not change.

    In a normaliser-free network each block adds α² to the variance and a transition starts anew from 1 + α², which our
    own blocks declare as `expected_variance`. timm's NF-ResNets start with a gain of zero at the end of each branch, so
    that nothing is added, and average-pool the shortcut of a transition, which loses variance: that of nf_resnet26
    falls by two to four times from stage to stage. Brock et al. stride the shortcut's convolution instead, as ours do.

    Args:
        model: its signature gives size and channels of the input.
        images: how many inputs.
        seed: of the inputs.

    Raises:
        UserError: the network does not take images of its signature's size.
    """
    network = copy.deepcopy(model).eval()
    for module in network.modules():
        module.training = isinstance(module, ExchangeableBatchNorm)
    shape = (images, model.signature.channels, *model.signature.image_size)
    like = next(model.parameters())
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=like.dtype).to(like.device)
    signals: list[BlockSignal] = []

    def record(name: str, block: nn.Module, inputs: object, output: Tensor) -> None:
        signals.append(_signal(name, output, getattr(block, "expected_variance", None)))

    for name, block in _blocks(network.network):
        block.register_forward_hook(partial(record, name))
    with torch.no_grad(), branch(network, "clean"), images_refused(model.signature):
        network.network(noise)
    return tuple(signals)


def _signal(name: str, output: Tensor, expected: float | None) -> BlockSignal:
    channels = 1 if output.ndim != 3 else 2  # maps are [N, C, H, W], tokens [N, L, C]
    variance, mean = torch.var_mean(output.transpose(0, channels).flatten(1), dim=1, correction=0)
    return BlockSignal(name, mean.square().mean().item(), variance.mean().item(), expected)


def _blocks(network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield the blocks: members of a sequence that hold several layers; of a plain network, its layers."""
    blocks = list(_members(network))
    yield from blocks or ((name, module) for name, module in network.named_modules() if _has_weight(module))


def _members(module: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    for name, child in module.named_children():
        several = sum(map(_has_weight, child.modules())) > 1
        if isinstance(module, _CONTAINERS) and several and not isinstance(child, _CONTAINERS):
            yield prefix + name, child
        else:
            yield from _members(child, f"{prefix}{name}.")


def _has_weight(module: nn.Module) -> bool:
    return isinstance(module, nn.Conv2d | nn.Linear)
