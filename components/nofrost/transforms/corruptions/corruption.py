"""What a corruption is: its function, and its parameters at severities 1 to 5 for each size of images."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, get_args

from torch import Tensor

from nofrost.config.corruption_families import ParameterSet

PARAMETER_SETS: tuple[ParameterSet, ...] = get_args(ParameterSet)

# At severities 1 to 5
Parameters = tuple[tuple[Any, ...], ...]


@dataclass(frozen=True)
class Corruption:
    """A corruption and its parameters at severities 1 to 5.

    Attributes:
        function: takes images, float32 [N, C, H, W] in [0, 1], for a `random` corruption :class:`Draws`, and the
            parameters of a severity; returns images of the same shape, which may leave [0, 1].
        colour_only: says that grey images do not have it.
        on_levels: says that its results lie on the 256 levels of 8 bits already.
    """

    function: Callable[..., Tensor]
    cifar: Parameters
    tiny_imagenet: Parameters
    imagenet: Parameters
    random: bool = False
    colour_only: bool = False
    on_levels: bool = False

    def parameters(self, severity: int, parameter_set: ParameterSet) -> tuple[Any, ...]:
        """Return the parameters at this severity."""
        of_set = {"cifar": self.cifar, "tiny-imagenet": self.tiny_imagenet, "imagenet": self.imagenet}
        return of_set[parameter_set][severity - 1]


def parameter_set_for(height: int, width: int) -> ParameterSet:
    """Return whose parameters images of this size take: by the larger side, up to 32, up to 64, or more pixels."""
    side = max(height, width)
    return "cifar" if side <= 32 else "tiny-imagenet" if side <= 64 else "imagenet"


def each(*values: float) -> Parameters:
    """Return the parameters of a corruption that has a single one."""
    return tuple((value,) for value in values)
