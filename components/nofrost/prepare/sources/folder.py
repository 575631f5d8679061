"""Photographs in class folders, decoded when they are read: upright, without transparency, in 8 bits."""

import hashlib
import os
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import NoReturn, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from nofrost.errors import UserError
from nofrost.prepare.pixels import batch_length, resize_and_crop
from nofrost.prepare.sources.base import UNKNOWN_LICENCE, Part, Source, SourceData, missing, register
from nofrost.telemetry import progress

SUFFIXES = frozenset((".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm"))
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "PPM")
_GREY_MODES = frozenset(("1", "L", "LA", "La", "I", "I;16", "I;16L", "I;16B", "I;16N"))
_ORIENTATION = 0x0112
_TRANSPOSED = (5, 6, 7, 8)  # EXIF orientations that exchange width and height
T = TypeVar("T")
TEST_FOLDERS = ("test", "val")


@dataclass(frozen=True)
class _Listing:
    """Image files under `root`, by class and then by path, relative to it, and the label of each."""

    root: Path
    files: list[str]
    labels: NDArray[np.int64]

    def paths(self) -> Iterator[Path]:
        return (Path(self.root, file) for file in self.files)


@register("folder")
class Folder(Source):
    """Photographs in class folders: root/<class>/..., or root/train/<class>/... and root/test (or val)/<class>/..."""

    def open(self) -> SourceData:
        """Return the images of the class folders in `path`, in the order of their sorted paths.

        They are decoded when they are read, by a few threads.
        Files whose name begins with a dot or does not end like an image are left out. All images are grey, or all are
        read as colour. Without `image_size` they must have one size.

        Raises:
            UserError: there are no class folders, one is empty, or an image is damaged or of another size; the message
                names it.
        """
        path = Path(self.path)
        if not path.is_dir():
            raise missing(path, "a folder of class folders with images")
        train_root, test_root = _own_splits(path)
        classes = tuple(folder.name for folder in _folders(train_root))
        if not classes:
            raise UserError(
                f"{train_root} holds no class folders: put the images of each class into a folder of its own"
            )
        listings = [_list(train_root, classes)]
        if test_root is not None:
            _check_same_classes(classes, train_root, test_root)
            listings.append(_list(test_root, classes))
        shape = _shape(listings, self.image_size)
        parts = [_part(listing, shape, self.image_size) for listing in listings]
        return SourceData(
            name=path.resolve().name,
            classes=classes,
            train=parts[0],
            test=parts[1] if test_root else None,
            origin=f"class folders of {path.resolve().name}" + (f", test split {test_root.name}" if test_root else ""),
            licence=UNKNOWN_LICENCE,
            checksums={"names and sizes of all files": "sha256:" + _checksum(listings)},
        )


def _own_splits(root: Path) -> tuple[Path, Path | None]:
    names = {folder.name for folder in _folders(root)}
    if "train" not in names or not names <= {"train", *TEST_FOLDERS}:
        # a class may be called "train" beside other classes
        return root, None
    test = next((name for name in TEST_FOLDERS if name in names), None)
    return root / "train", root / test if test else None


