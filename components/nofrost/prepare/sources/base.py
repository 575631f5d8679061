"""Base classes of the sources of images, and their registry."""

import errno
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    create_model,
    model_serializer,
)

from nofrost.config import DatasetSpec, EvaluationView
from nofrost.config.base import ImageCount
from nofrost.config.validation import sentence, with_override
from nofrost.errors import UserError, reason
from nofrost.prepare.photo import ImageFile
from nofrost.registry import Registry
from nofrost.system_errors import cannot_read

# YAML reads the name of a digit as a number.
ClassName = Annotated[str, BeforeValidator(lambda name: str(name) if type(name) is int else name)]
UNKNOWN_LICENCE = "not stated; ask the owner of the images"


@dataclass(frozen=True)
class Part:
    """A set of images in a source: all of them, or one of the source's own splits.

    Attributes:
        labels: int64 [N], a class index for each image, in the source's own order.
        shape: (H, W, C) of the images that are read.
        read: a function of rows int64 [n] (ascending) that yields their images in batches uint8 [m, H, W, C].
        positions: int64 [N], position of each image in the source; None if these are all of its images.
        images: for photographs a function of a row that returns its file, safe to call in threads; otherwise None.
        accepted: int64 [N, K], all classes that are right, padded with -1; None if the label alone is.
        textures: int64 [N], of images that have the texture of another class: that class.
    """

    labels: NDArray[np.int64]
    shape: tuple[int, int, int]
    read: Callable[[NDArray[np.int64]], Iterator[NDArray[np.uint8]]]
    positions: NDArray[np.int64] | None = None
    images: Callable[[int], ImageFile] | None = None
    accepted: NDArray[np.int64] | None = None
    textures: NDArray[np.int64] | None = None

    def indices(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the positions in the source of these rows."""
        return rows if self.positions is None else self.positions[rows]


@dataclass(frozen=True)
class OwnClasses:
    """The classes of a published test set that are not simply all of those of the dataset it belongs to.

    Attributes:
        meanings: for each class of the set the classes of the dataset that mean it, by name; None if each class means
            the one of its own name, and they are some of the dataset's.
        answer: how a model's answer is found among them, as of :class:`nofrost.data.TestSetManifest`.
        outliers: the images are of none of the classes, which say what they were taken for.
    """

    meanings: Mapping[str, tuple[str, ...]] | None = None
    answer: Literal["largest", "mean"] = "largest"
    outliers: bool = False


@dataclass(frozen=True)
class SourceData:
    """Classes and images of an open source, and where they come from.

    Attributes:
        test: the source's own test split; None when it has none.
        origin: a sentence on where the images come from, without any path.
        checksums: file name and checksum of what was read, such as ``{"digits.npz": "sha256:..."}``.
        remarks: a sentence for each thing that lies there and is not used, which the user is told.
        url: the page of a published dataset; empty for images of the user.
        own_classes: of a published test set that has other classes than its dataset; None otherwise.
        conditions: the parts of a corrupted test set by corruption and severity, such as ``gaussian_noise-1``, row for
            row the same images; `train` is the first of them.
    """

    name: str
    classes: tuple[str, ...]
    train: Part
    test: Part | None
    origin: str
    licence: str
    checksums: Mapping[str, str]
    remarks: tuple[str, ...] = ()
    url: str = ""
    own_classes: OwnClasses | None = None
    conditions: Mapping[str, Part] = field(default_factory=dict)

    @property
    def provenance(self) -> dict[str, str]:
        """Origin, page and checksums, for the manifest."""
        return {"origin": self.origin, **({"url": self.url} if self.url else {}), **self.checksums}


class Source(DatasetSpec):
    """A kind of source: the configuration of a dataset, with the source's own options as further fields.

    Attributes:
        classes: names of those that are kept, in the order of their labels; null keeps all.
        class_limit: keeps that many training images of each class: of those that are not in a test split of the source.
        needs_path: whether it reads a file or folder at `path`.
        holds_photographs: whether its images are files, which can be kept as they are, in shards.
        prefers_shards: whether they are kept so unless the configuration says otherwise.
        test_only: whether models are only tested on it, so that it is no dataset to train on.
        of_place: keys that say where the images come from, and not what they are.
        libraries: packages that affect the pixels; the record of the dataset states their versions.
    """

    model_config = ConfigDict(extra="forbid")

    classes: tuple[ClassName, ...] | None = Field(default=None, min_length=2)
    class_limit: ImageCount | None = None

    needs_path: ClassVar[bool] = True
    holds_photographs: ClassVar[bool] = False
    prefers_shards: ClassVar[bool] = False
    test_only: ClassVar[bool] = False
    of_place: ClassVar[tuple[str, ...]] = ("path",)
    libraries: ClassVar[tuple[str, ...]] = ("numpy", "pillow")

    @model_serializer(mode="wrap")
    def _without_a_choice_that_was_not_made(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        unset = {name for name in ("classes", "class_limit") if getattr(self, name) is None}
        return {key: value for key, value in handler(self).items() if key not in unset}

    def settings(self) -> dict[str, Any]:
        """Return the configuration as JSON without what the images do not depend on, such as where they lie."""
        return {key: value for key, value in self.as_json().items() if key not in self.of_place}

    def inputs(self, out: Path) -> list[Path]:
        """Return the files and folders that nothing may be written to while the source is read.

        An archive in a folder is a file there: a dataset may be written to `out` beside it.
        """
        path = Path(self.path)
        if not self.needs_path:
            return []
        # Who opens it says why it cannot be read.
        with suppress(OSError):
            if path.is_dir():
                # Links that lead nowhere, or in a circle, are nothing that could be written to.
                return [child for child in path.iterdir() if child.exists() and child.resolve() != out.resolve()]
        return [path]

    def absent(self) -> list[str]:
        """Return what is not there of the files that are read, as far as it shows without opening them."""
        return [self.path] if self.needs_path and not Path(self.path).exists() else []

    def shard_view(self) -> EvaluationView | None:
        """Return the evaluation view of the photographs if they become shards; None if an array is made of the images.

        Raises:
            UserError: shards are asked for, and the source holds no photographs.
        """
        asked = {"view": self.view, "shorter_side": self.shorter_side, "storage": self.storage == "shards" or None}
        keys = [key for key, value in asked.items() if value is not None]
        if keys and not self.holds_photographs:
            known = ", ".join(
                name
                for name, source in sorted(SOURCES.classes.items())
                if source.holds_photographs and not source.test_only
            )
            raise UserError(
                f"dataset.{keys[0]} is for photographs ({known}), and the images of source {self.source!r} become an "
                "array: leave it out"
            )
        by_nature = self.prefers_shards and self.storage == "auto" and self.image_size is None
        return (self.view or EvaluationView()) if keys or by_nature else None

    def open(self) -> SourceData:
        """Return what the source holds, its images resized to `image_size` when that is set.

        Raises:
            UserError: there is nothing at `path`, or not what the source expects there.
        """
        raise NotImplementedError


SOURCES: Registry[Source] = Registry("dataset source")
register = SOURCES.register
list_sources = SOURCES.names


def resolve_source(
    config: DatasetSpec,
    origin: str = "dataset",
    key: Sequence[str] = (),
    overrides: Sequence[str] = (),
    *,
    is_test_set: bool = False,
) -> Source:
    """Return the source that `config` names, with all of its options checked.

    Args:
        origin: the file that `config` comes from, for the error.
        key: the key that leads to it there.
        overrides: texts `key=value` on top of the file; the message names the one at fault.
        is_test_set: whether it is a test set of a suite, and not a dataset that models are trained on.

    Raises:
        UserError: there is no such source, an option is unknown or of a wrong value, or a source of test images alone
            is to be a dataset; the message names file, key and what is allowed.
    """
    names: Any = Literal[tuple(SOURCES.classes)]
    schema = SOURCES.classes.get(config.source) or create_model("Dataset", __base__=Source, source=(names, ...))
    try:
        source = schema.model_validate(config.as_json())
    except ValidationError as error:
        raise UserError(sentence(error, schema, origin, overrides, key)) from None
    if source.test_only and not is_test_set:
        location = ".".join((*key, "source"))
        raise UserError(
            f"{with_override(origin, location, overrides)}: {location}: {config.source!r} holds images that models are "
            "only tested on, so no dataset is made of it: name it in the test_sets of an ood suite, such as "
            f"suites.ood.SUITE.test_sets.NAME.source={config.source}"
        )
    location = ".".join((*key, "path"))
    is_named = source.path != DatasetSpec().path or any(
        text.partition("=")[0].strip() == location for text in overrides
    )
    if is_named and not source.needs_path:
        raise UserError(
            f"{with_override(origin, location, overrides)}: {location}: source {config.source!r} reads no file or "
            f"folder, got {source.path!r}: name the source of these images (such as folder), or leave path out"
        )
    return source


class AbsentSourceError(UserError):
    """What a source reads is not there."""


def missing(path: Path, expected: str) -> AbsentSourceError:
    """Return the error for a path that does not exist or does not hold what was expected."""
    state = "holds no such thing" if path.exists() else "does not exist"
    return AbsentSourceError(f"dataset.path {path} {state}: expected there is {expected}")


@contextmanager
def explain_damage(file: Path, otherwise: str, remedy: str) -> Iterator[None]:
    """Turn whatever a reader of archives raises into a UserError of one line; for code that reads `file`.

    Args:
        otherwise: what the file is if it is not cut off, such as "not gzip".
        remedy: what to do then.
    """
    try:
        yield
    except UserError:
        raise
    except MemoryError:
        raise UserError(f"{file} needs more memory than there is: make it smaller, or use a larger machine") from None
    except Exception as error:
        # a wrong offset in the file is a seek with an invalid argument
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise cannot_read(error, file) from None
        raise UserError(f"{file} is cut off or {otherwise} ({reason(error)}): {remedy}") from None
