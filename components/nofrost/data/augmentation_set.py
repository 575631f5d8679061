"""Augmentation sets on disk: for each method one image for every training image, in the same order."""

from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError, model_validator

from nofrost.config.base import OmitEmpty
from nofrost.config.evaluation_view import EvaluationView
from nofrost.config.validation import sentence
from nofrost.data.arrays import read_array
from nofrost.data.manifest import Count, ShardManifest, check_shards
from nofrost.data.photographs import Images
from nofrost.data.shards import index
from nofrost.data.split import read_photographs
from nofrost.errors import UserError, unknown
from nofrost.files import read_json, sha256_file, write_json

MANIFEST = "manifest.json"


class AugmentationManifest(OmitEmpty):
    """The sets of a folder: `sha256` of each method's ``images.npy`` and the checksum of the dataset they belong to.

    Sets of photographs have `shards`, the checksum of their ``index.npy``, and `view` and `channels` of the dataset.
    """

    format: Literal[1] = 1
    dataset: str
    count: Count
    sha256: dict[str, str]
    shards: dict[str, tuple[ShardManifest, ...]] = Field(default_factory=dict)
    view: EvaluationView | None = None
    channels: int | None = Field(default=None, ge=1, le=3)
    provenance: dict[str, str]
    config: dict[str, Any]

    @model_validator(mode="after")
    def _shards_hold_all_images(self) -> Self:
        for method, shards in self.shards.items():
            if method not in self.sha256:
                raise ValueError(f"shards.{method} belong to no set")
            if not (self.view and self.channels):
                raise ValueError(f"shards.{method} are photographs, and view or channels is missing")
            check_shards(shards, self.count)
        return self


def write_augmentation_manifest(folder: Path, manifest: AugmentationManifest) -> None:
    """Write the manifest into `folder`, atomically."""
    write_json(folder / MANIFEST, manifest.as_json())


def read_augmentation_manifest(folder: Path) -> AugmentationManifest:
    """Return the manifest of the augmentation sets in `folder`.

    Raises:
        UserError: there are none, or the manifest is not valid.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise UserError(
            f"{folder} holds no augmentation sets ({MANIFEST} is missing): make them with `nofrost augment`"
        )
    try:
        return AugmentationManifest.model_validate(read_json(path))
    except ValidationError as error:
        raise UserError(sentence(error, AugmentationManifest, str(path))) from None


def read_augmentation_set(folder: Path, method: str, *, dataset: str, verify: bool = False) -> Images:
    """Return the images that `method` made of the training images: uint8 [N, H, W, C], memory-mapped, or photographs.

    Args:
        folder: the output of the augment stage.
        method: such as ``"deepaugment"``.
        dataset: checksum of the dataset that is trained on.
        verify: also compare the checksum of the array or index with the manifest (reads everything once).

    Raises:
        UserError: the set is missing, is damaged, or was made from another dataset.
    """
    manifest = read_augmentation_manifest(folder)
    if method not in manifest.sha256:
        raise unknown(f"augmentation set of {folder}", method, manifest.sha256)
    if manifest.dataset != dataset:
        raise UserError(f"{folder} was made from another dataset: run `nofrost augment` on this one")
    shards = manifest.shards.get(method, ())
    file = folder / method / (index.FILE if shards else "images.npy")
    if not file.exists():
        raise UserError(f"{file} is missing: augment again, or pull the sets again")
    if verify and sha256_file(file) != manifest.sha256[method]:
        raise UserError(f"{file} is damaged (its checksum is not the one in {MANIFEST}): augment again")
    if shards and manifest.view and manifest.channels:
        return read_photographs(folder / method, shards, manifest.count, manifest.view, manifest.channels)
    images: NDArray[np.uint8] = read_array(file)
    if images.ndim != 4 or images.dtype != np.uint8:
        raise UserError(f"{file} holds no images (uint8 [N, H, W, C]): augment again")
    if len(images) != manifest.count:
        raise UserError(
            f"{folder / method} holds {len(images)} images, its manifest says {manifest.count}: augment again"
        )
    return images


def augmentation_checksum(folder: Path) -> str:
    """Return one SHA-256 for all sets of the folder: that of the manifest, which lists those of all files."""
    read_augmentation_manifest(folder)
    return sha256_file(folder / MANIFEST)
