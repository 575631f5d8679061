"""Commands that read a changed file of data: images, arrays, archives, outputs of stages, objects of a store."""

from __future__ import annotations

import gzip
import hashlib
import io
import random
import shutil
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.faults import mutations
from tests.faults.mutations import Change

# Outputs of all stages, tiny ones; see test_fuzz.py.
World = Path


def images(folder: Path) -> None:
    """Write class folders with pictures in six formats."""
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    for name in ("cat", "dog"):
        (folder / name).mkdir(parents=True)
        for suffix in ("png", "jpg", "bmp", "tiff", "webp", "ppm"):
            Image.fromarray(pixels).save(folder / name / f"one.{suffix}")


def idx(array: np.ndarray) -> bytes:
    head = bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
    return head + array.astype(np.uint8).tobytes()


def archive(chance: random.Random) -> bytes:
    """Return an archive with the names of CIFAR-10's files, packed in some way."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=chance.choice(("w:gz", "w:xz", "w:bz2", "w"))) as tar:
        for name in ("data_batch_1", "batches.meta", "../evil", "test_batch"):
            member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            member.size = 100
            tar.addfile(member, io.BytesIO(bytes(100)))
    return buffer.getvalue()


def unchanged(content: bytes, chance: random.Random) -> bytes:
    return content


def changed(folder: Path, name: str, content: bytes | str, chance: random.Random, *changes: Change) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(chance.choice(changes)(content.encode() if isinstance(content, str) else content, chance))
    return path


def a_copy(original: Path, folder: Path, chance: random.Random, changes: dict[str, tuple[Change, ...]]) -> Path:
    """Copy a folder of the world and change one of its files."""
    copy = folder / "input"
    shutil.copytree(original, copy)
    paths = sorted(path for path in copy.rglob("*") if path.suffix in changes)
    # what nothing reads need not be changed often
    read = [
        path for path in paths if path.stem in ("best", "manifest", "metrics", "images", "labels", "flags", "record")
    ]
    path = chance.choice(read if chance.random() < 0.9 else paths)
    changed(path.parent, path.name, path.read_bytes(), chance, *changes[path.suffix])
    return copy


def npz(world: World, folder: Path, chance: random.Random) -> list[Any]:
    buffer = io.BytesIO()
    numbers = np.random.default_rng(0).integers(0, 256, (24, 8, 8, 3))
    np.savez_compressed(buffer, images=numbers.astype(np.uint8), labels=np.arange(24) % 2)
    path = changed(folder, "mine.npz", buffer.getvalue(), chance, mutations.of_members, mutations.of_bytes)
    return ["prepare", "--source", "npz", "--path", path, "--out", "out"]


def idx_files(world: World, folder: Path, chance: random.Random) -> list[Any]:
    files = {
        "train-images-idx3-ubyte": idx(np.arange(24 * 64).reshape(24, 8, 8) % 256),
        "train-labels-idx1-ubyte": idx(np.arange(24) % 2),
    }
    wrong = chance.choice(sorted(files))
    for name, content in files.items():
        change = mutations.of_bytes if name == wrong else unchanged
        path = changed(folder / "in", name, content, chance, change)
        if chance.random() < 0.5:
            path.write_bytes(gzip.compress(path.read_bytes()))
            path = path.rename(path.with_name(f"{name}.gz"))
            changed(path.parent, path.name, path.read_bytes(), chance, change, unchanged, unchanged)
    return ["prepare", "--source", "idx", "--path", "in", "--out", "out"]


def cifar10(world: World, folder: Path, chance: random.Random) -> list[Any]:
    path = changed(folder, "cifar-10-python.tar.gz", archive(chance), chance, mutations.of_bytes)
    return ["prepare", "--source", "cifar10", "--path", path, "--out", "out"]


def photos(world: World, folder: Path, chance: random.Random) -> list[Any]:
    images(folder / "photos")
    path = chance.choice(sorted((folder / "photos").rglob("one.*")))
    changed(path.parent, path.name, path.read_bytes(), chance, mutations.of_bytes)
    return ["prepare", "--source", "folder", "--path", "photos", "--image-size", "8", "--out", "out"]


def checkpoint(world: World, folder: Path, chance: random.Random) -> list[Any]:
    tensors = (mutations.of_tensors, mutations.of_bytes)
    changes = {".json": (mutations.of_json, mutations.of_text), ".safetensors": tensors}
    copy = a_copy(world / "runs/st/seed-0/train", folder, chance, changes)
    if chance.random() < 0.4:
        return ["models", "show", copy]
    suite = world / "adversarial.yaml"
    return ["evaluate", "--suite", suite, "--dataset", world / "dataset", "--checkpoint", copy, "--out", "out"]


def manifest(world: World, folder: Path, chance: random.Random) -> list[Any]:
    changes = {".json": (mutations.of_json, mutations.of_text), ".npy": (mutations.of_array, mutations.of_bytes)}
    copy = a_copy(world / "dataset", folder, chance, changes)
    if chance.random() < 0.5:
        return ["augment", "--dataset", copy, "--set", "methods=[tda]", "--out", "out"]
    checkpoint = world / "runs/st/seed-0/train"
    return ["evaluate", "--suite", world / "ood.yaml", "--dataset", copy, "--checkpoint", checkpoint, "--out", "out"]


def listing(world: World, folder: Path, chance: random.Random) -> list[Any]:
    """A store's list of the files of a folder, under the address that the changed list has."""
    shutil.copytree(world / "store", folder / "store")
    original = next((world / "store").rglob("*.dir"))
    content = chance.choice((mutations.of_json, mutations.of_text, mutations.of_bytes))(original.read_bytes(), chance)
    md5 = hashlib.md5(content).hexdigest()
    path = folder / "store/files/md5" / md5[:2] / f"{md5[2:]}.dir"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    if chance.random() < 0.6:
        return ["store", "pull", f"out@{md5}.dir", "--store", "store"]
    return ["store", chance.choice(("ls", "verify")), f"{md5}.dir", "--store", "store"]


def dvc_configuration(world: World, folder: Path, chance: random.Random) -> list[Any]:
    text = (
        "[core]\n    remote = mine\n    analytics = false\n['remote \"mine\"']\n    url = store\n"
        "['remote \"other\"']\n    url = s3://bucket/prefix\n    endpointurl = http://localhost:1\n"
    )
    (folder / "dvc.yaml").touch()
    changed(folder / ".dvc", "config", text, chance, mutations.of_text, mutations.of_bytes)
    return ["store", "ls"]


def results(world: World, folder: Path, chance: random.Random) -> list[Any]:
    changes = {".json": (mutations.of_json, mutations.of_text), ".npz": (mutations.of_members, mutations.of_bytes)}
    if chance.random() < 0.7:
        copy = a_copy(world / "runs/st/seed-0/evaluate-adversarial/quick", folder, chance, changes)
        return ["card", copy, "--name", "A model", "--authors", "A. One"]
    copy = a_copy(world / "runs", folder, chance, changes)
    study = world / "params.yaml"
    return ["report", "--study", study, "--dataset", world / "dataset", "--runs", copy, "--out", "out"]


def candidate(world: World, folder: Path, chance: random.Random) -> list[Any]:
    shutil.copytree(world / "store", folder / "store")
    path = next((folder / "store").rglob("a-run.yaml"))
    changed(path.parent, path.name, path.read_bytes(), chance, mutations.of_text, mutations.of_bytes)
    (folder / "dvc.yaml").write_text("stages: {}\n")
    (folder / ".dvc").mkdir()
    return ["promote", *chance.choice((["show"], [])), "a-run", "--store", "store"]
