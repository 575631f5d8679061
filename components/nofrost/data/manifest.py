"""The manifest of a dataset: its contents, provenance and checksums."""

import re
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from nofrost.config.base import OmitEmpty, Schema, first_duplicate
from nofrost.config.evaluation_view import EvaluationView
from nofrost.config.validation import sentence
from nofrost.errors import UserError, unknown
from nofrost.files import read_json, sha256_file, write_json

MANIFEST = "manifest.json"
SPLITS = ("train", "selection", "test")
_CONDITION = re.compile("[a-z][a-z_]*-[1-5]")


# A manifest may come from anywhere, and models are built as large as it says.
Count = Annotated[int, Field(ge=0, le=10**12)]
Pixels = Annotated[int, Field(ge=1, le=1 << 16)]


class ShardManifest(Schema):
    """One tar of photographs: how many records it holds, its bytes, and its MD5, which is its address in a store."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*\.tar$")
    records: Count
    size: Count
    md5: str = Field(pattern="^[0-9a-f]{32}$")


class SplitManifest(OmitEmpty):
    """One split: its images by class, and the SHA-256 of ``images.npy``, ``labels.npy`` and ``indices.npy``.

    Of a test set also that of ``accepted.npy`` and ``textures.npy``, where it has them (nofrost/data/split.py).

    A split of photographs has `shards` and, instead of ``images.npy``, ``index.npy`` (nofrost/data/shards/index.py).
    ``indices.npy`` holds the position of each image in the source (in the source's own order; for a source with a test
    split of its own, positions in that split).
    """

    count: Count
    class_counts: tuple[Count, ...]
    sha256: dict[str, str]
    shards: tuple[ShardManifest, ...] = ()

    @model_validator(mode="after")
    def _shards_hold_all_images(self) -> Self:
        check_shards(self.shards, self.count)
        return self


def check_shards(shards: tuple[ShardManifest, ...], count: int) -> None:
    """Check that shards, if there are any, hold `count` photographs and have names of their own.

    Raises:
        ValueError: they do not.
    """
    if shards and sum(shard.records for shard in shards) != count:
        raise ValueError(f"shards hold {sum(shard.records for shard in shards)} of {count} photographs")
    if (twice := first_duplicate(shard.name for shard in shards)) is not None:
        raise ValueError(f"two shards are called {twice}")


class TestSetManifest(OmitEmpty):
    """How a model of the dataset is asked about the images of a test set that has other classes than the dataset.

    Attributes:
        classes: its own; ``labels.npy`` holds their numbers, and `class_counts` has a count for each.
        outputs: for each of them the classes of the dataset, outputs of a model, that mean it. The other outputs are
            left out before an answer is taken.
        answer: the class of the largest logit among all `outputs`; or that of the largest mean probability over the
            outputs of a class (cue conflict, Geirhos et al. 2019).
        outliers: the images are of no class of the dataset; all of them have the one class ``outlier``.
    """

    __test__ = False  # the name is no test class of pytest

    classes: tuple[str, ...] = Field(min_length=1)
    outputs: tuple[tuple[Annotated[int, Field(ge=0, le=10**6)], ...], ...]
    answer: Literal["largest", "mean"] = "largest"
    outliers: bool = False

    @model_validator(mode="after")
    def _each_class_has_outputs_of_its_own(self) -> Self:
        if len(self.outputs) != len(self.classes):
            raise ValueError(f"outputs are those of {len(self.outputs)} classes, and there are {len(self.classes)}")
        for name, outputs in zip(self.classes, self.outputs, strict=True):
            if not outputs:
                raise ValueError(f"outputs of class {name!r} are none: prepare the test set again")
        number, count = Counter(output for outputs in self.outputs for output in outputs).most_common(1)[0]
        if count > 1:
            raise ValueError(f"outputs name {number} twice: an output of a model means one class")
        return self


class Manifest(OmitEmpty):
    """A dataset on disk. `mean` and `std` are those of the training pixels by channel, in [0, 1].

    Photographs in shards have a `view`, which makes images of `image_size` of them; `mean` and `std` are of these.
    A test set has the `classes` of the dataset that it belongs to, and `test_set` if its own are not all of them. A
    corrupted one has a split for each corruption and severity, such as ``gaussian_noise-1``; all others have `SPLITS`.
    """

    format: Literal[1] = 1
    name: str
    classes: tuple[str, ...] = Field(min_length=1)
    image_size: tuple[Pixels, Pixels]
    view: EvaluationView | None = None
    channels: int = Field(ge=1, le=64)
    mean: tuple[float, ...]
    std: tuple[Annotated[float, Field(gt=0)], ...]
    splits: dict[str, SplitManifest]
    provenance: dict[str, str]
    licence: str
    config: dict[str, Any]
    test_set: TestSetManifest | None = None

    @property
    def label_classes(self) -> tuple[str, ...]:
        """The classes that labels are numbers of."""
        return self.test_set.classes if self.test_set else self.classes

    @model_validator(mode="after")
    def _parts_fit_each_other(self) -> Self:
        for key, values in (("mean", self.mean), ("std", self.std)):
            if len(values) != self.channels:
                raise ValueError(f"{key} has {len(values)} values for {self.channels} channels: prepare the data again")
        for name, split in self.splits.items():
            if name not in SPLITS and not _CONDITION.fullmatch(name):
                raise ValueError(f"splits: {unknown('split', name, SPLITS)}")
            if (name in SPLITS) != (next(iter(self.splits)) in SPLITS):
                raise ValueError(f"splits.{name} is beside corruptions, or one among others: prepare the data again")
            if len(split.class_counts) != len(self.label_classes) or sum(split.class_counts) != split.count:
                raise ValueError(
                    f"splits.{name}.class_counts are not the {split.count} images of {len(self.label_classes)} "
                    "classes: prepare the data again"
                )
            if split.count and bool(split.shards) != (self.view is not None):
                raise ValueError(
                    f"splits.{name} {'has shards' if split.shards else 'is an array'} and view is {self.view}: a view "
                    "is for shards, prepare the data again"
                )
        if self.view and self.image_size != (self.view.crop, self.view.crop):
            raise ValueError(f"image_size is not the view's crop of {self.view.crop} pixels: prepare the data again")
        if self.test_set and max(max(outputs) for outputs in self.test_set.outputs) >= len(self.classes):
            raise ValueError(f"test_set.outputs name others than the {len(self.classes)} classes of the dataset")
        for text in (self.name, *self.classes, *(self.test_set.classes if self.test_set else ())):
            # JSON can hold halves of a character, which no file or terminal takes
            if any("\ud800" <= character <= "\udfff" for character in text):
                raise ValueError(f"the name {text!a} is not Unicode: prepare the data again with another name")
        return self


def split_condition(name: str) -> tuple[str, int] | None:
    """Return corruption and severity of a split of a corrupted test set; None for the name of another split."""
    if not _CONDITION.fullmatch(name):
        return None
    corruption, _, severity = name.rpartition("-")
    return corruption, int(severity)


def read_manifest(dataset: Path) -> Manifest:
    """Return the manifest of the dataset in the folder `dataset`.

    Raises:
        UserError: the folder holds no dataset, or its manifest is not valid.
    """
    path = dataset / MANIFEST
    if not path.is_file():
        raise UserError(f"{dataset} holds no dataset ({MANIFEST} is missing): make one with `nofrost prepare`")
    content = read_json(path)
    if isinstance(content, dict) and "dataset" in content and "splits" not in content:
        raise UserError(f"{dataset} holds augmentation sets: name the dataset that they were made from")
    try:
        return Manifest.model_validate(content)
    except ValidationError as error:
        raise UserError(sentence(error, Manifest, str(path))) from None


def write_manifest(dataset: Path, manifest: Manifest) -> None:
    """Write the manifest into the folder `dataset`, atomically."""
    write_json(dataset / MANIFEST, manifest.as_json())


def checksum(dataset: Path, manifest: Manifest | None = None) -> str:
    """Return one SHA-256 for the whole dataset: that of its manifest, which lists those of all files.

    Args:
        manifest: of the dataset, where it has been read already.

    Raises:
        UserError: as :func:`read_manifest`.
    """
    if manifest is None:
        read_manifest(dataset)
    return sha256_file(dataset / MANIFEST)
