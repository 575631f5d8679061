"""Arrays in a .npz file: `images` and `labels`, or the `x_train`, `y_train`, `x_test`, `y_test` of Keras."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nofrost.errors import UserError
from nofrost.files import sha256_file
from nofrost.prepare.sources.arrays import array_part, check_images, check_labels, numbered_classes
from nofrost.prepare.sources.base import UNKNOWN_LICENCE, Source, missing

# images and labels of the training part, then those of the test part
_KEYS = (("images", "labels", "test_images", "test_labels"), ("x_train", "y_train", "x_test", "y_test"))


def open_npz(path: Path, image_size: int | None) -> Source:
    """Return the arrays of the file `path`, or of the only .npz file in the folder `path`, read into memory.

    Images are uint8, or float in [0, 1], [N, H, W] or [N, H, W, C]; labels are integers [N]. `classes`, an array of
    strings, is optional, and so is the test part. Pickled arrays are refused.

    Raises:
        UserError: there is no such file, it is damaged, a key is missing, or an array has a wrong shape, type or value.
    """
    file = _find(path)
    arrays = _load(file)
    keys = next((keys for keys in _KEYS if keys[0] in arrays), None)
    if keys is None or keys[1] not in arrays:
        raise UserError(
            f"{file} holds the arrays {', '.join(sorted(arrays)) or 'none'}: it needs images and labels "
            "(or x_train and y_train)"
        )
    if (keys[2] in arrays) != (keys[3] in arrays):
        raise UserError(f"{file} holds only one of {keys[2]} and {keys[3]}: give both or none")
    classes = _classes(arrays, file)
    images, labels = _pair(arrays, keys[0], keys[1], classes, file)
    test = _pair(arrays, keys[2], keys[3], classes, file) if keys[2] in arrays else None
    return Source(
        name=file.stem,
        classes=classes or numbered_classes(labels, test and test[1]),
        train=array_part(images, labels, image_size),
        test=array_part(*test, image_size) if test else None,
        origin=f"arrays of {file.name}" + (", with their own test split" if test else ""),
        licence=UNKNOWN_LICENCE,
        checksums={file.name: "sha256:" + sha256_file(file)},
    )


def _find(path: Path) -> Path:
    if path.is_file():
        return path
    files = sorted(path.glob("*.npz"))
    if not files:
        raise missing(path, "a .npz file, or a folder with one")
    if len(files) > 1:
        raise UserError(f"dataset.path {path} holds {len(files)} .npz files: name one of them")
    return files[0]


def _load(file: Path) -> dict[str, NDArray[Any]]:
    wanted = {"classes"}.union(*_KEYS)
    try:
        with file.open("rb") as stream:  # opened here, as numpy leaves files open that turn out to be damaged
            archive = np.load(stream, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise UserError(f"{file} holds a single array: save images and labels together with numpy.savez")
            return {key: archive[key] for key in archive.files if key in wanted}
    except UserError:
        raise
    except (ValueError, EOFError, OSError, zipfile.BadZipFile, zlib.error, MemoryError) as error:
        raise UserError(
            f"{file} is cut off or not a .npz file of plain arrays ({error}): save it again with numpy.savez"
        ) from None


def _classes(arrays: dict[str, NDArray[Any]], file: Path) -> tuple[str, ...]:
    if "classes" not in arrays:
        return ()
    classes = arrays["classes"]
    if classes.ndim != 1 or classes.dtype.kind != "U" or not len(classes):
        raise UserError(f"{file}: classes is {classes.dtype} {classes.shape}: it must be a list of names (strings)")
    return tuple(map(str, classes))


def _pair(
    arrays: dict[str, NDArray[Any]], images_key: str, labels_key: str, classes: tuple[str, ...], file: Path
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    images = arrays[images_key]
    check_images(images, f"{file}: {images_key}")
    labels = check_labels(arrays[labels_key], len(images), len(classes) or None, f"{file}: {labels_key}")
    return images, labels
