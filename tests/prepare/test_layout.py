"""Which folders are splits and which are classes, whatever they are called: never a wrong guess without a word."""

from __future__ import annotations

from pathlib import Path

import pytest

from nofrost.config import DatasetSpec
from nofrost.data import read_split
from nofrost.errors import UserError
from nofrost.prepare import run
from tests.prepare.photo_folders import images, opened, splits

pytestmark = pytest.mark.usefixtures("_in_an_empty_folder")


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
        (["test", "valid"], ["test looks like a split", "'splits=[valid,test]'"]),
        (["train", "test", "extra"], ["test looks like a split", "beside it: extra", "'splits=[train,test]'"]),
        (["train", "unlabelled"], ["train looks like a split", "'splits=[train,unlabelled]'"]),
        (["my_train", "my_test"], ["my_test looks like a split", "my_train to train and my_test to test"]),
        (["my train", "my test"], ["my test looks like a split", """'splits=["my train","my test"]'"""]),
        (["train2017", "val2017"], ["train2017 looks like a split", "val2017 to test"]),
        (["TrainSet", "TestSet"], ["TestSet looks like a split"]),
        (["trainval", "test_images"], ["looks like a split"]),
        (["trian", "test"], ["test looks like a split", "trian to train"]),
        (
            ["training_set/training_set", "test_set/test_set"],
            ["'splits=[training_set/training_set,test_set/test_set]'"],
        ),
        (["train", "val", "test", "xray/train", "xray/test"], ["beside it: val, xray", "'splits=[train,test]'"]),
        *(
            (
                [train, test],
                ["the same folders (cat, dog)", f"{train} to train and {test} to test", f"[{train},{test}]"],
            )
            for train, test in (("trn", "tst"), ("tr", "te"), ("TRN", "holdout"), ("tr", "va"), ("Trian", "tset"))
        ),
        (["tr", "va", "te"], ["the same folders (cat, dog)", "'splits=[tr,te]'"]),
        (["fold1", "fold2"], ["the same folders (cat, dog)", "'splits=[TRAIN,TEST]'", "'splits=[]'"]),
        (["amazon", "dslr", "webcam"], ["amazon, dslr, webcam in . have the same folders", "'splits=[]'"]),
        (["train", "training"], ["both train and training"]),
        (["train", "test", "Test"], ["both Test and test"]),
        (["train", "val", "dev"], ["both dev and val"]),
        (["photos/train", "photos/test"], ["only photos holds images", "dataset.path to photos", "test, train"]),
        (["dataset"], ["only dataset holds images", "dataset.path to dataset", "cat, dog"]),
        (["a/b/c"], ["only a/b/c holds images", "dataset.path to a/b/c"]),
        (
            ["train/images", "test/images"],
            ["only images holds images", "'splits=[train/images,test/images]'", "cat, dog"],
        ),
        (["a/b/train", "a/b/val", "c/d/e"], ["a/b holds train and val", "set dataset.path to a/b"]),
        (["train/train", "train/val", "test"], ["train/train looks like a split", "'splits=[train/train,train/val]'"]),
        (["train/old/train", "train/old/test", "test/old"], ["train/old holds test and train"]),
    ],
)
def test_what_may_be_splits_is_never_taken_for_classes(names: list[str], words: list[str]) -> None:
    splits(*names)
    with pytest.raises(UserError) as error:
        opened()
    assert [word for word in words if word not in str(error.value)] == []


@pytest.mark.parametrize(
    ("files", "words"),
    [
        # datasets of object detection
        (["train/images/0.png", "train/labels/0.txt", "test/images/0.png"], ["in train only images", "no", "labels"]),
        (["images/train/0.png", "images/val/0.png", "labels/train/0.txt"], ["path to images", "for each class"]),
        (["images/0.png", "labels/0.txt"], ["in . only images holds images", "a folder for each class"]),
        (["JPEGImages/0.png", "Annotations/0.xml", "ImageSets/a.txt"], ["in . only JPEGImages holds images"]),
        (["train2017/0.png", "val2017/0.png", "annotations/a.json"], ["train2017 looks", "for each class"]),
        # splits inside the classes
        (["cat/train/0.png", "cat/test/0.png", "dog/train/0.png"], ["(cat/test, cat/train, dog/train)", "train/dog)"]),
        (["cat/train/0.png", "dog/test/0.png"], ["hold splits (cat/train, dog/test)", "(train/cat, test/dog)"]),
        # of Kaggle
        (["train/cat.0.png", "test1/0.png"], ["test1 looks like a split", "with a folder for each class"]),
        (["train/cat.0.png", "test/0.png"], ["train holds no class folders"]),
        (["images/1.a/0.png", "images/2.b/0.png", "parts/a.txt"], ["only images holds images", "path to images"]),
        (["s_train/s_train/a/0.png", "s_train/s_train/b/0.png", "s_test/s_test/a/0.png", "s_test/s_test/b/0.png",
          "s_pred/0.png"], ["beside it: s_pred", "'splits=[s_train/s_train,s_test/s_test]'"]),
        # a test split without labels
        (["train/a/0.png", "train/b/0.png", "test/0.png"], ["no class folders", "classes a, b", "'splits=[train]'"]),
        (["train/a/0.png", "train/b/0.png", "valid/a/0.png", "valid/b/0.png", "test/x/0.png"],
         ["the folders x", "classes a, b", "'splits=[train,valid]'"]),
        (["train/a/images/0.png", "train/b/images/0.png", "val/images/0.png", "test/images/0.png"],
         ["the folders images", "'splits=[train]'"]),
        # other
        (["cat/0.png"], ["one class (cat)"]),
        (["cat/a/0.png", "cat/b/0.png"], ["only cat holds images", "path to cat"]),
        (["cat/0.png", "dog/0.txt"], ["class folder dog holds no images"]),
        (["train/Cat/0.png", "train/dog/0.png", "test/cat/0.png", "test/dog/0.png"], ["'Cat' is in train", "'cat'"]),
        (["train/a/0.png", "train/b/0.png", "val/a/0.png", "val/b/0.png", "test/0.txt"], ["test holds no images"]),
        (["0.png"], [". holds no class folders"]),
        ([".cat/0.png", ".dog/0.png"], [". holds no class folders"]),
        (["cat/2019/0.png", "cat/2020/0.png", "dog/2019/0.png", "dog/2020/0.png"], ["the same", "'splits=[]'"]),
    ],
)  # fmt: skip
def test_other_layouts_are_refused_with_what_was_seen_and_what_to_do(files: list[str], words: list[str]) -> None:
    images(*files)
    with pytest.raises(UserError) as error:
        opened()
    assert [word for word in words if word not in str(error.value)] == []


