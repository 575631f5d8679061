from __future__ import annotations

import io
import os
import pickle
import struct
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nofrost.config import DatasetSpec
from nofrost.data import read_manifest, read_split
from nofrost.errors import UserError
from nofrost.prepare import run
from nofrost.prepare.sources import cifar, open_source, resolve_source

ARCHIVE, FOLDER = "cifar-10-python.tar.gz", "cifar-10-batches-py"
TRAIN_FILES = [f"data_batch_{number}" for number in range(1, 6)]
NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def text(value: str) -> bytes:
    return b"U" + bytes([len(value)]) + value.encode()  # Python 2's str


def batch(images: np.ndarray, **labels: np.ndarray) -> bytes:
    """Return a pickle as Python 2 and the NumPy of its time wrote it: protocol 2, byte strings, old module names."""
    data = images.tobytes()
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + text("b") + b"\x87R"
    dtype = (
        b"cnumpy\ndtype\n"
        + text("u1")
        + b"K\x00K\x01\x87R(K\x03"
        + text("|")
        + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    )
    shape = b"J" + struct.pack("<i", len(images)) + b"M\x00\x0c\x86"
    state = b"(K\x01" + shape + dtype + b"\x89T" + struct.pack("<I", len(data)) + data + b"tb"
    lists = [
        text(key) + b"](" + b"".join(b"K" + bytes([label]) for label in each) + b"e" for key, each in labels.items()
    ]
    return b"\x80\x02}(" + b"".join(lists) + text("data") + array + state + b"u."


def meta(**names: Sequence[str]) -> bytes:
    lists = [text(key) + b"](" + b"".join(map(text, each)) + b"e" for key, each in names.items()]
    return b"\x80\x02}(" + b"".join(lists) + b"u."


@pytest.fixture
def published(tmp_path: Path, take_for_published: Callable[..., None]) -> Path:
    """A folder like the published one with 20 images a batch, their checksums taken for the published ones."""
    folder = tmp_path / "source" / FOLDER
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    for name in (*TRAIN_FILES, "test_batch"):
        images = random.integers(0, 256, (20, 3072), dtype=np.uint8)
        (folder / name).write_bytes(batch(images, labels=random.permutation(np.arange(20) % 10)))
    (folder / "batches.meta").write_bytes(meta(label_names=NAMES))
    take_for_published("cifar10", folder)
    return folder


