"""Augmentation sets on disk: for each method one image for every training image, in the same order."""

from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from nofrost.config.base import Schema
from nofrost.config.validation import sentence
from nofrost.data.arrays import read_array
from nofrost.data.manifest import Count
from nofrost.errors import UserError, unknown
from nofrost.files import read_json, sha256_file, write_json

MANIFEST = "manifest.json"


class AugmentationManifest(Schema):
    """The sets of a folder: `sha256` of each method's ``images.npy`` and the checksum of the dataset they belong to."""

    format: Literal[1] = 1
    dataset: str
    count: Count
    sha256: dict[str, str]
    provenance: dict[str, str]
    config: dict[str, Any]


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


def read_augmentation_set(folder: Path, method: str, *, dataset: str, verify: bool = False) -> NDArray[np.uint8]:
    """Return the images uint8 [N, H, W, C] (memory-mapped) that `method` made of the training images.

    Args:
        folder: the output of the augment stage.
        method: such as ``"deepaugment"``.
        dataset: checksum of the dataset that is trained on.
        verify: also compare the checksum of the file with the manifest (reads everything once).

    Raises:
        UserError: the set is missing, is damaged, or was made from another dataset.
    """
    manifest = read_augmentation_manifest(folder)
    if method not in manifest.sha256:
        raise unknown(f"augmentation set of {folder}", method, manifest.sha256)
    if manifest.dataset != dataset:
        raise UserError(f"{folder} was made from another dataset: run `nofrost augment` on this one")
    file = folder / method / "images.npy"
    images: NDArray[np.uint8] = read_array(file)
    if verify and sha256_file(file) != manifest.sha256[method]:
        raise UserError(f"{file} is damaged (its checksum is not the one in {MANIFEST}): augment again")
    if images.ndim != 4 or images.dtype != np.uint8:
        raise UserError(f"{folder / method / 'images.npy'} holds no images (uint8 [N, H, W, C]): augment again")
    if len(images) != manifest.count:
        raise UserError(
            f"{folder / method} holds {len(images)} images, its manifest says {manifest.count}: augment again"
        )
    return images


def augmentation_checksum(folder: Path) -> str:
    """Return one SHA-256 for all sets of the folder: that of the manifest, which lists those of all files."""
    read_augmentation_manifest(folder)
    return sha256_file(folder / MANIFEST)
