"""The architectures by name: a family is a pattern of names and the function that builds them."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from nofrost.errors import UserError
from nofrost.models.classifier import Signature

Builder = Callable[[Signature, re.Match[str]], nn.Module]

# Normalisers that any network with batch norm can be given (models/normalisers.py).
EXCHANGEABLE = ("bn", "mbn", "gn", "in", "ln", "none")
# Width of the first stage, for small runs. From 8 on: with fewer channels in memory format channels last, the gradient
# of a strided 1x1 convolution writes outside its memory on the CPU (oneDNN issue 6035).
WIDTH = r"(?:-w(?P<width>[89]|[1-9][0-9]+))?"


@dataclass(frozen=True)
class Family:
    """Architectures that one function builds.

    Attributes:
        title: their name in the literature.
        citation: the paper that introduced them, and those that use them.
        names: the names to list.
        form: the pattern of all further names, in words; empty when there are none.
        pattern: a regular expression that matches every full name; `build` gets the match.
        normalisers: those that the family supports.
        build: returns the network of a signature, with ``BatchNorm2d`` wherever a normaliser belongs. The network maps
            normalised images [N, C, H, W] to logits [N, num_classes] and has timm's ``get_classifier()``, which
            returns its last layer.
        dropout, drop_path: whether the family supports them.
        activation: whether its networks can have another activation than their own.
    """

    title: str
    citation: str
    names: tuple[str, ...]
    form: str
    pattern: re.Pattern[str]
    normalisers: tuple[str, ...]
    build: Builder
    dropout: bool
    drop_path: bool
    activation: bool = False

    def __contains__(self, arch: str) -> bool:
        return self.pattern.fullmatch(arch) is not None

    def as_json(self) -> dict[str, Any]:
        """Return what helps a user to choose, as JSON values."""
        return {
            "names": list(self.names),
            "others": self.form,
            "normalisers": list(self.normalisers),
            "without": [name for name in ("dropout", "drop_path") if not getattr(self, name)],
            "citation": self.citation,
        }

    def network(self, signature: Signature) -> nn.Module:
        """Return a new network of this signature, whose arch must be in the family.

        Raises:
            UserError: there is no such network; the name holds a number that no size of a network is.
        """
        if large := re.search("[0-9]{7,}", signature.arch):
            raise UserError(f"arch {signature.arch!r}: no network has a size of {large[0]}: write a smaller number")
        match = self.pattern.fullmatch(signature.arch)
        assert match is not None
        return self.build(signature, match)


_FAMILIES: list[Family] = []


def register(
    title: str,
    *,
    citation: str,
    names: tuple[str, ...],
    pattern: str,
    form: str = "",
    normalisers: tuple[str, ...] = EXCHANGEABLE,
    dropout: bool = True,
    drop_path: bool = True,
    activation: bool = False,
) -> Callable[[Builder], Builder]:
    """Register a function that builds the architectures whose names match `pattern`; see `Family` for the arguments."""

    def decorate(build: Builder) -> Builder:
        compiled = re.compile(pattern)
        family = Family(title, citation, names, form, compiled, normalisers, build, dropout, drop_path, activation)
        _FAMILIES.append(family)
        return build

    return decorate


def families() -> list[Family]:
    """Return the families of our own by title."""
    return sorted(_FAMILIES, key=lambda family: family.title)


def own_names() -> list[str]:
    """Return the listed names of all families of our own."""
    return [name for family in families() for name in family.names]


def find_family(arch: str) -> Family | None:
    """Return the family that `arch` belongs to, or None when it is no architecture of ours."""
    return next((family for family in _FAMILIES if arch in family), None)
