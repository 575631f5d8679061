"""What a model consists of: its layers and how many parameters they have."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from nofrost.models.layers import NORMALISER_LAYERS


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
    """Return what `network` consists of; it may be on the meta device."""
    layers = []
    for name, module in network.named_modules():
        own = dict(module.named_parameters(recurse=False))
        if own:
            shapes = {each: tuple(parameter.shape) for each, parameter in own.items()}
            count = sum(parameter.numel() for parameter in own.values())
            layers.append(Layer(name, type(module).__name__, isinstance(module, NORMALISER_LAYERS), shapes, count))
    return Summary(tuple(layers))
