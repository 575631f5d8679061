"""`verify` finds every fault of what prepare and augment wrote, and none in what is whole."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nofrost.config import DatasetSpec, EvaluationView, TestSets
from nofrost.data import AugmentationManifest, checksum, read_split, write_augmentation_manifest
from nofrost.data.shards.index import RECORD
from nofrost.data.shards.writer import Photograph, ShardWriter
from nofrost.errors import UserError
from nofrost.files import sha256_file
from nofrost.prepare import run, run_test_sets, shard_splits
from nofrost.verify import verify
from tests.prepare.jpegs import jpeg, member, tar, write

VIEW = EvaluationView(resize=24, crop=16)
FIRST = "train/train-000000.tar"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of photographs in several shards, one of arrays, and augmentation sets of both."""
    root = tmp_path_factory.mktemp("prepared")
    for row, name in enumerate(("cat", "dog")):
        for number in range(12):
            write(root / "in" / name / f"{number:02d}.jpg", jpeg(12 * row + number, (20 + number, 18 + row)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shard_splits, "SHARD_BYTES", 6000)
        run(DatasetSpec(source="folder", path=str(root / "in"), view=VIEW), root / "photographs")
        run(DatasetSpec(limit=60), root / "array")
    augmentation_sets(root / "photographs", root / "photograph-sets")
    augmentation_sets(root / "array", root / "array-sets")
    spec = {"source": "folder", "path": str(root / "in")}
    test_sets = TestSets.model_validate({"test_sets": {"again": spec, "few": {**spec, "limit": 2}}})
    run_test_sets(test_sets, root / "photographs", root / "test-sets")
    return root


def augmentation_sets(dataset: Path, out: Path) -> None:
    images = read_split(dataset, "train").images
    sha256, facts = {}, {}
    if isinstance(images, np.ndarray):
        np.save(write(out / "tda/images.npy", b""), images)
        sha256["tda"] = sha256_file(out / "tda/images.npy")
    else:
        writer = ShardWriter(out / "tda", "tda", shard_bytes=6000)
        for _ in writer.write(Photograph(images.encoded(row), 0, images.decoded(row).size[::-1]) for row in range(8)):
            pass
        facts = {"shards": {"tda": writer.finish()[1]}, "view": VIEW, "channels": 3}
        sha256["tda"] = sha256_file(out / "tda/index.npy")
    count = 8 if facts else len(images)
    manifest = AugmentationManifest.model_validate(
        {"dataset": checksum(dataset), "count": count, "sha256": sha256, "provenance": {}, "config": {}, **facts}
    )
    write_augmentation_manifest(out, manifest)
    shutil.copy(dataset / "record.json", out / "record.json")


@pytest.fixture
def copy(prepared: Path, tmp_path: Path) -> Callable[[str], Path]:
    def make(name: str) -> Path:
        return Path(shutil.copytree(prepared / name, tmp_path / name))

    return make


@pytest.mark.parametrize("name", ["photographs", "array", "photograph-sets", "array-sets", "test-sets"])
def test_what_is_whole_has_no_fault(prepared: Path, name: str) -> None:
    faults = verify(prepared / name)
    assert faults.lines == []
    assert faults.images == {"photographs": 24, "array": 60, "photograph-sets": 8, "test-sets": 26}.get(
        name, len(read_split(prepared / "array", "train"))
    )


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 0xFF
    path.write_bytes(bytes(content))


def renamed(path: Path, old: bytes, new: bytes) -> None:
    """Give a member another name of the same length; its header's checksum is made right again."""
    content = bytearray(path.read_bytes())
    at = content.index(old)
    content[at : at + len(old)] = new
    header = content[at : at + 512]
    header[148:156] = b" " * 8
    content[at + 148 : at + 156] = b"%06o\0 " % sum(header)
    path.write_bytes(bytes(content))


def with_member(path: Path, extra: bytes) -> None:
    path.write_bytes(path.read_bytes()[: -2 * 512] + extra)


def record(folder: Path, row: int) -> np.void:
    return np.load(folder / "train/index.npy")[row]


def change_index(folder: Path, key: str, row: int, value: int) -> None:
    index = np.load(folder / "train/index.npy")
    index[key][row] = value
    np.save(folder / "train/index.npy", index)


def change_numbers(folder: Path, file: str, row: int, value: int) -> None:
    numbers = np.load(folder / file)
    numbers[row] = value
    np.save(folder / file, numbers)


OTHER_MD5 = f"{FIRST}: is damaged or another file: its MD5 is not that of the manifest"
OTHER_INDEX = "train/index.npy: is damaged or another file: its SHA-256 is not that of the manifest"
FAULTS: dict[str, tuple[str, Callable[[Path], object], list[str]]] = {
    "a missing shard": ("photographs", lambda d: (d / FIRST).unlink(), [f"{FIRST}: is missing"]),
    "a surplus file": ("photographs", lambda d: write(d / "train/x.tar", b""), ["train/x.tar: does not belong there"]),
    "a surplus split": (
        "photographs", lambda d: shutil.copytree(d / "train", d / "more"), ["more: does not belong there"]
    ),
    "a link that leads nowhere": (
        "array", lambda d: (d / "train/x.npy").symlink_to("gone"), ["train/x.npy: is a link that leads nowhere"]
    ),
    "one byte of a photograph": (
        "photographs", lambda d: flip(d / FIRST, int(record(d, 1)["offset"]) + 300),
        [OTHER_MD5, "record 000000001: is damaged: its checksum is not that of the index"],
    ),
    "a cut shard": (
        "photographs", lambda d: os.truncate(d / FIRST, int(record(d, 1)["offset"]) + 300),
        [f"{FIRST}: has ", "is cut off or damaged", "000000001 to 000000002: is damaged", "photograph is missing"],
    ),
    "a path that leads out": (
        "photographs", lambda d: renamed(d / FIRST, b"000000001.jpg", b"../000001.jpg"),
        [OTHER_MD5, "'../000001.jpg' is a path that leads out", "record 000000001: its photograph is missing"],
    ),
    "a key twice": (
        "photographs", lambda d: renamed(d / FIRST, b"000000001.cls", b"000000000.cls"),
        ["'000000000.cls' is there twice", "record 000000001: its label is missing"],
    ),
    "a link in a shard": (
        "photographs", lambda d: with_member(d / FIRST, tar([(member("a.jpg", b"2", "/etc/passwd"), b"")])),
        ["'a.jpg' is a link", f"{FIRST}: has "],
    ),
    "a surplus record": (
        "photographs", lambda d: with_member(d / FIRST, tar([("000000999.jpg", jpeg()), ("000000999.cls", b"0")])),
        ["'000000999.jpg' is surplus", "'000000999.cls' is surplus"],
    ),
    "another label in a shard": (
        "photographs", lambda d: flip(d / FIRST, (d / FIRST).read_bytes().index(b"000000001.cls") + 512),
        [OTHER_MD5, "record 000000001: its label is not a number"],
    ),
    "another checksum in the index": (
        "photographs", lambda d: change_index(d, "crc32", 2, 7), [OTHER_INDEX, "record 000000002: is damaged"]
    ),
    "another size in the index": (
        "photographs", lambda d: change_index(d, "width", 2, 7), ["record 000000002: has another size in pixels"]
    ),
    "another place in the index": (
        "photographs", lambda d: change_index(d, "offset", 2, 512),
        ["record 000000002: its photograph is not where the index says", "record 000000002: is damaged"],
    ),
    "an index of another shape": (
        "photographs", lambda d: np.save(d / "train/index.npy", np.zeros(3, RECORD)), ["train/index.npy: holds "]
    ),
    "an index in another order": (
        "photographs", lambda d: np.save(d / "train/index.npy", np.load(d / "train/index.npy")[::-1]),
        ["train/index.npy: its rows are not in the order of the shards"],
    ),
    "a label of another class": (
        "array", lambda d: change_numbers(d, "train/labels.npy", 0, 9 - int(np.load(d / "train/labels.npy")[0])),
        ["train/labels.npy: has ", "train/labels.npy: is damaged"],
    ),
    "a label of no class": (
        "array", lambda d: change_numbers(d, "train/labels.npy", 0, 10), ["has labels that are not from 0 to 9"]
    ),
    "an index twice": (
        "array", lambda d: change_numbers(d, "test/indices.npy", 0, int(np.load(d / "test/indices.npy")[1])),
        ["test/indices.npy: names an image twice"],
    ),
    "an image in two splits": (
        "array", lambda d: change_numbers(d, "selection/indices.npy", 0, int(np.load(d / "train/indices.npy")[0])),
        ["1 images are in train and in selection"],
    ),
    "one pixel": (
        "array", lambda d: flip(d / "train/images.npy", 1000),
        ["train/images.npy: is damaged", "manifest.json: mean is"],
    ),
    "images of another shape": (
        "array", lambda d: np.save(d / "test/images.npy", np.zeros((2, 8, 8, 1), np.uint8)),
        ["test/images.npy: holds uint8 [2, 8, 8, 1], the manifest says"],
    ),
    "no labels": ("array", lambda d: (d / "test/labels.npy").unlink(), ["test/labels.npy: is missing"]),
    "no split": ("array", lambda d: shutil.rmtree(d / "test"), ["test: is missing", "test/images.npy: is missing"]),
    "another mean": (
        "photographs", lambda d: edit(d / "manifest.json", lambda m: m.update(mean=[0.1, 0.2, 0.3])),
        ["manifest.json: mean is 0.1000, 0.2000, 0.3000, of the training images it is"],
    ),
    "another view": (
        "photographs", lambda d: edit(d / "manifest.json", lambda m: m["view"].update(resize=16)),
        ["manifest.json: std is"],
    ),
    "another order of classes": (
        "photographs", lambda d: edit(d / "manifest.json", lambda m: m["classes"].reverse()),
        ["manifest.json: classes are not in the order of their names"],
    ),
    "counts of classes": (
        "photographs",
        lambda d: edit(d / "manifest.json", lambda m: m["splits"]["train"].update(class_counts=[10, 8])),
        ["train/labels.npy: has 9 images of class 'cat', the manifest says 10"],
    ),
    "an MD5 of another shard": (
        "photographs",
        lambda d: edit(d / "manifest.json", lambda m: m["splits"]["train"]["shards"][0].update(md5="0" * 32)),
        [OTHER_MD5],
    ),
    "garbage as record": ("array", lambda d: (d / "record.json").write_text("[garbage"), ["record.json: is not valid"]),
    "a record without keys": ("array", lambda d: (d / "record.json").write_text("{}"), ["record.json: key "]),
    "no record": ("array", lambda d: (d / "record.json").unlink(), ["record.json: is missing"]),
    "other metrics": (
        "array", lambda d: edit(d / "metrics.json", lambda m: m.update(test_images=3)),
        ["metrics.json: test_images is 3, the manifest says 10"],
    ),
    "a damaged augmentation set": (
        "array-sets", lambda d: flip(d / "tda/images.npy", 500), ["tda/images.npy: is damaged or another file"]
    ),
    "a damaged augmented photograph": (
        "photograph-sets", lambda d: flip(d / "tda/tda-000000.tar", 700),
        ["tda/tda-000000.tar: is damaged", "record 000000000: is damaged"],
    ),
    "no augmented photographs": (
        "photograph-sets", lambda d: (d / "tda/tda-000001.tar").unlink(), ["tda/tda-000001.tar: is missing"]
    ),
    "a damaged test set": (
        "test-sets", lambda d: flip(d / "again/test/test-000000.tar", 700),
        ["again/test/test-000000.tar: is damaged", "record 000000000: is damaged"],
    ),
    "a test set that is gone": ("test-sets", lambda d: shutil.rmtree(d / "few"), ["few/manifest.json: is missing"]),
    "a test set too many": (
        "test-sets", lambda d: shutil.copytree(d / "few", d / "more"), ["more: does not belong there"]
    ),
    "a file beside test sets": ("test-sets", lambda d: write(d / "x", b""), ["x: does not belong there"]),
    "a file beside augmentation sets": (
        "array-sets", lambda d: write(d / "x", b""), ["x: does not belong there"]
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found_and_named_in_a_line(copy: Callable[[str], Path], fault: str) -> None:
    name, damage, expected = FAULTS[fault]
    folder = copy(name)
    damage(folder)
    lines = verify(folder).lines
    for text in expected:
        assert any(text in line for line in lines), lines
    assert not any("\n" in line or str(folder) in line for line in lines)


def test_all_of_many_faults_are_found_at_once(copy: Callable[[str], Path]) -> None:
    folder = copy("photographs")
    flip(folder / FIRST, int(record(folder, 0)["offset"]) + 300)
    (folder / "train/train-000001.tar").unlink()
    change_numbers(folder, "test/labels.npy", 0, 7)
    write(folder / "selection/stray", b"")
    (folder / "record.json").write_text("garbage")
    text = "\n".join(verify(folder).lines)
    for place in (FIRST, "train/train-000001.tar", "test/labels.npy", "selection/stray", "record.json"):
        assert place in text


def test_records_that_share_a_fault_share_a_line(copy: Callable[[str], Path]) -> None:
    folder = copy("photographs")
    for row in (0, 1, 2):
        change_index(folder, "crc32", row, 7)
    assert any("records 000000000 to 000000002: is damaged" in line for line in verify(folder).lines)


def test_a_file_that_is_a_link_to_the_same_content_is_no_fault(copy: Callable[[str], Path], tmp_path: Path) -> None:
    folder = copy("array")
    (folder / "train/images.npy").rename(tmp_path / "cached")
    (folder / "train/images.npy").symlink_to(tmp_path / "cached")
    assert verify(folder).lines == []


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "holds no dataset"), ("garbage", "is not valid JSON"), ("{}", "manifest.json")],
)
def test_a_folder_without_a_manifest_is_refused(tmp_path: Path, content: str | None, reason: str) -> None:
    if content is not None:
        (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(UserError, match=reason):
        verify(tmp_path)
