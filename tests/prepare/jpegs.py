"""Small photographs as JPEGs, and tars of them, for the tests of sources that keep photographs as they are."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image


def jpeg(
    seed: int = 0, size: tuple[int, int] = (20, 16), mode: str = "RGB", kind: str = "JPEG", **options: object
) -> bytes:
    """Return an image file of coarse random pixels; `size` is width and height."""
    channels = {"L": (), "RGB": (3,), "CMYK": (4,), "RGBA": (4,)}[mode]
    pixels = np.random.default_rng(seed).integers(0, 256, (4, 5, *channels), dtype=np.uint8)
    content = io.BytesIO()
    Image.fromarray(pixels, mode=mode).resize(size).save(content, kind, **options)
    return content.getvalue()


def turned_jpeg(seed: int = 0, orientation: int = 6, kind: str = "JPEG") -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return jpeg(seed, kind=kind, exif=exif)


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def tar(members: Iterable[tuple[str | tarfile.TarInfo, bytes]], form: int = tarfile.USTAR_FORMAT) -> bytes:
    """Return a tar of these members: name, or more about it, and content."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w", format=form) as target:
        for info, data in members:
            if isinstance(info, str):
                info = member(info)
            info.size = len(data)
            target.addfile(info, io.BytesIO(data))
    return content.getvalue()


def write(path: Path, content: bytes) -> Path:
    """Write a file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path
