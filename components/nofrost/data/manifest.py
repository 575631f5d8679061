"""The manifest of a dataset: its contents, provenance and checksums."""

from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from nofrost.config.base import Schema
from nofrost.config.validation import sentence
from nofrost.errors import UserError
from nofrost.files import read_json, sha256_file, write_json

MANIFEST = "manifest.json"
SPLITS = ("train", "selection", "test")


class SplitManifest(Schema):
    """One split: its images by class, and the SHA-256 of ``images.npy``, ``labels.npy`` and ``indices.npy``.

    ``indices.npy`` holds the position of each image in the source (in the source's own order; for a source with a test
    split of its own, positions in that split).
    """

    count: int
    class_counts: tuple[int, ...]
    sha256: dict[str, str]


class Manifest(Schema):
    """A dataset on disk. `mean` and `std` are those of the training pixels by channel, in [0, 1]."""

    format: Literal[1] = 1
    name: str
    classes: tuple[str, ...]
    image_size: tuple[int, int]
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    splits: dict[str, SplitManifest]
    provenance: dict[str, str]
    licence: str
    config: dict[str, Any]


def read_manifest(dataset: Path) -> Manifest:
    """Return the manifest of the dataset in the folder `dataset`.

    Raises:
        UserError: the folder holds no dataset, or its manifest is not valid.
    """
    path = dataset / MANIFEST
    if not path.is_file():
        raise UserError(f"{dataset} holds no dataset ({MANIFEST} is missing): make one with `nofrost prepare`")
    try:
        return Manifest.model_validate(read_json(path))
    except ValidationError as error:
        raise UserError(sentence(error, Manifest, str(path))) from None


def write_manifest(dataset: Path, manifest: Manifest) -> None:
    """Write the manifest into the folder `dataset`, atomically."""
    write_json(dataset / MANIFEST, manifest.as_json())


def checksum(dataset: Path) -> str:
    """Return one SHA-256 for the whole dataset: that of its manifest, which lists those of all files."""
    read_manifest(dataset)
    return sha256_file(dataset / MANIFEST)
