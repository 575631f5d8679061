"""Mutated images, folders and archives: prepared rightly, or refused in one sentence, within 2 GB and 10 seconds."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import random
import resource
import shutil
import signal
import struct
import tarfile
import traceback
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nofrost.config import DatasetSpec
from nofrost.data import SPLITS, read_manifest, read_split
from nofrost.data.arrays import read_arrays
from nofrost.errors import UserError
from nofrost.prepare import run

pytestmark = pytest.mark.slow

COUNT = 200
PIXELS = np.random.default_rng(0).integers(0, 256, (24, 8, 8, 3), dtype=np.uint8)
NAMES = (
    "train",
    "test",
    "Val",
    "dev",
    "my_train",
    "cat",
    "dog",
    "images",
    "x.png",
    "new\nline",
    "\x1b[31m",
    "caf\udce9",
)
SUFFIXES = (*(".png",) * 4, ".jpg", ".gif", ".tif", ".webp", ".bmp", ".ppm", ".txt", "")
FORMS = {".jpg": "JPEG", ".gif": "GIF", ".tif": "TIFF", ".webp": "WEBP", ".bmp": "BMP", ".ppm": "PPM"}


def mutated(content: bytes, chance: random.Random, end: int | None = None) -> bytes:
    """Return `content` with a few bytes before `end` flipped, removed, added or exchanged for absurd numbers."""
    result = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 6))):
        at = chance.randrange(min(len(result), end or len(result)) or 1)
        number = struct.pack(chance.choice("<>") + "I", chance.choice((0, 1, 65535, 10**6, 2**31, 2**32 - 1)))
        piece = chance.choice((chance.randbytes(1), b"", chance.randbytes(9), number, b"9" * 9, b"-"))
        result[at : at + chance.choice((0, 1, 4, 30))] = piece
    return bytes(result[: chance.randrange(len(result) + 1)] if chance.random() < 0.1 else result)


def encoded(suffix: str, number: int) -> bytes:
    content = io.BytesIO()
    Image.fromarray(PIXELS[number]).save(content, FORMS.get(suffix, "PNG"))
    return content.getvalue()


def folder(path: Path, chance: random.Random, depth: int = 0) -> None:
    for name in chance.sample(NAMES, chance.randint(2, 4)):
        below = path / name
        below.mkdir(parents=True)
        if depth < 2 and chance.random() < 0.3:
            folder(below, chance, depth + 1)
            continue
        for number in range(chance.randint(3, 5)):
            suffix = chance.choice(SUFFIXES)
            content = encoded(suffix, number)
            (below / f"{number}{suffix}").write_bytes(mutated(content, chance) if chance.random() < 0.02 else content)
        special = chance.random()
        if special < 0.04:
            os.mkfifo(below / "z.png")
        elif special < 0.24:
            target = chance.choice(("..", ".", "gone", "/dev/zero", "../cat", "z.png", "/etc"))
            (below / chance.choice(("z.png", "z"))).symlink_to(target)


def npz(path: Path, chance: random.Random) -> None:
    method = chance.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA))
    images = chance.choice((PIXELS, PIXELS[..., 0], PIXELS / 255, np.asfortranarray(PIXELS), PIXELS.astype("m8[s]")))
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, array in (("images", images), ("labels", np.arange(24) % 2), ("classes", np.array(["a", "b"]))):
            content = io.BytesIO()
            np.save(content, array)
            raw = content.getvalue()
            archive.writestr(f"{name}.npy", mutated(raw, chance, 128) if chance.random() < 0.2 else raw)
    if chance.random() < 0.4:
        path.write_bytes(mutated(path.read_bytes(), chance))


def idx(path: Path, chance: random.Random) -> None:
    path.mkdir()
    for kind, array in (("images-idx3", PIXELS[..., 0]), ("labels-idx1", (np.arange(24) % 2).astype(np.uint8))):
        content = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()
        content = mutated(content, chance, 16) if chance.random() < 0.2 else content
        suffix = chance.choice(("", ".gz"))
        content = gzip.compress(content) if suffix else content
        content = mutated(content, chance) if chance.random() < 0.2 else content
        (path / f"train-{kind}-ubyte{suffix}").write_bytes(content)


def cifar(path: Path, chance: random.Random) -> None:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w", format=chance.choice((0, 1, 2))) as archive:
        for name in ("data_batch_1", "../../outside", "x" * 90, "test_batch"):
            member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            member.type = chance.choice((tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.FIFOTYPE, tarfile.GNUTYPE_SPARSE))
            member.linkname, member.size = "/etc/passwd", 100 if member.type == tarfile.REGTYPE else 0
            archive.addfile(member, io.BytesIO(bytes(100)))
    raw = mutated(content.getvalue(), chance) if chance.random() < 0.5 else content.getvalue()
    raw = chance.choice((bytes, gzip.compress, bz2.compress, lzma.compress))(raw)
    path.write_bytes(mutated(raw, chance) if chance.random() < 0.5 else raw)


def private_bytes() -> int:
    """Return the memory of this process that RLIMIT_DATA limits."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return 1024 * int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmData:")))