def _folders(root: Path) -> list[Path]:
    try:
        return sorted(entry for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    except OSError as error:
        _cannot_list(error)


def _check_same_classes(classes: tuple[str, ...], train_root: Path, test_root: Path) -> None:
    test_classes = {folder.name for folder in _folders(test_root)}
    for name in sorted(test_classes.symmetric_difference(classes)):
        present, absent = (test_root, train_root) if name in test_classes else (train_root, test_root)
        raise UserError(f"class folder {name!r} is in {present} but not in {absent}: both must hold the same classes")


def _list(root: Path, classes: tuple[str, ...]) -> _Listing:
    files: list[str] = []
    counts = []
    for name in classes:
        images = sorted(_images_under(root / name, root))
        if not images:
            kinds = ", ".join(sorted(suffix[1:] for suffix in SUFFIXES))
            raise UserError(f"class folder {root / name} holds no images ({kinds}): add some or remove the folder")
        files += images
        counts.append(len(images))
    return _Listing(root, files, np.repeat(np.arange(len(classes), dtype=np.int64), counts))


def _images_under(folder: Path, root: Path) -> Iterator[str]:
    for parent, _, names in os.walk(folder, onerror=_cannot_list):
        below = Path(parent).relative_to(root).as_posix()
        yield from (
            f"{below}/{name}" for name in names if not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES
        )


def _cannot_list(error: OSError) -> NoReturn:
    raise UserError(f"{error.filename} cannot be listed ({error.strerror}): check it") from None


def _checksum(listings: list[_Listing]) -> str:
    """Return the SHA-256 of all relative paths and file sizes."""
    # not of the content, which would then be read twice
    digest = hashlib.sha256()
    for listing in listings:
        for file, path in zip(listing.files, listing.paths(), strict=True):
            try:
                size = path.stat().st_size
            except OSError as error:
                raise UserError(f"{path} cannot be read ({error.strerror}): check it") from None
            digest.update(os.fsencode(file) + b"\0%d\n" % size)
    return digest.hexdigest()


def _shape(listings: list[_Listing], image_size: int | None) -> tuple[int, int, int]:
    """Return the (H, W, C) of all images; reads no more headers than needed."""
    paths = chain.from_iterable(listing.paths() for listing in listings)
    headers = in_order(lambda path: (path, read_header(path)), paths)
    if image_size is not None:
        # the first colour image decides, usually the very first
        return image_size, image_size, 1 if all(header.grey for _, header in headers) else 3
    first = next(headers)[1]
    grey = first.grey
    with progress("headers", total=sum(len(listing.files) for listing in listings), done=1) as bar:
        for path, header in headers:
            _check_size(path, header.size, first.size)
            grey = grey and header.grey
            bar.advance()
    return *first.size, 1 if grey else 3


def _check_size(path: Path, size: tuple[int, int], expected: tuple[int, int]) -> None:
    if size != expected:
        raise UserError(
            f"{path} is {size[1]}x{size[0]} pixels, the images before it {expected[1]}x{expected[0]}: "
            "set dataset.image_size to bring all to one size"
        )


def _part(listing: _Listing, shape: tuple[int, int, int], image_size: int | None) -> Part:
    def decode_row(row: np.int64) -> NDArray[np.uint8]:
        path = Path(listing.root, listing.files[row])
        image = decode(path, shape[2], image_size)
        _check_size(path, image.shape[:2], shape[:2])
        return image

    def read(rows: NDArray[np.int64]) -> Iterator[NDArray[np.uint8]]:
        images = in_order(decode_row, rows)
        while group := list(islice(images, batch_length(shape))):
            yield np.stack(group)

    return Part(listing.labels, shape, read)


def in_order(function: Callable[..., T], items: Iterable[object]) -> Iterator[T]:
    """Yield function(item) for each item in order, computed by a few threads that never run far ahead.

    An exception of `function` is raised at its item; items that have not been started are then dropped.
    """
    threads = min(8, os.cpu_count() or 1)
    remaining = iter(items)
    with ThreadPoolExecutor(threads) as pool:
        window: deque[Future[T]] = deque(pool.submit(function, item) for item in islice(remaining, 4 * threads))
        try:
            while window:
                yield window.popleft().result()
                window.extend(pool.submit(function, item) for item in islice(remaining, 1))
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


@dataclass(frozen=True)
class Header:
    """Size (height, width) of the upright image, and whether it is grey."""

    size: tuple[int, int]
    grey: bool


@contextmanager
def refusing_giant_images() -> Iterator[None]:
    """Turn Pillow's warning of an image with suspiciously many pixels into an error, in all threads.

    Enter it in the main thread, around all reading, as warning filters apply to the whole process.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def read_header(path: Path) -> Header:
    """Return size and kind of the image without decoding its pixels.

    Raises:
        UserError: it cannot be read or is not an image.
    """
    with _opened(path) as image:
        # Pillow decodes a whole PNG to look for EXIF data after the pixels; decode() still turns such an image.
        orientation = 1 if image.format == "PNG" and "exif" not in image.info else image.getexif().get(_ORIENTATION, 1)
        if orientation not in _TRANSPOSED:
            return Header((image.height, image.width), image.mode in _GREY_MODES)
    # Pillow gives the upright size of some formats before decoding and of others after it: decode, opened afresh.
    with _opened(path) as image:
        upright = ImageOps.exif_transpose(image)
        return Header((upright.height, upright.width), image.mode in _GREY_MODES)


def decode(path: Path, channels: int, image_size: int | None) -> NDArray[np.uint8]:
    """Return the pixels uint8 [H, W, C]: upright by EXIF, transparency on white.

    Args:
        channels: 1 for grey or 3 for colour.
        image_size: side in pixels of the square to which the image is resized and cropped; None keeps its size.

    Raises:
        UserError: the file cannot be read, is cut off, or is not an image of 8 or 16 bits.
    """
    with _opened(path) as stored:
        image = _in_8_bits(ImageOps.exif_transpose(stored), stored.format, path)
        if image.has_transparency_data:
            white = Image.new("RGBA", image.size, "white")
            image = Image.alpha_composite(white, image.convert("RGBA"))
        image = image.convert("L" if channels == 1 else "RGB")
        if image_size is not None:
            image = resize_and_crop(image, image_size)
        return np.asarray(image).reshape(image.height, image.width, channels)


def _in_8_bits(image: Image.Image, kind: str | None, path: Path) -> Image.Image:
    if image.mode.startswith("I;16") or (image.mode == "I" and kind in ("PNG", "PPM")):  # 0 to 65535
        return Image.fromarray(np.rint(np.asarray(image) / 257).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise UserError(f"{path} has 32-bit pixels, whose range is unknown: convert it to 8 or 16 bits")
    return image


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """Open an image; turn the many errors that Pillow raises for damaged files into a UserError that names the file."""
    try:
        # Opened as a stream: given a path, Pillow maps uncompressed files into memory and scrambles rotated TIFFs.
        with path.open("rb") as stream, Image.open(stream, formats=_FORMATS) as image:
            yield image
    except UserError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise UserError(f"{path} has too many pixels for a photograph: remove it or make it smaller") from None
    except OSError as error:
        if error.errno is not None:
            raise UserError(f"{path} cannot be read ({error.strerror}): check it") from None
        raise _damaged(path) from error
    except Exception as error:
        raise _damaged(path) from error


def _damaged(path: Path) -> UserError:
    return UserError(f"{path} is cut off or not an image: remove or replace it")
