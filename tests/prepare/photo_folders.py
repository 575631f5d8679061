"""Folders of photos to find splits and classes in, and the source that is opened from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from nofrost.config import DatasetSpec
from nofrost.prepare.sources import SourceData, open_source, resolve_source

PIXELS = np.random.default_rng(0).integers(0, 256, (99, 6, 5, 3), dtype=np.uint8)


def images(*files: str) -> None:
    """Make these images, and text in those that do not end like one."""
    for number, file in enumerate(files):
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        if file.endswith(".png"):
            Image.fromarray(PIXELS[number]).save(file)
        else:
            Path(file).write_text("x")


def splits(*names: str) -> None:
    for name in names:
        images(*(f"{name}/{label}/{number}.png" for label in ("cat", "dog") for number in range(3)))


def opened(path: str = ".", **options: Any) -> SourceData:
    return open_source(resolve_source(DatasetSpec(source="folder", path=path, **options)))
