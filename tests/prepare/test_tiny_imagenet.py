"""Tiny ImageNet, from small copies of its layout."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nofrost.config import DatasetSpec
from nofrost.data import read_manifest, read_split
from nofrost.errors import UserError
from nofrost.prepare import run
from nofrost.prepare.sources import open_source, published_source, resolve_source

WORDNET_IDS = ("n02124075", "n01443537", "n04067472")  # not sorted, as in the published list
COLOURS = ((250, 0, 0), (0, 250, 0), (0, 0, 250))


def paint(path: Path, label: int, shade: int, mode: str = "RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    colour = tuple(value * (10 + shade) // 20 for value in COLOURS[label])
    Image.new("RGB", (64, 64), colour).convert(mode).save(path, "JPEG", quality=95)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three classes of five training images; six validation images, of which one is grey."""
    root = tmp_path / "in" / "tiny-imagenet-200"
    for label, name in enumerate(WORDNET_IDS):
        for number in range(5):
            paint(root / "train" / name / "images" / f"{name}_{number}.JPEG", label, number)
        (root / "train" / name / f"{name}_boxes.txt").write_text("")
    lines = []
    for number, label in enumerate((2, 1, 0, 0, 1, 2)):
        paint(root / "val" / "images" / f"val_{number}.JPEG", label, number, "L" if number == 3 else "RGB")
        lines.append(f"val_{number}.JPEG\t{WORDNET_IDS[label]}\t0\t0\t62\t62\n")
    (root / "val" / "val_annotations.txt").write_text("".join(lines))
    (root / "wnids.txt").write_text("\n".join(WORDNET_IDS))
    (root / "words.txt").write_text("n01443537\tgoldfish, Carassius auratus\n")
    paint(root / "test" / "images" / "test_0.JPEG", 0, 0)
    card = published_source.load_card("tiny-imagenet").model_copy(update={"images": {"train": 15, "validation": 6}})
    monkeypatch.setattr(published_source, "load_card", lambda name: card)
    return root


def zipped(folder: Path, monkeypatch: pytest.MonkeyPatch, take_for_published: Callable[..., None]) -> Path:
    archive = folder.parent / "tiny-imagenet-200.zip"
    with zipfile.ZipFile(archive, "w") as target:
        for path in sorted(folder.rglob("*")):
            target.write(path, path.relative_to(folder.parent))
    card = published_source.load_card("tiny-imagenet")
    take_for_published("tiny-imagenet", folder.parent)
    changed = published_source.load_card("tiny-imagenet").model_copy(update={"images": card.images})
    monkeypatch.setattr(published_source, "load_card", lambda name: changed)
    return archive


def spec(path: Path, **options: Any) -> DatasetSpec:
    return DatasetSpec.model_validate({"source": "tiny-imagenet", "path": str(path), **options})


@pytest.mark.parametrize("form", ["folder", "folder above", "zip"])
def test_every_form_gives_the_same_images_with_the_labels_of_the_lists(
    folder: Path, tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch, take_for_published: Callable[..., None]
) -> None:
    path = {"folder": folder, "folder above": folder.parent}.get(form)
    run(spec(path or zipped(folder, monkeypatch, take_for_published)), tmp_path / "out")
    manifest = read_manifest(tmp_path / "out")
    assert manifest.classes == WORDNET_IDS
    assert (manifest.image_size, manifest.channels) == ((64, 64), 3)
    assert ("tiny-imagenet-200.zip" in manifest.provenance) == (form == "zip")
    counts = {"train": 12, "selection": 3, "test": 6}
    for name, count in counts.items():
        split = read_split(tmp_path / "out", name)
        assert len(split) == count
        means = split.images.reshape(count, -1, 3).mean(1)
        colourful = np.ptp(means, axis=1) > 20
        assert colourful.sum() == count - (name == "test")
        np.testing.assert_array_equal(means.argmax(1)[colourful], split.labels[colourful])


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "no such folder": (lambda root: root.rename(root.parent / "other"), "holds no such thing: expected there is tiny-"),
    "a class is missing": (
        lambda root: (root / "train" / WORDNET_IDS[1]).rename(root / "gone"), "no images of class n01443537"
    ),
    "a class too many": (lambda root: (root / "train" / "n09999999").mkdir(), "train holds n09999999, which wnids"),
    "an image is missing": (
        lambda root: (root / "train" / WORDNET_IDS[0] / "images" / f"{WORDNET_IDS[0]}_3.JPEG").unlink(),
        "holds 14 train images, the published dataset 15",
    ),
    "an image is cut": (
        lambda root: _cut(root / "train" / WORDNET_IDS[0] / "images" / f"{WORDNET_IDS[0]}_3.JPEG"),
        "n02124075_3.JPEG cannot be decoded|n02124075_3.JPEG is cut off",
    ),
    "a validation image is missing": (
        lambda root: (root / "val" / "images" / "val_4.JPEG").unlink(), "line 5 of val/val_annotations.txt names no im"
    ),
    "a class of nothing": (
        lambda root: (root / "wnids.txt").write_text("\n".join(WORDNET_IDS[:2])), "train holds n04067472, which wnids"
    ),
    "another folder of validation images": (
        lambda root: (root / "val" / "images").rename(root / "val" / "n01443537"), "holds no val/images: leave the"
    ),
    "no text": (lambda root: (root / "wnids.txt").write_bytes(b"\xff\xfe"), "wnids.txt is not text"),
}  # fmt: skip


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:400])


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_one_sentence(folder: Path, tmp_path: Path, fault: str) -> None:
    damage, message = FAULTS[fault]
    damage(folder)
    with pytest.raises(UserError, match=message) as error:
        run(spec(folder.parent), tmp_path / "out")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_another_zip_is_refused_by_its_checksum(
    folder: Path, monkeypatch: pytest.MonkeyPatch, take_for_published: Callable[..., None]
) -> None:
    archive = zipped(folder, monkeypatch, take_for_published)
    archive.write_bytes(archive.read_bytes() + b"x")
    with pytest.raises(UserError, match=r"tiny-imagenet-200\.zip is not the published file \(its MD5 differs\)"):
        open_source(resolve_source(spec(archive)))
