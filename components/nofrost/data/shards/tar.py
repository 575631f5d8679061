"""The bytes of a tar: headers and padding of members, as the WebDataset layout has them.

Written here because a shard must have equal bytes on every machine, whoever writes it: no times, owners or modes of
files get into it. ``tarfile`` makes the headers.
"""

import tarfile

BLOCK = 512
END = bytes(2 * BLOCK)


def header(name: str, size: int) -> bytes:
    """Return the header of a regular file with this name of ASCII characters and so many bytes."""
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, 0o644
    return member.tobuf(tarfile.USTAR_FORMAT, "ascii", "strict")


def padding(size: int) -> bytes:
    """Return the zeros that follow `size` bytes of a member."""
    return bytes(-size % BLOCK)


def member(name: str, content: bytes) -> bytes:
    """Return a whole member: header, content and padding."""
    return b"".join((header(name, len(content)), content, padding(len(content))))