@pytest.fixture
def cifar100(tmp_path: Path, take_for_published: Callable[..., None]) -> Path:
    """A folder like that of CIFAR-100: 100 and 20 images of 4 fine and 2 coarse classes."""
    folder = tmp_path / "source" / "cifar-100-python"
    folder.mkdir(parents=True)
    random = np.random.default_rng(1)
    for name, count in (("train", 100), ("test", 20)):
        fine = random.permutation(np.arange(count) % 4)
        images = random.integers(0, 256, (count, 3072), dtype=np.uint8)
        (folder / name).write_bytes(batch(images, fine_labels=fine, coarse_labels=fine // 2))
    names = {"fine_label_names": ["apple", "pear", "bee", "wasp"], "coarse_label_names": ["fruit", "insects"]}
    (folder / "meta").write_bytes(meta(**names))
    take_for_published("cifar100", folder)
    return folder


def archived(folder: Path) -> Path:
    path = folder.parent / ARCHIVE
    with tarfile.open(path, "w:gz") as archive:
        archive.add(folder, folder.name)
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    return path


@pytest.mark.parametrize("form", ["folder", "folder above", "archive", "archive's folder"])
def test_every_form_is_found_and_gives_the_same_images(published: Path, tmp_path: Path, form: str) -> None:
    batches = [pickle.loads((published / name).read_bytes(), encoding="latin1") for name in TRAIN_FILES]  # noqa: S301
    path = {"folder": published, "folder above": published.parent}.get(form)
    if path is None:
        archive = archived(published)
        path = archive if form == "archive" else archive.parent
    run(DatasetSpec(source="cifar10", path=str(path)), tmp_path / "out")
    images = np.concatenate([values["data"] for values in batches]).reshape(-1, 3, 32, 32)
    labels = np.concatenate([values["labels"] for values in batches])
    seen = []
    for name in ("train", "selection"):
        split = read_split(tmp_path / "out", name)
        np.testing.assert_array_equal(split.images.transpose(0, 3, 1, 2), images[split.indices])
        np.testing.assert_array_equal(split.labels, labels[split.indices])
        seen += split.indices.tolist()
    assert sorted(seen) == list(range(100))
    assert read_split(tmp_path / "out", "test").indices.tolist() == list(range(20))
    assert read_manifest(tmp_path / "out").classes == NAMES


def test_an_archive_is_not_unpacked(published: Path, tmp_path: Path) -> None:
    archive = archived(published)
    before = set(tmp_path.rglob("*"))
    open_source(resolve_source(DatasetSpec(source="cifar10", path=str(archive))))
    assert set(tmp_path.rglob("*")) == before


def test_members_that_reach_outside_are_not_followed(published: Path) -> None:
    secret = published.parent / "secret"
    secret.write_bytes((published / "data_batch_1").read_bytes())
    (published / "data_batch_1").unlink()
    (published / "data_batch_1").symlink_to(secret)
    with pytest.raises(UserError, match="data_batch_1 is missing"):
        open_source(resolve_source(DatasetSpec(source="cifar10", path=str(archived(published)))))


def test_a_changed_file_is_refused_by_its_checksum(published: Path) -> None:
    file = published / "data_batch_3"
    file.write_bytes(file.read_bytes()[:-1] + b"!")
    with pytest.raises(UserError, match=r"data_batch_3 .* is not the published file \(its MD5 differs\)"):
        open_source(resolve_source(DatasetSpec(source="cifar10", path=str(published))))


def test_a_missing_file_is_named(published: Path) -> None:
    (published / "test_batch").unlink()
    with pytest.raises(UserError, match="test_batch is missing"):
        open_source(resolve_source(DatasetSpec(source="cifar10", path=str(published))))


@pytest.mark.parametrize("content", [b"", b"not an archive", None])
def test_a_cut_off_archive_is_named(published: Path, content: bytes | None) -> None:
    archive = archived(published)
    whole = archive.read_bytes()
    archive.write_bytes(whole[: len(whole) // 2] if content is None else content)
    with pytest.raises(UserError, match=r"cifar-10-python\.tar\.gz is cut off or not an archive \(.+\): download"):
        open_source(resolve_source(DatasetSpec(source="cifar10", path=str(archive))))


class Attack:
    """Calls a function with an argument when it is unpickled."""

    def __init__(self, function: Any, argument: Any) -> None:
        self.call = function, (argument,)

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("function", [os.mkdir, Path, eval, np.load], ids=lambda function: function.__name__)
@pytest.mark.parametrize("protocol", range(6))
def test_a_malicious_batch_is_refused_and_not_run(
    published: Path, tmp_path: Path, take_for_published: Callable[..., None], function: Any, protocol: int
) -> None:
    target = str(tmp_path / "run") if function is not eval else f"__import__('os').mkdir({str(tmp_path / 'run')!r})"
    content = pickle.dumps({"data": Attack(function, target), "labels": []}, protocol)
    (published / "data_batch_1").write_bytes(content)
    take_for_published("cifar10", published)
    with pytest.raises(UserError, match="it is not a published file"):
        open_source(resolve_source(DatasetSpec(source="cifar10", path=str(published))))
    assert not (tmp_path / "run").exists()


def test_an_oversized_member_is_not_read(published: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cifar.Cifar10, "largest_member", 1000)
    with pytest.raises(UserError, match="data_batch_1 is missing"):
        open_source(resolve_source(DatasetSpec(source="cifar10", path=str(archived(published)))))


def test_a_member_that_is_no_file_is_skipped(published: Path) -> None:
    archive = archived(published)
    with tarfile.open(archive) as old:
        members = [(member, old.extractfile(member).read()) for member in old if member.isfile()]  # type: ignore[union-attr]
    with tarfile.open(archive, "w:gz") as new:
        pipe = tarfile.TarInfo("cifar-10-batches-py/data_batch_1")
        pipe.type = tarfile.FIFOTYPE
        new.addfile(pipe)
        for member, content in members:
            new.addfile(member, io.BytesIO(content))
    assert len(open_source(resolve_source(DatasetSpec(source="cifar10", path=str(archive)))).train.labels) == 100


@pytest.mark.parametrize(
    ("labels", "classes"), [("fine", ("apple", "pear", "bee", "wasp")), ("coarse", ("fruit", "insects"))]
)
def test_cifar100_has_the_labels_that_are_asked_for(cifar100: Path, labels: str, classes: tuple[str, ...]) -> None:
    data = open_source(resolve_source(DatasetSpec(source="cifar100", path=str(cifar100), labels=labels)))  # type: ignore[call-arg]
    content = pickle.loads((cifar100 / "train").read_bytes(), encoding="latin1")  # noqa: S301
    assert data.classes == classes
    assert data.test is not None
    assert data.train.labels.tolist() == content[f"{labels}_labels"]
    assert (len(data.train.labels), len(data.test.labels)) == (100, 20)
    images = np.concatenate(list(data.train.read(np.array([0, 7, 99]))))
    np.testing.assert_array_equal(images.transpose(0, 3, 1, 2).reshape(3, -1), content["data"][[0, 7, 99]])
