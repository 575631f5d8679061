"""Which files are the images of the classes, wherever links lead, and what is said of all others."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nofrost.config import DatasetSpec
from nofrost.data import read_manifest
from nofrost.errors import UserError
from nofrost.prepare import run
from tests.prepare.photo_folders import PIXELS, images, opened, splits

pytestmark = pytest.mark.usefixtures("_in_an_empty_folder")


def test_links_to_folders_are_followed_wherever_they_lead(tmp_path: Path) -> None:
    images("cat/0.png", "../elsewhere/1.png", "../elsewhere/deep/2.png", "../dogs/0.png")
    Path("cat/more").symlink_to(tmp_path / "elsewhere")
    Path("dog").symlink_to("../dogs")
    source = opened()
    assert source.train.labels.tolist() == [0, 0, 0, 1]


@pytest.mark.parametrize(
    ("link", "target", "words"),
    [
        ("cat/loop", "..", ["cat/loop", "again"]),
        ("cat/self", ".", ["cat/self", "again"]),
        ("cat/other", "../dog", ["again"]),
        ("fox", "cat", ["fox", "again"]),
        ("fox", "gone", ["fox is a link that leads nowhere"]),
        ("cat/fox", "gone", ["cat/fox is a link that leads nowhere"]),
        ("cat/fox", "fox", ["cat/fox is a link that leads nowhere"]),
        ("cat/9.png", "gone.png", ["cannot read cat/9.png"]),
        ("cat/9.png", "/dev/zero", ["cat/9.png is a device"]),
    ],
)
def test_links_that_loop_repeat_or_lead_nowhere_are_named(link: str, target: str, words: list[str]) -> None:
    images("cat/0.png", "dog/0.png")
    Path(link).symlink_to(target)
    with pytest.raises(UserError) as error:
        opened()
    assert all(word in str(error.value) for word in words)


def test_the_test_split_may_not_be_the_training_split_by_a_link() -> None:
    splits("train")
    Path("test").symlink_to("train")
    with pytest.raises(UserError, match="again"):
        opened()


def test_a_pipe_among_images_is_named() -> None:
    images("cat/0.png", "dog/0.png")
    os.mkfifo("cat/1.png")
    with pytest.raises(UserError, match=r"cat/1\.png is a named pipe"):
        opened()


def test_files_that_are_left_out_are_counted_by_suffix() -> None:
    images("cat/0.png", "dog/0.png", "3.png", "4.png")
    for name in ("cat/a.heic", "cat/b.HEIC", "dog/c.txt", "dog/README", "dog/.hidden", "notes.md"):
        Path(name).write_bytes(b"x")
    assert opened().remarks == (
        "4 files are left out, not named like an image: 2 .heic, 1 .txt, 1 no suffix",
        "2 images are left out, beside the class folders and not in one",
    )


def test_what_systems_add_is_ignored() -> None:
    splits("train", "test")
    images("__MACOSX/train/cat/._0.png", "train/.DS_Store", "test/cat/Thumbs.db", "test/dog/desktop.ini")
    source = opened()
    assert (source.classes, source.remarks) == (("cat", "dog"), ())


@pytest.mark.parametrize("suffix", [".gif", ".jfif"])
def test_images_of_less_usual_names_are_read(suffix: str) -> None:
    images("cat/0.png", "dog/0.png")
    for number in (1, 2):
        form = {".gif": "GIF", ".jfif": "JPEG"}[suffix]
        Image.fromarray(PIXELS[number]).save(f"cat/{number}{suffix}", format=form)
    source = opened()
    assert source.train.labels.tolist() == [0, 0, 0, 1]
    assert source.remarks == ()
    read = np.concatenate(list(source.train.read(np.arange(4))))
    with Image.open(f"cat/1{suffix}") as expected:
        np.testing.assert_array_equal(read[1], np.asarray(expected.convert("RGB")))


@pytest.mark.parametrize("name", [b"caf\xe9", "\udc80x".encode(errors="surrogateescape")])
def test_names_that_are_not_utf_8_are_refused_with_escapes(name: bytes) -> None:
    images("dog/0.png", "cat/0.png")
    Path("cat").rename(os.fsdecode(name))
    with pytest.raises(UserError, match=r"name '.*\\udc..+' of a class or file is not UTF-8"):
        opened()


def test_the_name_of_the_folder_must_be_utf_8_too(tmp_path: Path) -> None:
    images("dog/0.png", "cat/0.png")
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    (tmp_path / "photos").rename(folder)
    with pytest.raises(UserError, match="is not UTF-8"):
        opened(str(folder))


def test_names_of_classes_reach_the_manifest_as_they_are(tmp_path: Path) -> None:
    names = ["a|b", "<b>&x", "new\nline", "日本 語"]
    images(*(f"{name}/{number}.png" for name in names for number in range(3)))
    run(DatasetSpec(source="folder", path="."), tmp_path / "out")
    assert read_manifest(tmp_path / "out").classes == tuple(sorted(names))
