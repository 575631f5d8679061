"""WebDataset shards as a source: those of the `webdataset` package, those as published, and those with faults."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nofrost.config import DatasetSpec
from nofrost.errors import UserError
from nofrost.prepare.sources import SourceData, open_source, resolve_source
from nofrost.prepare.sources.webdataset_names import expanded
from tests.prepare.jpegs import jpeg, tar, write

Members = list[tuple[str, bytes]]


def opened(path: Path, **options: Any) -> SourceData:
    return open_source(resolve_source(DatasetSpec(source="webdataset", path=str(path), **options)))


def record(number: int, label: int | None = None) -> Members:
    return [(f"k{number}.jpg", jpeg(number)), (f"k{number}.cls", str(number % 2 if label is None else label).encode())]


def shard(path: Path, numbers: range) -> Path:
    return write(path, tar([each for number in numbers for each in record(number)]))


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """A folder as timm/imagenet-1k-wds is: jpg, cls and json, train and validation beside each other."""
    for split, first, tars in (("train", 0, 3), ("validation", 100, 1)):
        for number in range(tars):
            rows = range(first + 4 * number, first + 4 * number + 4)
            facts = [(f"n0{row}_{row}.json", json.dumps({"label": row % 2, "width": 20}).encode()) for row in rows]
            members = [(name.replace("k", f"n0{row}_"), data) for row in rows for name, data in record(row)]
            paired = [each for row in range(4) for each in (*members[2 * row : 2 * row + 2], facts[row])]
            write(tmp_path / "in" / f"imagenet1k-{split}-{number:04d}.tar", tar(paired))
    return tmp_path / "in"


def test_published_shards_are_read_in_order_with_their_own_test_split(published: Path) -> None:
    source = opened(published)
    assert source.test is not None
    assert source.train.labels.tolist() == [0, 1] * 6
    assert source.test.labels.tolist() == [0, 1] * 2
    assert source.classes == ("0", "1")
    assert source.train.images is not None
    for row in (0, 5, 11):
        with source.train.images(row).open() as stream:
            assert stream.read() == jpeg(row)
    assert source.remarks == ()


@pytest.mark.parametrize(
    ("path", "splits", "counts"),
    [
        ("", ("imagenet1k-train-{0000..0001}.tar", "imagenet1k-train-{0002..0002}.tar"), (8, 4)),
        ("", ("imagenet1k-train-{0000..0002}.tar",), (12, None)),
        ("imagenet1k-train-{0001..0002}.tar", None, (8, None)),
        ("imagenet1k-train-0000.tar", None, (4, None)),
    ],
)
def test_shards_are_named_by_folder_file_or_pattern(
    published: Path, path: str, splits: tuple[str, ...] | None, counts: tuple[int, int | None]
) -> None:
    source = opened(published / path, splits=splits)
    assert len(source.train.labels) == counts[0]
    assert (None if source.test is None else len(source.test.labels)) == counts[1]


def test_splits_may_be_folders_of_shards(tmp_path: Path) -> None:
    shard(tmp_path / "train" / "0.tar", range(6))
    shard(tmp_path / "test" / "0.tar", range(6, 10))
    source = opened(tmp_path)
    assert source.test is not None
    assert (len(source.train.labels), len(source.test.labels)) == (6, 4)


def test_classes_are_named_by_a_file_or_as_those_of_imagenet(tmp_path: Path) -> None:
    shard(tmp_path / "in" / "0.tar", range(4))
    (tmp_path / "names.txt").write_text("cat\n\nkleiner Fuchs\n")
    assert opened(tmp_path / "in", class_names=str(tmp_path / "names.txt")).classes == ("cat", "kleiner Fuchs")
    classes = opened(tmp_path / "in", class_names="imagenet-1k").classes
    assert (classes[0], len(classes)) == ("n01440764", 1000)
    (tmp_path / "names.txt").write_text("cat\ncat\n")
    with pytest.raises(UserError, match=r"names\.txt names 'cat' twice"):
        opened(tmp_path / "in", class_names=str(tmp_path / "names.txt"))


def test_members_of_other_kinds_are_counted(tmp_path: Path) -> None:
    members = [*record(0), ("k0.txt", b"a cat"), *record(1), ("k1.seg.png", b"x"), ("README", b"x")]
    write(tmp_path / "0.tar", tar(members))
    assert opened(tmp_path).remarks == ("3 members of other kinds are left out: 1 .txt, 1 .seg.png, 1 no suffix",)


FAULTS: dict[str, tuple[Callable[[], Members], str]] = {
    "no label": (lambda: [*record(0), ("k1.jpg", jpeg(1))], "the record 'k1' has no label"),
    "no image": (lambda: [*record(0), ("k1.cls", b"1")], "the record 'k1' has no image"),
    "two images": (lambda: [("k1.png", jpeg(1)), *record(1)], r"'k1' has 2 images \(png, jpg\)"),
    "two labels": (lambda: [*record(1), ("k1.json", b'{"label": 0}')], r"'k1' has the labels \[0, 1\]"),
    "a key twice": (lambda: [*record(0), *record(1), *record(0)], "holds the key 'k0' twice"),
    "a key twice in a row": (lambda: [*record(0), *record(0)], r"'k0' has 2 images"),
    "a word as label": (lambda: [("k1.jpg", jpeg(1)), ("k1.cls", b"cat")], "has no label in its .cls"),
    "a fraction as label": (lambda: [("k1.jpg", jpeg(1)), ("k1.json", b'{"label": 1.5}')], "has no label in its .json"),
    "nested JSON": (lambda: [("k1.jpg", jpeg(1)), ("k1.json", b"[" * 9000)], "has no label in its .json"),
    "a negative label": (lambda: [("k1.jpg", jpeg(1)), ("k1.cls", b"-1")], "has no label in its .cls"),
    "a label far too high": (lambda: [*record(0), *record(1, 99999)], "a record has label 99999: all classes present"),
    "a path that leads out": (lambda: [("../k1.jpg", jpeg(1)), *record(0)], "'../k1.jpg', a path that leads out"),
    "nothing": (lambda: [("README", b"x")], "holds no records"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_shard_with_a_fault_is_refused_in_one_sentence(tmp_path: Path, fault: str) -> None:
    make, reason = FAULTS[fault]
    write(tmp_path / "in" / "a.tar", tar(make()))
    with pytest.raises(UserError, match=rf"a\.tar.*{reason}") as error:
        opened(tmp_path / "in")
    assert "\n" not in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_a_shard_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    content = shard(tmp_path / "a.tar", range(4)).read_bytes()
    write(tmp_path / "b.tar", content)
    with pytest.raises(UserError, match=r"a\.tar: k\d\.jpg and .*b\.tar: k\d\.jpg have one key"):
        opened(tmp_path)


def test_a_shard_missing_between_others_is_named(published: Path) -> None:
    (published / "imagenet1k-train-0001.tar").unlink()
    with pytest.raises(UserError, match=r"imagenet1k-train-0001\.tar is missing between its neighbours"):
        opened(published)
    with pytest.raises(UserError, match=r"imagenet1k-train-0001\.tar is missing: fetch it"):
        opened(published / "imagenet1k-train-{0000..0002}.tar")


def test_shards_may_be_numbered_by_their_first_record(tmp_path: Path) -> None:
    for first in (0, 4, 8):
        shard(tmp_path / f"{first:06d}.tar", range(first, first + 4))
    assert len(opened(tmp_path).train.labels) == 12


def test_shards_of_unclear_splits_are_refused(published: Path) -> None:
    shard(published / "more.tar", range(50, 54))
    with pytest.raises(UserError, match=r"holds more\.tar, whose name does not say .* dataset\.splits"):
        opened(published)


@pytest.mark.parametrize("pattern", ["../a.tar", "/a.tar", "a-{9..0}.tar", "a-{0..999999999}.tar", "a.zip"])
def test_patterns_of_no_shards_are_refused(tmp_path: Path, pattern: str) -> None:
    with pytest.raises(UserError, match=r"pattern"):
        opened(tmp_path, splits=(pattern,))


def test_patterns_stand_for_the_names_of_their_ranges() -> None:
    assert expanded("a-{08..11}.tar") == ["a-08.tar", "a-09.tar", "a-10.tar", "a-11.tar"]
    assert expanded("{0..1}/{9..10}.tar") == ["0/9.tar", "0/10.tar", "1/9.tar", "1/10.tar"]
    assert expanded("a.tar") == ["a.tar"]


def test_shards_of_the_webdataset_package_are_read(tmp_path: Path) -> None:
    webdataset = pytest.importorskip("webdataset", reason="needs the package webdataset")
    pixels = np.random.default_rng(0).integers(0, 256, (6, 16, 20, 3), dtype=np.uint8)
    with webdataset.ShardWriter(f"file:{tmp_path}/x-%02d.tar", maxcount=4, verbose=0) as writer:
        for number, image in enumerate(pixels):
            writer.write({"__key__": f"a/{number:03d}", "png": Image.fromarray(image), "cls": number % 3})
    source = opened(tmp_path)
    assert source.train.labels.tolist() == [0, 1, 2, 0, 1, 2]
    array = opened(tmp_path, image_size=16, storage="array")
    assert next(iter(array.train.read(np.arange(6)))).shape == (6, 16, 16, 3)
