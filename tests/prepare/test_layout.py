"""Which folders are splits and which are classes, whatever they are called: never a wrong guess without a word."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nofrost.config import DatasetSpec
from nofrost.data import read_manifest, read_split
from nofrost.errors import UserError
from nofrost.prepare import run
from nofrost.prepare.sources import SourceData, open_source, resolve_source

PIXELS = np.random.default_rng(0).integers(0, 256, (99, 6, 5, 3), dtype=np.uint8)


def images(*files: str) -> None:
    for number, file in enumerate(files):
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(PIXELS[number]).save(file)


def splits(*names: str) -> None:
    for name in names:
        images(*(f"{name}/{label}/{number}.png" for label in ("cat", "dog") for number in range(3)))


def opened(path: str = ".") -> SourceData:
    return open_source(resolve_source(DatasetSpec(source="folder", path=path)))


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "photos").mkdir()
    monkeypatch.chdir(tmp_path / "photos")


@pytest.mark.parametrize(
    ("names", "test", "unused"),
    [
        (["train", "test"], "test", []),
        (["Train", "TEST"], "TEST", []),
        (["training", "testing"], "testing", []),
        *((["train", name], name, []) for name in ("val", "Valid", "validation", "dev", "eval")),
        (["train", "val", "test"], "test", ["val"]),
        (["TRAIN", "valid", "Testing", "dev"], "Testing", ["dev", "valid"]),
        (["train"], None, []),
    ],
)
def test_splits_are_known_by_their_usual_names(names: list[str], test: str | None, unused: list[str]) -> None:
    splits(*names)
    source = opened()
    assert source.classes == ("cat", "dog")
    assert (len(source.train.labels), source.test and len(source.test.labels)) == (6, test and 6)
    assert source.origin == "class folders of photos" + (f", test split {test}" if test else "")
    assert [text.split()[2] for text in source.remarks] == unused


def test_a_split_that_is_not_used_is_said_on_standard_error(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    splits("train", "val", "test")
    run(DatasetSpec(source="folder", path="."), tmp_path / "out")
    lines = [line for line in capsys.readouterr().err.splitlines() if "left out" in line]
    assert len(lines) == 1
    assert lines[0].startswith("prepare: the split val is left out")
    assert len(read_split(tmp_path / "out", "test")) == 6


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["test", "valid"], ["test looks like a split"]),
        (["train", "test", "extra"], ["test looks like a split"]),
        (["train", "unlabelled"], ["train looks like a split", "beside them are unlabelled"]),
        (["my_train", "my_test"], ["my_test looks like a split"]),
        (["train2017", "val2017"], ["train2017 looks like a split"]),
        (["TrainSet", "TestSet"], ["TestSet looks like a split"]),
        (["trainval", "test_images"], ["looks like a split"]),
        (["train", "training"], ["both train and training"]),
        (["train", "test", "Test"], ["both Test and test"]),
        (["train", "val", "dev"], ["both dev and val"]),
        (["photos/train", "photos/test"], ["photos holds test and train"]),
        (["a/b/train", "a/b/val", "c/d/e"], ["a/b holds train and val"]),
        (["train/train", "train/val", "test"], ["train looks like a split"]),
        (["train/old/train", "train/old/test", "test/old"], ["train/old holds test and train"]),
    ],
)
def test_what_may_be_splits_is_never_taken_for_classes(names: list[str], words: list[str]) -> None:
    splits(*names)
    with pytest.raises(UserError) as error:
        opened()
    assert all(word in str(error.value) for word in words)


def test_splits_inside_the_classes_are_refused() -> None:
    images(*(f"{label}/{split}/0.png" for label in ("cat", "dog") for split in ("train", "test")))
    with pytest.raises(UserError, match="cat holds test and train, which look like splits"):
        opened()


def test_a_flat_test_folder_beside_classes_is_no_class() -> None:
    images("cat/0.png", "dog/0.png", "test/0.png")
    with pytest.raises(UserError, match="test looks like a split"):
        opened()


def test_equal_folders_in_every_class_are_said() -> None:
    splits("fold1", "fold2")
    source = opened()
    assert source.classes == ("fold1", "fold2")
    assert source.remarks[0].startswith("the classes are fold1, fold2; the folders in each of them (cat, dog) are not")


@pytest.mark.parametrize(
    "files",
    [
        ["car/0.png", "train/0.png"],
        ["train station/2019/0.png", "train station/2020/0.png", "port/2019/0.png"],
        ["cat/images/0.png", "test tubes/images/0.png"],
        ["cat/train/0.png", "dog/0.png"],
    ],
)
def test_classes_may_be_called_almost_like_splits(files: list[str]) -> None:
    images(*files)
    assert opened().classes == tuple(sorted({file.split("/")[0] for file in files}))


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
        ("cat/9.png", "gone.png", ["cat/9.png cannot be read"]),
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


def test_what_macos_adds_to_archives_is_ignored() -> None:
    splits("train", "test")
    images("__MACOSX/train/cat/._0.png")
    assert opened().classes == ("cat", "dog")


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
