"""Images in tars: where they lie, and everything that is refused because it could lead astray."""

from __future__ import annotations

import gzip
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nofrost.errors import UserError
from nofrost.prepare.sources.tars import TarImage, TarMember, read_bytes, tar_members
from tests.prepare.jpegs import member, tar

LONG = "folder/" * 40 + "x.jpg"


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_the_bytes_of_every_member_are_found_by_position(tmp_path: Path, form: int) -> None:
    contents = {"a.jpg": b"x" * 700, "sub/é.cls": b"1", "empty": b""}
    if form != tarfile.USTAR_FORMAT:
        contents[LONG] = b"long"
    path = tmp_path / "a.tar"
    path.write_bytes(tar([(member("sub", tarfile.DIRTYPE), b""), *contents.items()], form))
    found = list(tar_members(path))
    assert {each.name: read_bytes(path, each.offset, each.size) for each in found} == contents
    assert str(TarImage(path, found[0].offset, found[0].size)) == f"{path}: a.jpg"


def test_a_tar_inside_of_a_tar_is_read_where_it_lies(tmp_path: Path) -> None:
    path = tmp_path / "outer.tar"
    path.write_bytes(tar([("one.tar", tar([("a", b"1"), ("b", b"22")])), ("two.tar", tar([("c", b"333")]))]))
    inner = [each for outer in tar_members(path) for each in tar_members(path, outer.offset, outer.size)]
    assert [(each.name, read_bytes(path, each.offset, each.size)) for each in inner] == [
        ("a", b"1"), ("b", b"22"), ("c", b"333"),
    ]  # fmt: skip


GOOD = tar([("a.jpg", bytes(3000)), ("a.cls", b"0"), ("b.jpg", bytes(3000))])
FAULTS: dict[str, tuple[Callable[[], bytes], str]] = {
    "parent": (lambda: tar([("a/../../b.jpg", b"x")]), "'a/../../b.jpg', a path that leads out of the archive"),
    "absolute": (lambda: tar([("/tmp/b.jpg", b"x")]), "'/tmp/b.jpg', a path that leads out"),
    "symbolic link": (lambda: tar([(member("a.jpg", tarfile.SYMTYPE, "/etc/passwd"), b"")]), "which is a link"),
    "hard link": (lambda: tar([(member("a.jpg", tarfile.LNKTYPE, "b.jpg"), b"")]), "which is a link"),
    "device": (lambda: tar([(member("a.jpg", tarfile.CHRTYPE), b"")]), "which is not a file"),
    "gzip": (lambda: gzip.compress(GOOD), "is compressed by gzip, .*: unpack it"),
    "web page": (lambda: b"<html>404</html>" * 100, "is cut off or not a tar archive"),
    "nothing": (lambda: b"", "is cut off or not a tar archive"),
    "without its end": (lambda: GOOD[: 512 + 3072 + 1024], "is cut off or damaged at byte 4,608"),
    "half a member": (lambda: GOOD[:2000], "is cut off or not a tar archive"),
    "a damaged header": (lambda: GOOD[:3600] + b"\xff" * 20 + GOOD[3620:], "is cut off or damaged at byte 3,584"),
    "a name of gigabytes": (
        lambda: member_of(8 * 10**9, tarfile.GNUTYPE_LONGNAME) + bytes(5000), "holds a name of 8,000,000,000 bytes"
    ),
}  # fmt: skip


def member_of(size: int, kind: bytes) -> bytes:
    info = member("x", kind)
    info.size = size
    return info.tobuf(tarfile.GNU_FORMAT)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_tar_with_a_fault_is_refused_in_one_sentence(tmp_path: Path, fault: str) -> None:
    make, reason = FAULTS[fault]
    (tmp_path / "a.tar").write_bytes(make())
    with pytest.raises(UserError, match=rf"a\.tar .*{reason}") as error:
        list(tar_members(tmp_path / "a.tar"))
    assert "\n" not in str(error.value)


@given(st.integers(0, len(GOOD) - 1), st.integers(0, 255))
def test_no_damage_raises_anything_but_a_sentence(tmp_path_factory: pytest.TempPathFactory, at: int, byte: int) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.tar"
    path.write_bytes(GOOD[:at] + bytes([byte]) + GOOD[at + 1 :])
    try:
        members = list(tar_members(path))
    except UserError:
        return
    assert all(isinstance(each, TarMember) and each.offset + each.size <= len(GOOD) for each in members)


def test_an_image_of_a_tar_that_became_shorter_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(GOOD)
    image = TarImage(path, 512, 3000)
    assert len(image.open().read()) == 3000
    path.write_bytes(GOOD[:2000])
    with pytest.raises(UserError, match="is shorter than it was"):
        image.open()
