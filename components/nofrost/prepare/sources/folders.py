"""Folders and files below a path: which of them count, and what stops their listing."""

import os
from collections.abc import Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import NoReturn

from nofrost.errors import UserError
from nofrost.prepare.photo import SUFFIXES

# What systems add by themselves: macOS in archives, Synology's and Windows's disks, Linux's file systems.
_OF_SYSTEMS = frozenset(
    ("__macosx", "@eadir", "$recycle.bin", "system volume information", "lost+found", "thumbs.db", "desktop.ini")
)


def is_hidden(name: str) -> bool:
    """Return whether a file or folder of this name is left out: it begins with a dot, or a system adds it by itself."""
    return name.startswith(".") or name.lower() in _OF_SYSTEMS


def is_image(name: str) -> bool:
    """Return whether a file of this name is taken for an image: it ends like one and is not hidden."""
    return not is_hidden(name) and Path(name).suffix.lower() in SUFFIXES


def folders_in(root: Path) -> list[Path]:
    """Return the folders in `root`, and links to folders, sorted; hidden ones are left out.

    Raises:
        UserError: `root` cannot be listed, or holds a link that leads nowhere.
    """
    try:
        entries = sorted(entry for entry in root.iterdir() if not is_hidden(entry.name))
    except OSError as error:
        cannot_list(error)
    for entry in entries:
        check_link(entry)
    return [entry for entry in entries if entry.is_dir()]


def nested_folders(folder: Path) -> list[str]:
    """Return the sorted names of the folders in `folder`; none if it holds images itself, as that of a class does.

    Raises:
        UserError: it cannot be listed.
    """
    names = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if is_hidden(entry.name):
                    continue
                if _is_folder(entry):
                    names.append(entry.name)
                elif is_image(entry.name):
                    return []
    except OSError as error:
        cannot_list(error)
    return sorted(names)


def has_images(folder: Path) -> bool:
    """Return whether there is an image in `folder`, at any depth; the search ends at the first.

    Raises:
        UserError: it cannot be listed.
    """
    seen: set[tuple[int, int]] = set()
    for parent, folders, names in os.walk(folder, onerror=cannot_list, followlinks=True):
        if any(map(is_image, names)):
            return True
        # Links may lead in a circle.
        folders[:] = [name for name in folders if not is_hidden(name) and _is_new(Path(parent, name), seen)]
    return False


def unwrapped(folder: Path) -> Path:
    """Return the only folder in `folder` with images, however deep, if several in it have images; else `folder`."""
    inner = folder
    while True:
        # A third is not looked for, as that may take long.
        full = list(islice((inner / name for name in nested_folders(inner) if has_images(inner / name)), 2))
        if len(full) != 1:
            return inner if len(full) > 1 else folder
        inner = full[0]


def common_folders(folders: Sequence[Path]) -> list[str]:
    """Return the folders with images that each of `folders` has, if there are two or more, as in splits."""
    common: dict[str, str] = {}
    with_images = 0
    for folder in folders:
        inside = {name.lower(): name for name in nested_folders(folder)}
        if not inside and not has_images(folder):
            continue
        common = {key: name for key, name in inside.items() if not with_images or key in common}
        if len(common) < 2:
            return []
        common = {key: name for key, name in common.items() if has_images(folder / name)}
        with_images += 1
    return sorted(common.values()) if with_images > 1 and len(common) > 1 else []


def check_link(path: Path) -> None:
    """Check that `path` is not a link that leads nowhere.

    Raises:
        UserError: it is one.
    """
    if path.is_symlink() and not path.exists():
        raise UserError(f"{path} is a link that leads nowhere: remove or mend it")


def cannot_list(error: OSError) -> NoReturn:
    """Raise the UserError for a folder that cannot be listed."""
    raise UserError(f"{error.filename} cannot be listed ({error.strerror}): check it") from None


def _is_folder(entry: os.DirEntry[str]) -> bool:
    # A link to itself is none: who reads it says so.
    with suppress(OSError):
        return entry.is_dir()
    return False


def _is_new(folder: Path, seen: set[tuple[int, int]]) -> bool:
    try:
        status = folder.stat()
    except OSError:
        # It was removed meanwhile, as the folders of processes are.
        return False
    identity = status.st_dev, status.st_ino
    is_new = identity not in seen
    seen.add(identity)
    return is_new
