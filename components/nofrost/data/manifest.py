"""The manifest of a dataset: its contents, provenance and checksums."""

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


class Manifest(OmitEmpty):
    """A dataset on disk. `mean` and `std` are those of the training pixels by channel, in [0, 1].

    Photographs in shards have a `view`, which makes images of `image_size` of them; `mean` and `std` are of these.
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

    @model_validator(mode="after")
    def _parts_fit_each_other(self) -> Self:
        for key, values in (("mean", self.mean), ("std", self.std)):
            if len(values) != self.channels:
                raise ValueError(f"{key} has {len(values)} values for {self.channels} channels: prepare the data again")
        for name, split in self.splits.items():
            if name not in SPLITS:
                raise ValueError(f"splits: {unknown('split', name, SPLITS)}")
            if len(split.class_counts) != len(self.classes) or sum(split.class_counts) != split.count:
                raise ValueError(
                    f"splits.{name}.class_counts are not the {split.count} images of {len(self.classes)} classes: "
                    "prepare the data again"
                )
            if split.count and bool(split.shards) != (self.view is not None):
                raise ValueError(
                    f"splits.{name} {'has shards' if split.shards else 'is an array'} and view is {self.view}: a view "
                    "is for shards, prepare the data again"
                )
        if self.view and self.image_size != (self.view.crop, self.view.crop):
            raise ValueError(f"image_size is not the view's crop of {self.view.crop} pixels: prepare the data again")
        for text in (self.name, *self.classes):
            # JSON can hold halves of a character, which no file or terminal takes
            if any("\ud800" <= character <= "\udfff" for character in text):
                raise ValueError(f"the name {text!a} is not Unicode: prepare the data again with another name")
        return self


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


def checksum(dataset: Path) -> str:
    """Return one SHA-256 for the whole dataset: that of its manifest, which lists those of all files."""
    read_manifest(dataset)
    return sha256_file(dataset / MANIFEST)
