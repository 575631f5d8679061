"""The records in the shards of a WebDataset: where each image lies, and its label."""

import hashlib
import json
import re
from array import array
from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nofrost.errors import UserError, shortened
from nofrost.prepare.photo import SUFFIXES
from nofrost.prepare.sources.tars import TarImages, TarMember, read_bytes, tar_members

_NAME = re.compile(r"((?:.*/)?[^./]+)\.([^/]*)", re.DOTALL)  # the key ends at the first dot, as webdataset has it
_LABELS = ("cls", "json")
_LARGEST_LABEL = 1 << 20  # bytes of a .cls or .json
_LARGEST_CLASS = 10**9


class Records:
    """The records of one split, read shard by shard; each takes 36 bytes of memory.

    Args:
        files: all shards.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        self._files = tuple(files)
        self._shards, self._keys = array("i"), array("Q")
        self._offsets, self._sizes, self._labels = array("q"), array("q"), array("q")
        self._digest = hashlib.sha256()
        self._read = 0

    def read(self, file: Path, left_out: Counter[str]) -> None:
        """Read the next shard.

        Args:
            left_out: counts members that are neither image nor label, by suffix.

        Raises:
            UserError: it is damaged, or a record is not one.
        """
        seen: set[str] = set()
        for key, members in groupby(tar_members(file), _key):
            if key is None:
                left_out.update(["no suffix"] * sum(1 for _ in members))
                continue
            if key in seen:
                raise UserError(f"{file} holds the key {shortened(key)} twice: give each record a key of its own")
            seen.add(key)
            image, label = _record(file, key, list(members), left_out)
            self._append(key, image, label)
        if not seen:
            raise UserError(f"{file} holds no records: remove it, or fetch it again")
        self._read += 1

    def images(self) -> TarImages:
        """Return where all images lie.

        Raises:
            UserError: two records, in different shards, have one key.
        """
        images = TarImages(
            self._files,
            np.frombuffer(self._shards, np.int32),
            np.frombuffer(self._offsets, np.int64),
            np.frombuffer(self._sizes, np.int64),
            np.frombuffer(self._labels, np.int64),
        )
        keys = np.frombuffer(self._keys, np.uint64)
        order = np.argsort(keys, kind="stable")
        twice = np.flatnonzero(keys[order][1:] == keys[order][:-1])
        if len(twice):
            one, other = (images.image(int(row)) for row in sorted(order[twice[0] : twice[0] + 2]))
            raise UserError(
                f"{one} and {other} have one key, as if a shard were there twice: give each record a key of its own"
            )
        return images

    def check_labels(self, labels: NDArray[np.int64], bound: int, reason: str) -> None:
        """Check that all labels are less than `bound`; the `reason` begins the message."""
        wrong = np.flatnonzero(labels >= bound)
        if len(wrong):
            row = int(wrong[0])
            file = self._files[self._shards[row]]
            raise UserError(f"{file}: a record has label {labels[row]}: {reason}labels must be 0 to {bound - 1}")

    def checksum(self) -> str:
        """Return the SHA-256 of keys, labels and sizes in hexadecimal."""
        return self._digest.hexdigest()

    def _append(self, key: str, image: TarMember, label: int) -> None:
        content = key.encode(errors="surrogateescape")
        self._digest.update(content + b"\0%d %d\n" % (label, image.size))
        self._keys.append(int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little"))
        self._shards.append(self._read)
        self._offsets.append(image.offset)
        self._sizes.append(image.size)
        self._labels.append(label)


def _key(member: TarMember) -> str | None:
    match = _NAME.fullmatch(member.name)
    return match[1] if match else None


def _suffix(member: TarMember) -> str:
    match = _NAME.fullmatch(member.name)
    return match[2].lower() if match else ""


def _record(file: Path, key: str, members: Sequence[TarMember], left_out: Counter[str]) -> tuple[TarMember, int]:
    """Return the image of a record and its label."""
    where = f"{file}: the record {shortened(key)}"
    images = [member for member in members if f".{_suffix(member)}" in SUFFIXES]
    labels = [member for member in members if _suffix(member) in _LABELS]
    if len(images) != 1:
        count = f"{len(images)} images ({', '.join(map(_suffix, images))})" if images else "no image"
        raise UserError(f"{where} has {count}: it must have one, such as {shortened(key + '.jpg')}")
    found = {label for member in labels if (label := _label(file, member, where)) is not None}
    if len(found) != 1 or len({member.name for member in members}) < len(members):
        fault = "members of one name" if len(found) == 1 else f"the labels {sorted(found)}" if found else "no label"
        raise UserError(f"{where} has {fault}: it must have one label, in .cls or as label in .json")
    left_out.update(f".{_suffix(each)}" for each in members if each not in images and each not in labels)
    return images[0], found.pop()


def _label(file: Path, member: TarMember, where: str) -> int | None:
    """Return the label in a .cls or .json; None if a .json has none."""
    if member.size > _LARGEST_LABEL:
        raise UserError(f"{where} has a label of {member.size:,} bytes: make the shard again")
    content = read_bytes(file, member.offset, member.size)
    try:
        text = content.decode()
        value: Any = text.strip()
        if _suffix(member) == "json":
            facts = json.loads(text)
            value = facts.get("label", facts.get("cls")) if isinstance(facts, dict) else None
            if value is None:
                return None
        is_number = re.fullmatch("[0-9]{1,10}", value) if isinstance(value, str) else type(value) is int
        if not is_number or not 0 <= int(value) <= _LARGEST_CLASS:
            raise ValueError(f"{shortened(value)} is not a whole number")
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where} has no label in its .{_suffix(member)} ({error}): make the shard again") from None
    return int(value)
