"""The images of classes, and what lies beside them."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nofrost.errors import UserError
from nofrost.prepare.photo import SUFFIXES
from nofrost.prepare.sources.folders import cannot_list, check_link, is_hidden, is_image
from nofrost.prepare.sources.layout import refuse_splits_inside

_NAMED = 8  # most kinds in a remark
# Folders that hold the images of every class, beside one of labels.
_OF_ALL_CLASSES = frozenset(("images", "image", "imgs", "img", "jpegimages", "pictures", "photos", "data"))


@dataclass
class Listing:
    """Finds the images of classes; one object lists all splits, so that no folder is read twice.

    Attributes:
        splits_are_given: whether the user has said which folders are splits, so that none is looked for in the classes.
        left_out: how many files did not end like an image, by suffix.
        loose: how many images lay beside the class folders.
    """

    splits_are_given: bool = False
    left_out: Counter[str] = field(default_factory=Counter)
    loose: int = 0
    _visited: dict[tuple[int, int], str] = field(default_factory=dict)

    def images(self, root: Path, classes: Sequence[str]) -> Iterator[list[str]]:
        """Yield for each class the sorted paths of its images, at any depth, relative to `root`.

        Links to folders are followed, wherever they lead.

        Raises:
            UserError: a folder cannot be listed, is reached twice (by links), holds splits or links that lead nowhere;
                or a class has no images (after the last class).
        """
        self.loose += sum(is_image(entry.name) and entry.is_file() for entry in root.iterdir())
        full: list[str] = []
        empty: list[str] = []
        for name in classes:
            files = sorted(self._below(root / name, root))
            (full if files else empty).append(name)
            yield files
        if empty:
            raise _without_images(root, full, empty[0])

    def remarks(self) -> list[str]:
        """Return a sentence for each kind of file that is not used."""
        remarks = []
        if count := self.left_out.total():
            kinds = [
                f"{n:,} {suffix}" for suffix, n in sorted(self.left_out.items(), key=lambda kind: (-kind[1], kind[0]))
            ]
            others = [f"{len(kinds) - _NAMED} other kinds"] if len(kinds) > _NAMED else []
            files = "1 file is" if count == 1 else f"{count:,} files are"
            remarks.append(f"{files} left out, not named like an image: {', '.join(kinds[:_NAMED] + others)}")
        if count := self.loose:
            images = "1 image is" if count == 1 else f"{count:,} images are"
            remarks.append(f"{images} left out, beside the class folders and not in one")
        return remarks

    def _below(self, folder: Path, root: Path) -> Iterator[str]:
        for parent, folders, names in os.walk(folder, onerror=cannot_list, followlinks=True):
            self._visit(parent)
            folders[:] = [name for name in folders if not is_hidden(name)]
            if not self.splits_are_given:
                refuse_splits_inside(Path(parent), folders)
            below = Path(parent).relative_to(root).as_posix()
            for name in names:
                if is_image(name):
                    yield f"{below}/{name}"
                elif not is_hidden(name):
                    check_link(Path(parent, name))
                    self.left_out[Path(name).suffix.lower() or "no suffix"] += 1

    def _visit(self, folder: str) -> None:
        status = Path(folder).stat()
        identity = status.st_dev, status.st_ino
        if identity in self._visited:
            raise UserError(
                f"{folder} is the folder {self._visited[identity]} again, by a link: remove the link, so that no image "
                "counts twice"
            )
        self._visited[identity] = folder


def _without_images(root: Path, full: Sequence[str], empty: str) -> UserError:
    """Return the error for folders without images among those of the classes.

    Args:
        full: the folders that have images.
        empty: the first that has none.
    """
    if len(full) == 1 and full[0].lower() in _OF_ALL_CLASSES:
        return UserError(
            f"of the folders in {root} only {full[0]} holds images ({empty} holds none), and none says the class of an "
            "image, as in a dataset of object detection: make a folder for each class and put its images there"
        )
    kinds = ", ".join(sorted(suffix[1:] for suffix in SUFFIXES))
    return UserError(f"class folder {root / empty} holds no images ({kinds}): add some or remove the folder")
