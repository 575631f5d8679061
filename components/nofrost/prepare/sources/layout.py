"""Which folders below a path are splits and which are classes, and which files in them are images."""

import os
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from nofrost.errors import UserError
from nofrost.prepare.photo import SUFFIXES

# names of folders that hold a split, without regard to case
_ROLES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("test", "testing"), "test"),
    **dict.fromkeys(("val", "valid", "validation", "dev", "eval", "evaluation"), "validation"),
}
# of macOS in archives, and of Synology's disks, for thumbnails
_OF_SYSTEMS = ("__MACOSX", "@eaDir")
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+")
_ADDED = ("images", "imgs", "split", "data", "set")  # as in "trainset"


@dataclass(frozen=True)
class Layout:
    """The folder whose folders are the classes, that of the source's own test split, and splits that are not used."""

    train: Path
    test: Path | None = None
    unused: tuple[Path, ...] = ()


def find_layout(root: Path) -> Layout:
    """Return which folders of `root` are splits; if none is, `root` itself has the classes.

    The splits are train and test, or train and validation where there is no test, under their usual names. A folder
    may be called like a class, such as "train" among vehicles, if it holds its images itself.

    Raises:
        UserError: folders look like splits but do not stand alone, side by side and under these names.
    """
    folders = folders_in(root)
    roles: dict[str | None, list[Path]] = {}
    for folder in folders:
        roles.setdefault(_ROLES.get(folder.name.lower()), []).append(folder)
    if "train" not in roles or None in roles:
        _refuse_splits_among_classes(root, folders)
        return Layout(root)
    validation = roles.get("validation", [])
    test = roles.get("test") or validation
    for same in (roles["train"], test):
        if len(same) > 1:
            raise UserError(f"{root} holds both {_names(same)}: keep one of them, or rename the one that is meant")
    used = (roles["train"][0], *test)
    for split in used:
        _refuse_splits_among_classes(split, folders_in(split))
    return Layout(used[0], test[0] if test else None, () if test is validation else tuple(validation))


def folders_in(root: Path) -> list[Path]:
    """Return the folders in `root`, and links to folders, sorted; hidden ones are left out.

    Raises:
        UserError: `root` cannot be listed, or holds a link that leads nowhere.
    """
    try:
        entries = sorted(entry for entry in root.iterdir() if not is_hidden(entry.name))
    except OSError as error:
        _cannot_list(error)
    for entry in entries:
        _check_link(entry)
    return [entry for entry in entries if entry.is_dir()]


def is_hidden(name: str) -> bool:
    """Return whether a file or folder of this name is left out: it begins with a dot, or a system adds it by itself."""
    return name.startswith(".") or name in _OF_SYSTEMS


def is_image(name: str) -> bool:
    """Return whether a file of this name is taken for an image: it ends like one and is not hidden."""
    return not is_hidden(name) and Path(name).suffix.lower() in SUFFIXES


@dataclass
class Listing:
    """Finds the images of classes; one object lists all splits, so that no folder is read twice.

    Attributes:
        left_out: how many files did not end like an image, by suffix.
        loose: how many images lay beside the class folders.
    """

    left_out: Counter[str] = field(default_factory=Counter)
    loose: int = 0
    _visited: dict[tuple[int, int], str] = field(default_factory=dict)

    def images(self, root: Path, classes: tuple[str, ...]) -> list[list[str]]:
        """Return for each class the sorted paths of its images, at any depth, relative to `root`.

        Links to folders are followed, wherever they lead.

        Raises:
            UserError: a folder cannot be listed, is reached twice (by links), holds splits or links that lead nowhere;
                or a class has no images.
        """
        self.loose += sum(is_image(entry.name) and entry.is_file() for entry in root.iterdir())
        files = []
        for name in classes:
            files.append(sorted(self._below(root / name, root)))
            if not files[-1]:
                kinds = ", ".join(sorted(suffix[1:] for suffix in SUFFIXES))
                raise UserError(f"class folder {root / name} holds no images ({kinds}): add some or remove the folder")
        return files

    def _below(self, folder: Path, root: Path) -> list[str]:
        images = []
        for parent, folders, names in os.walk(folder, onerror=_cannot_list, followlinks=True):
            self._visit(parent)
            folders[:] = [name for name in folders if not is_hidden(name)]
            _refuse_splits_inside(Path(parent), folders)
            below = Path(parent).relative_to(root).as_posix()
            for name in names:
                if is_image(name):
                    images.append(f"{below}/{name}")
                elif not is_hidden(name):
                    _check_link(Path(parent, name))
                    self.left_out[Path(name).suffix.lower() or "no suffix"] += 1
        return images

    def _visit(self, folder: str) -> None:
        status = Path(folder).stat()
        identity = status.st_dev, status.st_ino
        if identity in self._visited:
            raise UserError(
                f"{folder} is the folder {self._visited[identity]} again, by a link: remove the link, so that no image "
                "counts twice"
            )
        self._visited[identity] = folder

    def remarks(self) -> list[str]:
        """Return a sentence for each kind of file that is not used."""
        remarks = []
        if count := self.left_out.total():
            kinds = [
                f"{n:,} {suffix}" for suffix, n in sorted(self.left_out.items(), key=lambda kind: (-kind[1], kind[0]))
            ]
            others = [f"{len(kinds) - 8} other kinds"] if len(kinds) > 8 else []
            files = "1 file is" if count == 1 else f"{count:,} files are"
            remarks.append(f"{files} left out, not named like an image: {', '.join(kinds[:8] + others)}")
        if count := self.loose:
            images = "1 image is" if count == 1 else f"{count:,} images are"
            remarks.append(f"{images} left out, beside the class folders and not in one")
        return remarks


