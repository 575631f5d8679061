"""The base class of augmentation methods, their registry, and what they share."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ConfigDict, ValidationError, create_model
from torch import Tensor

from nofrost.config import AugmentationSpec
from nofrost.config.base import Settings
from nofrost.config.validation import sentence
from nofrost.data import Split
from nofrost.errors import UserError, shortened
from nofrost.registry import Registry
from nofrost.telemetry import progress

SMALL_PIXELS = 64 * 64  # of an image; smaller ones are worked on in one thread
_BATCH_PIXELS = 1 << 20


class Method(Settings):
    """A method and its settings, which a study has under the method's name in ``augmentation``.

    Attributes:
        name: the name under which it is registered.
        provenance: its paper and how it differs from that, for the manifest of the sets.
    """

    name: ClassVar[str]
    provenance: ClassVar[str]

    def make(self, train: Split, seed: int, folder: Path) -> dict[str, Any]:
        """Write ``images.npy``, uint8 [N, H, W, C], into `folder`, row i made of training image i; return the metrics.

        Raises:
            UserError: a setting does not fit the images.
        """
        raise NotImplementedError

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
    """Return the configuration as JSON values with all settings of all methods, defaults included."""
    settings = {name: method.as_json() for name, method in methods.items()}
    return {"methods": list(config.methods), **settings, "seed": config.seed}


def batches(count: int, height: int, width: int) -> list[slice]:
    """Return consecutive slices of `count` rows: up to 64 images, fewer when they are large."""
    length = max(1, min(64, _BATCH_PIXELS // (height * width)))
    return [slice(start, min(start + length, count)) for start in range(0, count, length)]


def correlation(images: Tensor, others: Tensor) -> Tensor:
    """Return the correlation of brightness of each pair of images (float [N, C, H, W]) over its pixels, [N].

    It is 0 where an image is constant or not finite.
    """
    brightness = (batch.mean(dim=1).flatten(1) for batch in (images, others))
    first, second = (values - values.mean(dim=1, keepdim=True) for values in brightness)
    norms = first.norm(dim=1) * second.norm(dim=1)
    return torch.where(norms > 1e-6, (first * second).sum(dim=1) / norms, 0.0).nan_to_num(0.0, 0.0, 0.0)


def reported(title: str, batches: Iterable[NDArray[np.uint8]], total: int) -> Iterator[NDArray[np.uint8]]:
    """Yield the batches unchanged and show the progress over `total` images."""
    with progress(title, total=total) as bar:
        for batch in batches:
            yield batch
            bar.advance(len(batch))