def outcome(source: str, path: Path, out: Path, image_size: int | None) -> tuple[int, str]:
    """Return exit code and what a process says that prepares the source: 0 done, 2 refused, 1 anything else."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        # Added to what tests before this one have loaded.
        resource.setrlimit(resource.RLIMIT_DATA, (private_bytes() + (1 << 31),) * 2)
        signal.alarm(10)
        code, text = 0, ""
        try:
            run(DatasetSpec.model_validate({"source": source, "path": str(path), "image_size": image_size}), out)
            for name in SPLITS:
                read_split(out, name, verify=True)
        except UserError as error:
            code, text = 2, str(error)
        except BaseException:
            code, text = 1, traceback.format_exc()
        os.write(writing, text.encode(errors="backslashreplace")[-4000:])
        os._exit(code)
    os.close(writing)
    with open(reading, "rb") as stream:  # noqa: PTH123  a descriptor
        text = stream.read().decode(errors="replace")
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), text


@pytest.mark.parametrize(("source", "make"), [("folder", folder), ("npz", npz), ("idx", idx), ("cifar10", cifar)])
def test_mutated_sources_are_prepared_or_refused(
    tmp_path: Path, source: str, make: Callable[[Path, random.Random], None]
) -> None:
    for number in range(COUNT):
        chance = random.Random(f"{source} {number}")
        work = tmp_path / "work"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        path = work / ("data.npz" if source == "npz" else "cifar-10-python.tar.gz" if source == "cifar10" else "in")
        make(path, chance)
        before = sorted(work.rglob("*"))
        code, text = outcome(source, path, work / "out", chance.choice((None, 12)))
        assert code in (0, 2), f"{source} {number}: exit code {code}, {text}"
        assert (work / "out").exists() == (code == 0)
        if code == 2:
            assert text
            assert "Traceback" not in text
            assert sorted(work.rglob("*")) == before, f"{source} {number} left something behind"


def test_mutated_manifests_and_arrays_are_read_or_refused(tmp_path: Path) -> None:
    run(DatasetSpec(limit=60), tmp_path / "data")
    np.savez_compressed(tmp_path / "arrays.npz", first=np.arange(99), second=np.ones(3))
    files = [tmp_path / "data/manifest.json", *sorted((tmp_path / "data/train").iterdir()), tmp_path / "arrays.npz"]
    whole = {file: file.read_bytes() for file in files}
    values = (None, [], {}, "", -1, 0, 10**30, 1e308, True, "\ud800", [[]], {"a": 1})
    refused = 0
    for number in range(4 * COUNT):
        chance = random.Random(number)
        file = chance.choice(files)
        if file.suffix == ".json" and chance.random() < 0.7:
            manifest = json.loads(whole[file])
            owner = chance.choice((manifest, manifest["splits"], manifest["splits"]["train"]))
            owner[chance.choice(sorted(owner))] = chance.choice(values)
            file.write_text(json.dumps(manifest))
        else:
            file.write_bytes(mutated(whole[file], chance, 128))
        try:
            read_manifest(tmp_path / "data")
            for name in SPLITS:
                read_split(tmp_path / "data", name, verify=True)
            read_arrays(tmp_path / "arrays.npz")
        except UserError:
            refused += 1
        finally:
            file.write_bytes(whole[file])
    assert refused > COUNT
