"""One split on disk and in memory: images (an array or photographs), labels and source indices."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nofrost.config.evaluation_view import EvaluationView
from nofrost.data.arrays import read_array, write_array
from nofrost.data.manifest import Manifest, ShardManifest, SplitManifest, read_manifest
from nofrost.data.photographs import Images, Photographs
from nofrost.data.shards.cached import shard_files
from nofrost.data.shards.index import read_index
from nofrost.errors import UserError, unknown
from nofrost.files import sha256_file

if TYPE_CHECKING:
    import torch

NUMBERS = ("labels", "indices")
OPTIONAL = ("accepted", "textures")
"""Arrays that only some test sets have, a row for each image."""


@dataclass(frozen=True)
class Split:
    """Images uint8 [N, H, W, C] (an array, memory-mapped, or photographs), labels and source indices int64 [N].

    Attributes:
        accepted: int64 [N, K], the classes that are right, padded with -1; None where only the label is.
        textures: int64 [N], the class of the texture (the label is that of the shape); None for other images.
    """

    images: Images
    labels: NDArray[np.int64]
    indices: NDArray[np.int64]
    accepted: NDArray[np.int64] | None = None
    textures: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, rows: NDArray[np.int64] | slice) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return images float32 [n, C, H, W] in [0, 1], labels int64 [n] and source indices int64 [n]."""
        import torch

        labels = torch.from_numpy(np.array(self.labels[rows]))
        return to_tensor(self.images[rows]), labels, torch.from_numpy(np.array(self.indices[rows]))


def to_tensor(images: NDArray[np.uint8]) -> torch.Tensor:
    """Return uint8 images [N, H, W, C] as a float32 tensor [N, C, H, W] in [0, 1]."""
    import torch

    # torch does not accept read-only memory
    pixels = torch.from_numpy(np.require(images, requirements=("C", "W")))
    return pixels.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format).div_(255)


def from_tensor(images: torch.Tensor) -> NDArray[np.uint8]:
    """Return float images [N, C, H, W] in [0, 1] as uint8 [N, H, W, C], rounded to the nearest level."""
    import torch

    levels = images.detach().clamp(0, 1).mul(255).round().to(torch.uint8)
    return levels.permute(0, 2, 3, 1).contiguous().cpu().numpy()


def write_images(path: Path, batches: Iterable[NDArray[np.uint8]], shape: tuple[int, int, int, int]) -> None:
    """Write batches of uint8 images [n, H, W, C] as one array file of `shape`, with one batch in memory.

    Raises:
        ValueError: the batches do not add up to `shape`, or are not uint8.
    """
    write_array(path, batches, shape, np.dtype(np.uint8))


def write_split(
    folder: Path,
    batches: Iterable[NDArray[np.uint8]],
    image_shape: tuple[int, int, int],
    labels: NDArray[np.int64],
    indices: NDArray[np.int64],
    n_classes: int,
    optional: Mapping[str, NDArray[np.int64]] | None = None,
) -> SplitManifest:
    """Write a split into `folder` and return its manifest.

    Args:
        folder: created if missing.
        batches: uint8 images [n, H, W, C], in the order of `labels`.
        image_shape: (H, W, C).
        labels: int64 [N] in [0, n_classes).
        indices: int64 [N], position of each image in the source.
        n_classes: number of classes of the dataset.
        optional: arrays of `OPTIONAL` by name, int64, a row for each image.

    Raises:
        ValueError: images, labels and indices are not equally many, or a label is not in [0, n_classes).
    """
    if len(labels) != len(indices):
        raise ValueError(f"{folder}: {len(labels)} labels but {len(indices)} indices")
    if not _in_range(labels, n_classes):
        raise ValueError(f"{folder}: labels must lie in [0, {n_classes}), got {labels.min()} to {labels.max()}")
    write_images(folder / "images.npy", batches, (len(labels), *image_shape))
    numbers = {"labels": labels, "indices": indices, **(optional or {})}
    write_numbers(folder, numbers)
    return SplitManifest(
        count=len(labels),
        class_counts=tuple(np.bincount(labels, minlength=n_classes).tolist()),
        sha256={name: sha256_file(folder / f"{name}.npy") for name in ("images", *numbers)},
    )


