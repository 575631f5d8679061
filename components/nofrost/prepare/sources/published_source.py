"""Sources of published files, which are read only if they are what their authors published."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from nofrost.data.dataset_card import DatasetCard, PublishedFile, load_card
from nofrost.errors import UserError
from nofrost.limits import regular_file
from nofrost.prepare.sources.base import Part, Source, SourceData, missing
from nofrost.prepare.sources.download import download


class Published(Source):
    """A source of files that a card (nofrost/data/cards) describes; the card bears its name.

    Attributes:
        download: fetch files that are missing at `path`, a folder, from where their authors publish them.
    """

    download: bool = False

    of_place: ClassVar[tuple[str, ...]] = ("path", "download")

    @property
    def card(self) -> DatasetCard:
        """What is known of the dataset."""
        return load_card(self.source)

    def files(self) -> tuple[PublishedFile, ...]:
        """Return the published files that are read."""
        return self.card.files

    def fetch(self) -> None:
        """Download the files that are not at `path`, if `download` is set.

        Raises:
            UserError: `path` is a file, or a file cannot be downloaded or is not the published one.
        """
        folder = Path(self.path)
        for file in self.files() if self.download else ():
            if not self.has(file):
                download(file, folder)

    def has(self, file: PublishedFile) -> bool:
        """Return whether `path` is or holds `file`, or all that it unpacks to."""
        path = Path(self.path)
        if path.is_file():
            return bool(file.members)
        if (path / file.name).is_file():
            return True
        folders = [path, *([path / file.folder] if file.folder else [])]
        if file.folder and not file.members:
            return path.name == file.folder or folders[1].is_dir()
        return bool(file.members) and any(
            all((folder / member.name).is_file() for member in file.members) for folder in folders
        )

    def absent(self) -> list[str]:
        """Return the published files that are neither at `path` nor downloaded."""
        return [file.name for file in self.files() if not self.download and not self.has(file)]

    def archive_or_folder(self, names: Iterable[str]) -> Path:
        """Return where the card's archive lies, packed or unpacked: at `path`, or in it.

        Args:
            names: of files of the archive; a folder with one of them is what it unpacks to.

        Raises:
            UserError: `path` neither is nor holds the archive or such a folder.
        """
        path, archive = Path(self.path), self.card.files[0]
        for place in (path, path / str(archive.folder), path / archive.name):
            if regular_file(place).is_file() or any((place / name).is_file() for name in names):
                return place
        raise missing(path, f"{archive.name}, its folder {archive.folder}, or a folder with one of them")

    def check_count(self, count: int, published: int | None, part: str = "") -> None:
        """Check that there are as many images as were `published`; None if nobody knows.

        Args:
            part: which part of the set is meant.

        Raises:
            UserError: there are more or fewer.
        """
        if published is not None and count != published:
            where = f"{self.path}: {part}" if part else self.path
            raise UserError(
                f"{where} holds {count:,} images, and {self.card.title} has {published:,}: unpack it again, whole"
            )

    def data(
        self, train: Part, test: Part | None, checksums: Mapping[str, str], classes: tuple[str, ...] = (), **more: Any
    ) -> SourceData:
        """Return the content of the source with what its card says.

        Args:
            classes: their names; those of the card by default.
            checksums: of the files that were read.
            more: further fields of `SourceData`.
        """
        card = self.card
        return SourceData(
            name=self.source,
            classes=classes or card.class_names,
            train=train,
            test=test,
            origin=f"{card.title} ({card.citation})" + (", its own test split" if test else ""),
            licence=card.licence,
            checksums=checksums,
            url=card.url,
            **more,
        )
