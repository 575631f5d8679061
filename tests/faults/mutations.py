"""Small changes to files: of bytes, of words in text, and of values in what JSON, YAML, .npy and .npz files hold."""

from __future__ import annotations

import copy
import io
import json
import random
import re
import struct
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

Change = Callable[[bytes, random.Random], bytes]

VALUES: list[Any] = [
    *(None, True, False, 0, -1, 1, 2, 7, 255, 10**3, 10**6, 10**9, 2**31, 2**63, 10**26, 10**400),
    *(0.0, -0.5, 0.5, 1.5, 1e-300, 1e300, float("nan"), float("inf"), -float("inf")),
    *("", "x", "no", "08", "1e3", "../../up", "/etc/passwd", "a\nb", "\x1b[31m", "\u202e", "ü" * 300, "x" * 100_000),
    *("\ud800", "8/255", "1/0", "resnet50", "nan", "0x10", "sat", "cafe\x00"),
    *([], [[]], [1] * 1000, ["x"], {}, {"a": 1}, {"": None}, {"name": "x"}, [None], [[[[[[[[1]]]]]]]]),
]
WORDS = [
    *("no", "~", "08", "0x1F", "1e999", "-1", "1_000", "1:30", ".nan", "2020-01-01", "=", "<<", "null", "true", "{}"),
    *("[", "]", "{", "}", "- ", "? ", ": ", "#", "'", '"', "|", ">", "---", "...", "\t", "\\", "\0", "[]", "%YAML 1.1"),
    *("*a", "&a", "!!python/name:os.system", "!!binary x", "${HOME}", "../..", "/dev/zero", "\x1b]0;x\x07"),
    *("9" * 30, "9" * 5000, "[" * 3000, "x" * 50_000),
]


def of_bytes(content: bytes, chance: random.Random) -> bytes:
    """Flip, cut, repeat, insert or overwrite bytes."""
    changed = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 8))):
        place = chance.randrange(len(changed) + 1)
        length = chance.choice((1, 1, 2, 4, 16, 256))
        match chance.randrange(6):
            case 0 if changed:
                changed[place % len(changed)] ^= 1 << chance.randrange(8)
            case 1:
                del changed[place : place + length]
            case 2:
                changed[place:place] = changed[place : place + length]
            case 3:
                changed[place:place] = chance.randbytes(length)
            case 4:
                changed[place : place + length] = bytes([chance.choice((0, 255, 127, 128))]) * length
            case _:
                del changed[place:]
    return bytes(changed)