def write_numbers(folder: Path, arrays: Mapping[str, NDArray[np.int64]]) -> None:
    """Write arrays of whole numbers into `folder`, each as a file of its name."""
    for name, numbers in arrays.items():
        write_array(folder / f"{name}.npy", [numbers.astype(np.int64)], numbers.shape, np.dtype(np.int64))


def read_split(
    dataset: Path,
    name: str,
    *,
    verify: bool = False,
    view: EvaluationView | None = None,
    manifest: Manifest | None = None,
) -> Split:
    """Return the split `name`, such as "train" or "test", of the dataset in the folder `dataset`.

    Args:
        verify: also compare the checksums of the arrays with the manifest (reads them once). Photographs are compared
            one by one as they are read, so that nothing has to be read twice.
        view: of photographs; None for that of the dataset.
        manifest: of the dataset, where it has been read already.

    Raises:
        UserError: there is no such split, or its files are damaged or do not match the manifest.
    """
    manifest = manifest or read_manifest(dataset)
    if name not in manifest.splits:
        raise unknown(f"split of {dataset}", name, manifest.splits)
    expected = manifest.splits[name]
    folder = dataset / name
    numbers = {key: read_array(folder / f"{key}.npy") for key in NUMBERS}
    for key, array in numbers.items():
        _check_array(folder / f"{key}.npy", array, (expected.count,), np.int64)
    optional = {key: read_array(folder / f"{key}.npy") for key in OPTIONAL if key in expected.sha256}
    for key, array in optional.items():
        shape = (expected.count, *array.shape[1:]) if key == "accepted" and array.ndim == 2 else (expected.count,)
        _check_array(folder / f"{key}.npy", array, shape, np.int64)
    if manifest.view:
        view = view or manifest.view
        images: Images = read_photographs(folder, expected.shards, expected.count, view, manifest.channels)
    else:
        images = read_array(folder / "images.npy")
        _check_array(folder / "images.npy", images, (expected.count, *manifest.image_size, manifest.channels), np.uint8)
    for key in expected.sha256 if verify else ():
        if sha256_file(folder / f"{key}.npy") != expected.sha256[key]:
            raise UserError(
                f"{folder / key}.npy does not match its checksum in the manifest: prepare the dataset again"
            )
    n_classes = len(manifest.label_classes)
    for key, array in {**numbers, **optional}.items():
        if key != "indices" and not _in_range(array, n_classes, -1 if key == "accepted" else 0):
            raise UserError(
                f"{folder / key}.npy names classes that the manifest does not ({n_classes} are known): prepare the "
                "dataset again"
            )
    return Split(images, **numbers, **optional)


def read_photographs(
    folder: Path, shards: tuple[ShardManifest, ...], count: int, view: EvaluationView, channels: int
) -> Photographs:
    """Return the `count` photographs in the shards of `folder`.

    Raises:
        UserError: the index is missing or does not fit the manifest.
    """
    return Photographs(read_index(folder, shards, count), shard_files(folder, shards), view, channels)


def _check_array(path: Path, array: NDArray[Any], shape: tuple[int, ...], dtype: type[np.generic]) -> None:
    if array.shape != shape or array.dtype != dtype:
        content = f"{array.dtype} {list(array.shape)}, the manifest says {np.dtype(dtype)} {list(shape)}"
        raise UserError(f"{path} holds {content}: prepare the dataset again")


def _in_range(labels: NDArray[np.int64], n_classes: int, least: int = 0) -> bool:
    return bool(labels.size == 0 or (labels.min() >= least and labels.max() < n_classes))
