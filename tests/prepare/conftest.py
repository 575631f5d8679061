"""What the tests of prepare share: small sources made on the spot, and the bytes of a folder."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from nofrost.config import DatasetSpec
from nofrost.data.dataset_card import PublishedFile, load_card
from nofrost.prepare import run
from nofrost.prepare.sources import Part, SourceData, published_source
from tests.prepare.jpegs import jpeg, write

Paint = Callable[..., Path]


@pytest.fixture
def paint() -> Paint:
    """Return a function that saves an image of random pixels, of a size (width, height) and a mode."""

    def save(path: Path, size: tuple[int, int] = (12, 10), mode: str = "RGB", **options: object) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        seed = int.from_bytes(hashlib.sha256(path.name.encode()).digest()[:4], "big")
        channels = {"L": (), "LA": (2,), "RGB": (3,), "RGBA": (4,)}[mode]
        pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], *channels), dtype=np.uint8)
        Image.fromarray(pixels, mode=None).save(path, **options)  # type: ignore[arg-type]
        return path

    return save


@pytest.fixture
def take_for_published(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that makes the files in `folders` count as the published ones of a card, by their checksums.

    `images` are the card's numbers of images. The further arguments are taken for fields of each file of the card.
    """

    def own(file: PublishedFile, folders: tuple[Path, ...], fields: dict[str, object]) -> PublishedFile:
        changes: dict[str, object] = {**fields, "members": tuple(own(each, folders, {}) for each in file.members)}
        path = next((folder / file.name for folder in folders if (folder / file.name).is_file()), None)
        if path and file.checksum:
            kind = file.checksum[0]
            changes[kind] = hashlib.new(kind, path.read_bytes()).hexdigest()
        return file.model_copy(update=changes)

    def take(name: str, *folders: Path, images: dict[str, int] | None = None, **fields: object) -> None:
        card = load_card(name)
        files = tuple(own(file, folders, fields) for file in card.files)
        changed = card.model_copy(update={"files": files, "images": images or card.images})
        monkeypatch.setattr(published_source, "load_card", lambda other: changed if other == name else load_card(other))

    return take


@pytest.fixture
def three_classes(tmp_path: Path) -> Path:
    """A dataset of photographs of three of ImageNet's classes: goldfish, great white shark and banana."""
    for name in ("n01443537", "n01484850", "n07753592"):
        for row in range(3):
            write(tmp_path / "three" / name / f"{row}.jpg", jpeg(row))
    spec = {"source": "folder", "path": str(tmp_path / "three"), "view": {"resize": 16, "crop": 12}}
    run(DatasetSpec.model_validate(spec), tmp_path / "dataset")
    return tmp_path / "dataset"


@pytest.fixture
def class_folders(tmp_path: Path, paint: Paint) -> Path:
    """Two classes of five colour images each, 12 pixels wide and 10 high."""
    for name in ("cat", "dog"):
        for number in range(5):
            paint(tmp_path / "source" / name / f"{number}.png")
    return tmp_path / "source"


@pytest.fixture
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in the folder photos, which is empty."""
    (tmp_path / "photos").mkdir()
    monkeypatch.chdir(tmp_path / "photos")


@pytest.fixture
def folder_bytes() -> Callable[[Path], dict[str, str]]:
    """Return a function that gives the SHA-256 of every file of a folder by its relative path."""

    def digests(folder: Path) -> dict[str, str]:
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    return digests


@pytest.fixture(scope="session")
def labelled() -> Callable[..., SourceData]:
    """Return a function that makes a source of 1 x 1 images with these labels."""

    def part(labels: list[int]) -> Part:
        array = np.array(labels, dtype=np.int64)

        def read(rows: NDArray[np.int64]) -> Iterator[NDArray[np.uint8]]:
            yield array[rows].astype(np.uint8).reshape(-1, 1, 1, 1)

        return Part(array, (1, 1, 1), read)

    def make(train: list[int], test: list[int] | None = None) -> SourceData:
        classes = tuple(f"class {label}" for label in range(max(train) + 1))
        return SourceData("made", classes, part(train), part(test) if test else None, "made here", "none", {})

    return make