def same_folders(root: Path, classes: tuple[str, ...]) -> list[str]:
    """Return the folders that every class has, if they are all that it has: it may be they that are the classes."""
    common: set[str] = set()
    for number, name in enumerate(classes):
        folders = _folders_if_nested(root / name)
        if len(folders) < 2 or (number and folders != common):
            return []
        common = folders
    return sorted(common)


def _refuse_splits_among_classes(root: Path, folders: list[Path]) -> None:
    """Refuse to take a split for a class, which would make a model of "train" against "test"."""
    suspects = [folder for folder in folders if _sounds_like_a_split(folder.name)]
    below = {folder: _folders_if_nested(folder) for folder in (folders if suspects else [])}
    for folder in suspects:
        role = _ROLES.get(folder.name.lower())
        # only "train" is also the name of a class
        is_split = role is not None and (below[folder] or role != "train")
        if is_split or any(len(below[folder] & below[other]) > 1 for other in folders if other != folder):
            others = ", ".join(other.name for other in folders if other.name.lower() not in _ROLES)[:80]
            beside = f" (beside them are {others})" if others else ""
            raise UserError(
                f"{folder} looks like a split and not like a class: name the folders of the splits train and test "
                f"(or val) and keep them alone in {root}{beside}, or rename the folder if it is a class"
            )


def _folders_if_nested(folder: Path) -> set[str]:
    """Return the names of the folders in `folder`; none if it holds images itself, as the folder of a class does."""
    try:
        with os.scandir(folder) as entries:
            visible = [entry for entry in entries if not is_hidden(entry.name)]
            names = {entry.name for entry in visible if entry.is_dir()}
            return set() if any(is_image(entry.name) and entry.name not in names for entry in visible) else names
    except OSError as error:
        _cannot_list(error)


def _refuse_splits_inside(folder: Path, names: list[str]) -> None:
    splits = sorted(name for name in names if name.lower() in _ROLES)
    if len({_ROLES[name.lower()] for name in splits}) > 1:
        raise UserError(
            f"{folder} holds {' and '.join(splits)}, which look like splits, and would be taken for one class: set "
            "dataset.path to the folder of the splits, in which each of them has a folder for each class"
        )


def _sounds_like_a_split(name: str) -> bool:
    if name.lower() in _ROLES:
        return True
    for word in map(str.lower, _WORD.findall(name)):
        stem = next((word.removesuffix(added) for added in _ADDED if word.endswith(added)), word)
        if stem in _ROLES or word in _ROLES or word == "trainval":
            return True
    return False


def _names(folders: list[Path]) -> str:
    return " and ".join(folder.name for folder in folders)


def _check_link(path: Path) -> None:
    if path.is_symlink() and not path.exists():
        raise UserError(f"{path} is a link that leads nowhere: remove or mend it")


def _cannot_list(error: OSError) -> NoReturn:
    raise UserError(f"{error.filename} cannot be listed ({error.strerror}): check it") from None
