"""Architectures: networks by name, one family a file, imported below so that it is known.

Our own names are known without loading timm, whose networks are a family of their own.
"""

# ruff: noqa: F401  importing a family registers it
import nofrost.models.architectures.bagnet
import nofrost.models.architectures.cifar_resnet
import nofrost.models.architectures.mlp
import nofrost.models.architectures.nearest_centroid
import nofrost.models.architectures.small_resnet
import nofrost.models.architectures.vgg
import nofrost.models.architectures.wide_resnet
from nofrost.models.architectures.registry import Family, families, find_family, own_names
from nofrost.models.architectures.timm_models import TIMM

__all__ = ["TIMM", "Family", "families", "family_of", "find_family", "own_names"]


def family_of(arch: str) -> Family:
    """Return the family that an architecture belongs to: one of ours, or else timm's."""
    return find_family(arch) or TIMM
