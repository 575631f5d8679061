"""Images and archives that are damaged, encrypted or made to fill memory end in one sentence with the true reason."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import re
import resource
import struct
import subprocess
import sys
import tarfile
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from nofrost.config import DatasetSpec
from nofrost.errors import UserError
from nofrost.prepare import run

LABELS = np.arange(12) % 3
IMAGES = np.random.default_rng(0).integers(0, 256, (12, 5, 4), dtype=np.uint8)


def npy(array: np.ndarray) -> bytes:
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()


def header(shape: tuple[int, ...], descr: str = "|u1") -> bytes:
    content = io.BytesIO()
    np.lib.format.write_array_header_1_0(content, {"descr": descr, "fortran_order": False, "shape": shape})
    return content.getvalue()


def archive(images: bytes, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", method) as target:
        target.writestr("images.npy", images)
        target.writestr("labels.npy", npy(LABELS))
    return content.getvalue()


def patched(content: bytes, offsets: tuple[int, int], change: Callable[[int], int]) -> bytes:
    """Change a 16-bit field of each member: its offset in the local header and in the central directory."""
    result = bytearray(content)
    for magic, offset in zip((b"PK\x03\x04", b"PK\x01\x02"), offsets, strict=True):
        for match in re.finditer(re.escape(magic), content):
            at = match.start() + offset
            struct.pack_into("<H", result, at, change(struct.unpack_from("<H", result, at)[0]))
    return bytes(result)


def flipped(content: bytes, at: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 0xFF]) + content[at + 1 :]


NPZ = {
    "encrypted": (lambda: patched(archive(npy(IMAGES)), (6, 8), lambda flags: flags | 1), "encrypted"),
    "unknown method": (lambda: patched(archive(npy(IMAGES)), (8, 10), lambda _: 97), "compression"),
    "a flipped byte": (lambda: flipped(archive(npy(IMAGES), zipfile.ZIP_STORED), 200), "CRC|header"),
    "a damaged lzma": (lambda: flipped(archive(npy(IMAGES), zipfile.ZIP_LZMA), 120), "images|Bad|Corrupt|damaged"),
    "a damaged bzip2": (lambda: flipped(archive(npy(IMAGES), zipfile.ZIP_BZIP2), 120), "images|Invalid|cut off"),
    "too few values": (lambda: archive(npy(IMAGES)[:-1]), "images has 239 bytes, its header says 240"),
    "too many values": (lambda: archive(npy(IMAGES) + b"x"), "images has 241 bytes, its header says 240"),
    "a header that says terabytes": (lambda: archive(header((10**6, 1000, 1000))), "has 0 bytes, its header says"),
    "a header without an end": (lambda: archive(b"\x93NUMPY\x02\x00" + struct.pack("<I", 10**9) + b" " * 99), "EOF"),
    "a header of an open bracket": (
        lambda: archive(b"\x93NUMPY\x01\x00" + struct.pack("<H", 64) + b"{(".ljust(63) + b"\n"),
        "the header of an array cannot be read",
    ),
    "a negative shape": (lambda: archive(header((-1, 5, 4)) + bytes(240)), "not a .npz file of plain arrays"),
    "an object": (lambda: archive(npy(np.array([{}, None]))), "Python objects"),
    "records": (lambda: archive(npy(np.zeros(12, "u1,u1"))), "Python objects or records"),
    "durations": (lambda: archive(npy(IMAGES.astype("m8[s]"))), "images is timedelta64"),
    "no dimension": (lambda: archive(npy(np.uint8(3))), r"has shape \(\)"),
    "an image of gigabytes": (lambda: archive(header((1, 50_000, 50_000))), "images has 0 bytes"),
}  # fmt: skip


@pytest.mark.parametrize("fault", NPZ)
def test_an_npz_file_with_a_fault_is_refused_with_its_reason(tmp_path: Path, fault: str) -> None:
    make, reason = NPZ[fault]
    file = tmp_path / "data.npz"
    file.write_bytes(make())
    refused("npz", file, rf"data\.npz.*({reason})")


def refused(source: str, path: Path, reason: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(UserError, match=reason) as error:
            run(DatasetSpec(source=source, path=str(path)), path.parent.parent / "out")
        assert tracemalloc.get_traced_memory()[1] < 100_000_000
    finally:
        tracemalloc.stop()
    assert "\n" not in str(error.value)
    assert not (path.parent.parent / "out").exists()


def test_an_npz_file_that_expands_to_gigabytes_is_refused_before_it_is_read(tmp_path: Path) -> None:
    content = bytearray(archive(header((300, 2000, 2000)) + bytes(10**6)))
    # the size as the list of the archive states it
    struct.pack_into("<I", content, content.index(b"PK\x01\x02") + 24, 1_200_000_128)
    file = tmp_path / "data.npz"
    file.write_bytes(content)
    refused("npz", file, "images would expand from .* bytes to 1,200,000,128")


def test_a_gzipped_idx_file_that_expands_to_gigabytes_is_refused_before_it_is_read(tmp_path: Path) -> None:
    content = struct.pack(">HBB3I", 0, 8, 3, 10**6, 100, 200)
    (tmp_path / "in").mkdir()
    (tmp_path / "in/train-images-idx3-ubyte.gz").write_bytes(gzip.compress(content + bytes(10**6)))
    (tmp_path / "in/train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(content))
    refused("idx", tmp_path / "in", r"train-images.* would expand from .* bytes to 20,000,000,016")


@pytest.mark.parametrize("change", [lambda file: flipped(file, 150), lambda file: file[:-6], lambda file: file + b"x"])
def test_a_damaged_gzip_is_named(tmp_path: Path, change: Callable[[bytes], bytes]) -> None:
    (tmp_path / "in").mkdir()
    for kind, array in (("images-idx3", IMAGES), ("labels-idx1", LABELS.astype(np.uint8))):
        content = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()
        (tmp_path / f"in/train-{kind}-ubyte.gz").write_bytes(gzip.compress(content))
    file = tmp_path / "in/train-images-idx3-ubyte.gz"
    file.write_bytes(change(file.read_bytes()))
    refused("idx", tmp_path / "in", r"train-images-idx3-ubyte\.gz is cut off or not gzip \(")


def tar(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as target:
        for member, data in members:
            target.addfile(member, io.BytesIO(data))
    return content.getvalue()


def member(name: str, size: int = 0, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = size, kind, link
    return info


ONE = tar((member("cifar-10-batches-py/data_batch_1", 5000), os.urandom(5000)))
SPECIAL = tar(
    (member("../data_batch_1", kind=tarfile.CHRTYPE), b""), (member("data_batch_2", kind=tarfile.FIFOTYPE), b""),
    (member("data_batch_3", kind=tarfile.SYMTYPE, link="/etc/passwd"), b""),
    (member("data_batch_4", kind=tarfile.LNKTYPE, link="../../etc/passwd"), b""),
    (member("/tmp/test_batch", 3), b"abc"),
)  # fmt: skip
ARCHIVES: dict[str, tuple[Callable[[], bytes], str]] = {
    "a web page": (lambda: b"<html><body>Quota exceeded</body></html>" * 20, "not an archive"),
    "nothing": (lambda: b"", "not an archive .*empty"),
    "damaged gzip": (lambda: flipped(gzip.compress(ONE, 1), 20), "not an archive|not the published file"),
    "damaged xz": (lambda: flipped(lzma.compress(ONE), 200), "not an archive .*Corrupt"),
    "damaged bzip2": (lambda: flipped(bz2.compress(ONE), 200), "not an archive .*[Ii]nvalid"),
    "half of xz": (lambda: lzma.compress(ONE)[:900], "not an archive .*ended"),
    "links and devices": (lambda: gzip.compress(SPECIAL), "data_batch_1 is missing"),
    "other content": (lambda: lzma.compress(ONE), r"data_batch_1 in .* is not the published file"),
    "a member of terabytes": (
        lambda: gzip.compress(member("x", 10**12).tobuf() + bytes(10_000)), "holds more than the published archive"
    ),
    "a header of gigabytes": (
        lambda: gzip.compress(member("x", 8 * 10**9, tarfile.XHDTYPE).tobuf() + bytes(10_000)), "holds more than"
    ),
    "a name of gigabytes": (
        lambda: gzip.compress(member("x", 8 * 10**9, tarfile.GNUTYPE_LONGNAME).tobuf() + bytes(10_000)), "holds more"
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", ARCHIVES)
def test_a_cifar_archive_with_a_fault_is_refused_with_its_reason(tmp_path: Path, fault: str) -> None:
    make, reason = ARCHIVES[fault]
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "cifar-10-python.tar.gz").write_bytes(make())
    refused("cifar10", tmp_path / "in" / "cifar-10-python.tar.gz", reason)


def png(width: int, height: int, data: bytes, chunks: bytes = b"") -> bytes:
    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    size = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunks + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def text_bomb() -> bytes:
    info = PngImagePlugin.PngInfo()
    info.add_text("comment", "v" * 3_000_000, zip=True)
    content = io.BytesIO()
    Image.new("L", (6, 6)).save(content, "PNG", pnginfo=info)
    return content.getvalue()


IMAGE_FAULTS = {
    "60,000 x 60,000": (lambda: png(60_000, 60_000, zlib.compress(b"")), "has too many pixels"),
    "a large text": (text_bomb, "has a text or colour profile that is far too large"),
    "no pixels": (lambda: png(6, 6, b""), "cannot be decoded"),
    "html": (lambda: b"<html>404</html>", "is cut off or not an image of the kinds that are read"),
}


@pytest.mark.parametrize("fault", IMAGE_FAULTS)
def test_an_image_with_a_fault_is_refused_with_its_reason(class_folders: Path, tmp_path: Path, fault: str) -> None:
    make, reason = IMAGE_FAULTS[fault]
    (class_folders / "cat/x.png").write_bytes(make())
    config = DatasetSpec(source="folder", path=str(class_folders), image_size=8)
    with pytest.raises(UserError, match=rf"cat/x\.png {reason}"):
        run(config, tmp_path / "out")


@pytest.mark.parametrize("size", [(1, 1_000_000), (1_000_000, 1)])
def test_a_thin_image_is_resized_in_little_memory(tmp_path: Path, class_folders: Path, size: tuple[int, int]) -> None:
    Image.new("RGB", size, "red").save(class_folders / "cat/x.png")
    arguments = f"DatasetSpec(source='folder', path={str(class_folders)!r}, image_size=128)"
    code = (
        "from pathlib import Path\nfrom nofrost.config import DatasetSpec\n"
        "from nofrost.prepare import run\n"
        f"run({arguments}, Path({str(tmp_path / 'out')!r}))\n"
        "peak = next(line for line in Path('/proc/self/status').open() if line.startswith('VmHWM'))\n"
        "assert int(peak.split()[1]) < 700_000\n"
    )
    limits = (1 << 31, 1 << 31)
    subprocess.run(
        [sys.executable, "-c", code], check=True, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, limits)
    )


@pytest.mark.parametrize("compress", [np.savez, np.savez_compressed])
def test_memory_does_not_grow_with_the_arrays(tmp_path: Path, compress: Callable[..., None]) -> None:
    images = np.random.default_rng(0).integers(0, 256, (700, 256, 256), dtype=np.uint8)
    compress(tmp_path / "data.npz", images=images, labels=np.arange(700) % 2)
    size = images.nbytes
    del images
    tracemalloc.start()
    run(DatasetSpec(source="npz", path=str(tmp_path / "data.npz"), image_size=16), tmp_path / "out")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < size / 2