def of_text(content: bytes, chance: random.Random) -> bytes:
    """Exchange, insert or delete a word, or move, repeat, delete or indent a line."""
    lines = content.decode(errors="surrogateescape").split("\n")
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        place = chance.randrange(len(lines))
        match chance.randrange(7):
            case 0 | 1 | 2:
                words = re.split(r"(\s+|[:,\[\]{}=])", lines[place])
                words[chance.randrange(len(words))] = chance.choice(WORDS)
                lines[place] = "".join(words)
            case 3:
                lines.insert(place, lines[chance.randrange(len(lines))])
            case 4:
                lines[place] = " " * chance.choice((1, 2, 40)) + lines[place]
            case 5 if len(lines) > 1:
                del lines[place]
            case _:
                lines[place] = lines[place].strip() + chance.choice(WORDS)
    return "\n".join(lines).encode(errors="surrogateescape")


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of each value inside a nested one."""
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield (*path, key)
        yield from places(inner, (*path, key))


def of_values(value: Any, chance: random.Random) -> Any:
    """Exchange, delete, rename, repeat or wrap a value inside a nested one; it is changed in place."""
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        paths = list(places(value))
        if not paths or chance.random() < 0.02:
            return copy.deepcopy(chance.choice(VALUES))
        *path, key = chance.choice(paths)
        owner = value
        for part in path:
            owner = owner[part]
        match chance.randrange(8):
            case 0:
                del owner[key]
            case 1 if isinstance(owner, dict):
                owner[chance.choice(("", "x", f"{key}s", str(key) * 50, "../x", "a\nb"))] = owner.pop(key)
            case 2:
                owner[key] = [owner[key]] * chance.choice((1, 2, 100))
            case 3:
                owner[key] = {"x": owner[key]}
            case 4 if isinstance(owner[key], int | float):
                owner[key] = chance.choice((-owner[key], owner[key] * 10**9, owner[key] + 1, str(owner[key])))
            case _:
                owner[key] = copy.deepcopy(chance.choice(VALUES))
    return value


def of_json(content: bytes, chance: random.Random) -> bytes:
    """Change the values that JSON holds."""
    return json.dumps(of_values(json.loads(content), chance)).encode()


def of_array(content: bytes, chance: random.Random) -> bytes:
    """Change shape, type or order in the header of a .npy file, whose data stay as they are."""
    header = content[10 : 10 + struct.unpack("<H", content[8:10])[0]].decode("latin-1")
    shapes = ("()", "(0,)", "(1,)", "(-1, 2)", "(999999999999,)", "(60, 8, 8, 9)", "(2**70,)", "(1.5,)", "('a',)")
    types = (
        "|O",
        "<f8",
        "<f4",
        ">i8",
        "|b1",
        "<c16",
        "|S8",
        "<U2",
        "|V4",
        "<M8[s]",
        "|u1",
        "[('a', '<i4')]",
        "nonsense",
    )
    match chance.randrange(4):
        case 0:
            header = re.sub(r"\(.*?\)", chance.choice(shapes), header)
        case 1:
            header = re.sub(r"'descr': '.*?'", f"'descr': '{chance.choice(types)}'", header)
        case 2:
            header = header.replace("False", "True")
        case _:
            header = of_text(header.encode("latin-1", "replace"), chance).decode("latin-1")
    header = header.rstrip() + " " * (-(11 + len(header.rstrip())) % 64) + "\n"
    text = header.encode("latin-1")[:65535]
    return content[:8] + struct.pack("<H", len(text)) + text + content[10 + struct.unpack("<H", content[8:10])[0] :]


def of_members(content: bytes, chance: random.Random) -> bytes:
    """Change one array of an .npz file, or what the archive says of it: its name, method or flags."""
    archive = zipfile.ZipFile(io.BytesIO(content))
    members = {name: archive.read(name) for name in archive.namelist()}
    name = chance.choice(sorted(members))
    match chance.randrange(5):
        case 0:
            members[name] = of_bytes(members[name], chance)
        case 1 | 2 if name.endswith(".npy"):
            members[name] = of_array(members[name], chance)
        case 3:
            members[chance.choice(("../x.npy", "x", "/x.npy", name[:-4]))] = members.pop(name)
        case _:
            del members[name]
    buffer = io.BytesIO()
    method = chance.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA))
    with zipfile.ZipFile(buffer, "w", method) as changed:
        for member, data in members.items():
            changed.writestr(member, data)
    result = bytearray(buffer.getvalue())
    if chance.random() < 0.2:  # says that it is encrypted, or packed by an unknown method
        place = result.find(b"PK\x01\x02") + chance.choice((8, 10))
        result[place] = chance.choice((1, 99))
    return bytes(result)


def of_tensors(content: bytes, chance: random.Random) -> bytes:
    """Change the header of a safetensors file: names, types, shapes and places of tensors."""
    length = struct.unpack("<Q", content[:8])[0]
    header = of_values(json.loads(content[8 : 8 + length]), chance)
    if chance.random() < 0.3:
        text = json.dumps(header).replace('"F32"', f'"{chance.choice(("I64", "BOOL", "F64", "F16", "X"))}"', 1).encode()
    else:
        text = json.dumps(header).encode()
    size = chance.choice((len(text),) * 8 + (0, 2**63, len(text) + 1))
    return struct.pack("<Q", size) + text + content[8 + length :]
