"""Cards of published datasets: what they hold, under which terms, and their files with checksums."""

from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationError, model_validator

from nofrost.config.base import OmitEmpty
from nofrost.config.reading import read_text
from nofrost.config.validation import sentence
from nofrost.config.yaml_text import parse
from nofrost.errors import UserError, unknown

_HEX = "[0-9a-f]"


class PublishedFile(OmitEmpty):
    """A file as its authors publish it.

    Attributes:
        size: bytes.
        md5, sha256: of the file.
        url: where it can be downloaded.
        folder: into which an archive unpacks.
        members: files inside of an archive that are read, or the one that a compressed file unpacks to.
    """

    name: str
    size: int | None = Field(default=None, gt=0)
    md5: Annotated[str, Field(pattern=f"^{_HEX}{{32}}$")] | None = None
    sha256: Annotated[str, Field(pattern=f"^{_HEX}{{64}}$")] | None = None
    url: str | None = None
    folder: str | None = None
    members: tuple["PublishedFile", ...] = ()

    @property
    def checksum(self) -> tuple[str, str] | None:
        """Algorithm and hexadecimal value of the published checksum; None if there is none."""
        if self.sha256:
            return "sha256", self.sha256
        return ("md5", self.md5) if self.md5 else None

    def member(self, name: str) -> "PublishedFile":
        """Return the member of this name."""
        return next(member for member in self.members if member.name == name)


class DatasetCard(OmitEmpty):
    """What there is to know about a published dataset.

    Attributes:
        title: its name as its authors write it.
        about: what it holds, in a sentence.
        kind: whether models are trained on it, or only tested.
        source: the source of `nofrost prepare` that reads it by name; null where none does yet.
        test_of: for a test set the card of the dataset whose classes it has, or some of them.
        classes: their number.
        class_names: the names, where no file of the dataset holds them.
        images: number of published images by split.
        image_size: height and width in pixels; null for photographs of many sizes.
        channels: 1 for grey, 3 for colour.
        licence: terms of use, in words.
        url: the page of its authors.
        citation: whom to cite.
        files: as they are published.
        quirks: what a reader would otherwise get wrong, a sentence each.
    """

    title: str
    about: str
    kind: Literal["dataset", "test set"] = "dataset"
    source: str | None = None
    test_of: str | None = None
    classes: int = Field(ge=2)
    class_names: tuple[str, ...] = ()
    images: dict[str, int]
    image_size: tuple[int, int] | None = None
    channels: Literal[1, 3] = 3
    licence: str
    url: str
    citation: str
    files: tuple[PublishedFile, ...] = ()
    quirks: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _names_are_those_of_all_classes(self) -> Self:
        if self.class_names and len(self.class_names) != self.classes:
            raise ValueError(f"class_names has {len(self.class_names)} names for {self.classes} classes")
        return self

    def counts(self) -> str:
        """Return the number of images by split, in words."""
        return ", ".join(f"{count:,} {split}" for split, count in self.images.items())

    def pixels(self) -> str:
        """Return size and kind of the images, in words."""
        size = "photographs" if self.image_size is None else "{}x{}".format(*self.image_size)
        return f"{size}, {'grey' if self.channels == 1 else 'colour'}"

    def file(self, name: str) -> PublishedFile:
        """Return the published file of this name."""
        return next(file for file in self.files if file.name == name)


@cache
def _paths() -> dict[str, Path]:
    return dict(sorted((path.stem, path) for path in (Path(str(files("nofrost"))) / "data" / "cards").glob("*.yaml")))


def list_cards() -> list[str]:
    """Return the names of all cards, sorted."""
    return list(_paths())


def find_card(name: str) -> DatasetCard | None:
    """Return the card of the dataset called `name`; None if there is none."""
    return load_card(name) if name in _paths() else None


def is_cropped(name: str) -> bool:
    """Return whether the images of a published test set were cropped to one size, and those of its dataset were not.

    They are shown whole, where the dataset's photographs are resized and cropped (ImageNet-C: Hendrycks & Dietterich
    2019).
    """
    card = find_card(name)
    return bool(card and card.image_size and card.test_of and load_card(card.test_of).image_size is None)


@cache
def load_card(name: str) -> DatasetCard:
    """Return the card of the dataset called `name`, such as ``cifar10``.

    Raises:
        UserError: there is none.
    """
    if name not in _paths():
        raise unknown("dataset card", name, _paths())
    path = _paths()[name]
    try:
        return DatasetCard.model_validate(parse(read_text(path, "dataset card"), str(path)))
    except ValidationError as error:
        raise UserError(sentence(error, DatasetCard, str(path))) from None
