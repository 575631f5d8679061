"""The base class of augmentation methods, their registry, and what they share."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from pydantic import ConfigDict, ValidationError, create_model
from torch import Tensor

from nofrost.augment.originals import Originals, Pixels
from nofrost.config import AugmentationSpec
from nofrost.config.base import Settings
from nofrost.config.validation import sentence
from nofrost.errors import UserError, shortened
from nofrost.registry import Registry

Values = dict[str, float]


@dataclass(frozen=True)
class ImageBlock:
    """Consecutive training images, which are augmented together and apart from all others.

    Attributes:
        number: from 0.
        first: the row of its first image.
        images: uint8 [n, H, W, C], or for photographs a list of [H, W, C].
    """

    number: int
    first: int
    images: Pixels | Sequence[Pixels]


Augment = Callable[[ImageBlock], tuple[Pixels | Sequence[Pixels], Values]]
"""Return the images made of a block, one of the same size for each, and what was measured of them, summed over them."""


@dataclass(frozen=True)
class Augmenter:
    """Makes the images of a set from the training images, block by block.

    Attributes:
        augment: a function of the block alone, so that tasks can share the blocks and a killed one can go on.
        facts: what was measured once, such as of a network.
    """

    augment: Augment
    facts: Values = field(default_factory=dict)


class Method(Settings):
    """A method and its settings, which a study has under the method's name in ``augmentation``.

    Attributes:
        name: the name under which it is registered.
        provenance: its paper and how it differs from that, for the manifest of the sets.
    """

    name: ClassVar[str]
    provenance: ClassVar[str]

    def augmenter(self, originals: Originals, seed: int, folder: Path, unfinished: Path) -> Augmenter:
        """Return the augmenter; called again after a kill, it goes on from what it left in the folders.

        Args:
            originals: all training images.
            seed: of everything random.
            folder: of the set, for files that belong beside it, such as a network that was trained.
            unfinished: for files that only a run that goes on needs.

        Raises:
            UserError: a setting does not fit the images.
        """
        raise NotImplementedError

    def metrics(self, facts: Values, totals: Mapping[str, float], count: int) -> dict[str, int | float]:
        """Return the metrics of the set from the facts of its augmenter and the sums over all `count` images.

        Raises:
            UserError: the set is of no use.
        """
        return {}

    def side(self) -> int | None:
        """Return to how many pixels the shorter side of photographs is resized; None for that of the dataset's view."""
        return None

    def files(self) -> dict[str, Path]:
        """Return the files that settings name, by setting. The result depends on their content, not on their path."""
        return {}


METHODS: Registry[Method] = Registry("augmentation method")
register = METHODS.register
list_methods = METHODS.names


class _Complete(AugmentationSpec):
    model_config = ConfigDict(extra="forbid")


def resolve_methods(
    config: AugmentationSpec, origin: str = "augmentation", key: Sequence[str] = (), overrides: Sequence[str] = ()
) -> dict[str, Method]:
    """Return every method with its settings in `config`, checked, and its defaults for the rest.

    Args:
        origin: the file that `config` comes from, for the error.
        key: the key that leads to it there.
        overrides: texts `key=value` on top of the file; the message names the one at fault.

    Raises:
        UserError: there is no such method or setting, or a value is wrong; the message names file, key and what is
            allowed.
    """
    classes = METHODS.classes
    # one schema of all methods, so that pydantic finds the first fault wherever it is
    schema = create_model(
        "Augmentation",
        __base__=_Complete,
        methods=(tuple[Literal[tuple(classes)], ...], ...),  # type: ignore[misc]
        **{name: (method, method()) for name, method in classes.items()},  # type: ignore[call-overload]
    )
    try:
        complete = schema.model_validate(config.model_dump())
    except ValidationError as error:
        raise UserError(sentence(error, schema, origin, overrides, key)) from None
    for text in overrides:
        section = text.removeprefix("".join(f"{name}." for name in key)).partition("=")[0].partition(".")[0].strip()
        if section in classes and section not in complete.methods:
            raise UserError(
                f"{origin} with --set {shortened(text)}: methods ({', '.join(complete.methods)}) does not name "
                f"{section}, so that its settings have no effect: add it there, or leave them out"
            )
    return {name: getattr(complete, name) for name in classes}


def unused_settings(config: AugmentationSpec, methods: dict[str, Method]) -> list[str]:
    """Return the names of the methods that have settings of their own but are not used."""
    return [name for name, method in methods.items() if name not in config.methods and method != METHODS.get(name)()]


def spell_out(config: AugmentationSpec, methods: dict[str, Method]) -> dict[str, Any]:
    """Return the configuration as JSON values: the settings of the methods in use with their defaults, and those that
    were given to others."""
    used = {*config.methods, *unused_settings(config, methods)}
    settings = {name: method.as_json() for name, method in methods.items() if name in used}
    return {"methods": list(config.methods), **settings, "seed": config.seed}


def correlation(images: Tensor, others: Tensor) -> Tensor:
    """Return the correlation of brightness of each pair of images (float [N, C, H, W]) over its pixels, [N].

    It is 0 where an image is constant or not finite.
    """
    brightness = (batch.mean(dim=1).flatten(1) for batch in (images, others))
    first, second = (values - values.mean(dim=1, keepdim=True) for values in brightness)
    norms = first.norm(dim=1) * second.norm(dim=1)
    return torch.where(norms > 1e-6, (first * second).sum(dim=1) / norms, 0.0).nan_to_num(0.0, 0.0, 0.0)