@pytest.mark.parametrize("names", [["train", "test"], ["Train", "VAL"], ["train"]])
def test_folders_without_images_beside_the_splits_are_left_out(names: list[str]) -> None:
    splits(*names)
    images("annotations/0.xml", "unlabeled/deep/0.txt", "Training/train.py")
    Path("docs").mkdir()
    source = opened()
    assert source.classes == ("cat", "dog")
    assert (source.test is not None) == (len(names) > 1)
    assert source.remarks == ("Training, annotations, docs, unlabeled beside the splits: left out, no images in there",)


@pytest.mark.parametrize(("link", "target"), [("docs/all", "."), ("docs/one", "one"), ("docs/two", "gone")])
def test_links_in_what_is_left_out_may_lead_in_circles_and_nowhere(link: str, target: str) -> None:
    splits("train", "test")
    Path("docs").mkdir()
    Path(link).symlink_to(target)
    assert opened().remarks == ("docs beside the splits: left out, no images in there",)


def test_a_split_without_images_that_is_not_used_is_left_out() -> None:
    splits("train", "test")
    Path("val").mkdir()
    assert opened().remarks == ("val beside the splits: left out, no images in there",)


@pytest.mark.parametrize(
    ("given", "classes", "counts", "left_out"),
    [
        (("trn", "tst"), ("cat", "dog"), (6, 6), ["odd, val"]),
        (("tst", "val"), ("cat", "dog"), (6, 6), ["odd, trn"]),
        (("odd/inside", "tst"), ("cat", "dog"), (6, 6), ["trn, val"]),
        (("trn",), ("cat", "dog"), (6, None), ["odd, tst, val"]),
        ((), ("odd", "trn", "tst", "val"), (24, None), []),
    ],
)
def test_the_user_may_say_which_folders_are_splits(
    given: tuple[str, ...], classes: tuple[str, ...], counts: tuple[int, int | None], left_out: list[str]
) -> None:
    splits("trn", "tst", "val", "odd/inside")
    source = opened(splits=given)
    assert source.classes == classes
    assert (len(source.train.labels), source.test and len(source.test.labels)) == counts
    assert [text.partition(" beside")[0] for text in source.remarks] == left_out


@pytest.mark.parametrize(
    ("given", "word"),
    [
        (("gone", "tst"), "'gone'"),
        (("/etc", "tst"), "'/etc'"),
        (("../photos", "tst"), "'../photos'"),
        (("", "tst"), "''"),
        (("trn", "trn"), "not apart"),
        (("trn", "trn/cat"), "not apart"),
        (("trn", "tst", "val"), "splits"),
        (("file", "tst"), "'file'"),
        (("trn\0", "tst"), "trn"),
    ],
)
def test_splits_that_are_not_there_are_refused(given: tuple[str, ...], word: str) -> None:
    splits("trn", "tst", "val")
    Path("file").write_text("")
    with pytest.raises(UserError, match=word):
        opened(splits=given)


def test_an_archive_is_named_as_one() -> None:
    Path("photos.zip").write_bytes(b"PK")
    with pytest.raises(UserError, match=r"photos\.zip is a file: unpack it"):
        opened("photos.zip")


def test_a_flat_test_folder_beside_classes_is_no_class() -> None:
    images("cat/0.png", "dog/0.png", "test/0.png")
    with pytest.raises(UserError, match="test looks like a split"):
        opened()


@pytest.mark.parametrize(
    "files",
    [
        ["car/0.png", "train/0.png"],
        ["train station/2019/0.png", "train station/2020/0.png", "port/2019/0.png"],
        ["cat/images/0.png", "test tubes/images/0.png"],
        ["cat/train/0.png", "dog/0.png"],
        ["cat/train/0.png", "dog/train/0.png"],
        ["tr/0.png", "te/0.png"],
        ["cat/2019/0.png", "cat/2020/0.png", "dog/2021/0.png", "dog/2022/0.png"],
        ["0/0.png", "10/0.png", "2/3/0.png"],
    ],
)
def test_classes_may_be_called_almost_like_splits(files: list[str]) -> None:
    images(*files)
    assert opened().classes == tuple(sorted({file.split("/")[0] for file in files}))
