"""Published test sets of ImageNet in class folders that are named by WordNet ids: -R, -A, -O, -Sketch, Stylized."""

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import ClassVar

from nofrost.errors import UserError
from nofrost.limits import regular_file
from nofrost.prepare.sources.base import OwnClasses, SourceData, missing, register
from nofrost.prepare.sources.checksums import check_file
from nofrost.prepare.sources.class_folders import CHECKSUM
from nofrost.prepare.sources.imagenet import wordnet_ids
from nofrost.prepare.sources.layout import first_names
from nofrost.prepare.sources.listing import Listing
from nofrost.prepare.sources.photograph_parts import common_shape, photograph_part
from nofrost.prepare.sources.published_source import Published
from nofrost.prepare.sources.trees import FolderTree, TarTree, Tree


class _WordnetSet(Published):
    """The published archive or the folder that it unpacks to at `path`, or a folder that holds either."""

    holds_photographs: ClassVar[bool] = True
    prefers_shards: ClassVar[bool] = True
    test_only: ClassVar[bool] = True
    own_classes: ClassVar[OwnClasses] = OwnClasses()

    def expected(self) -> Sequence[str] | None:
        """Return the WordNet ids of its classes; None if its folders alone say them."""
        return wordnet_ids()

    def open(self) -> SourceData:
        """Return the images by class and then by name, whichever way they lie there.

        Raises:
            UserError: there are none, the archive is not the published one (by its checksum), a class is missing or
                unknown, or there are more or fewer images than were published.
        """
        self.fetch()
        listing = Listing(splits_are_given=True)
        tree, checksums = self._tree(listing)
        classes = self._classes(tree.folders())
        found = tree.listed("", classes)
        self.check_count(len(found.files), self.card.images.get("test"))
        shape = common_shape(self, found.files.images(), len(found.files))
        part = photograph_part(self, found.files.labels, found.files.image, shape)
        checksums = checksums or {CHECKSUM: f"sha256:{found.digest}"}
        remarks = tuple(listing.remarks())
        return self.data(part, None, checksums, classes, own_classes=self.own_classes, remarks=remarks)

    def _tree(self, listing: Listing) -> tuple[Tree, dict[str, str]]:
        path, archive = Path(self.path), next(iter(self.card.files), None)
        known = set(wordnet_ids())
        for place in (path, *self._inner(path)):
            tree = FolderTree(place, listing)
            if not known.isdisjoint(tree.folders()):
                return tree, {}
            if archive and regular_file(place).is_file():
                if place.suffix == ".zip":
                    raise UserError(f"{place} is a zip file: unpack it, and name the folder {archive.folder}")
                return TarTree([place]), check_file(place, archive)
        expected = f"{archive.name}, or its folder {archive.folder}" if archive else "a folder of class folders"
        raise missing(path, f"{expected}, whose folders are WordNet ids such as n01443537")

    def _inner(self, path: Path) -> Sequence[Path]:
        return [path / name for file in self.card.files[:1] for name in (str(file.folder), file.name)]

    def _classes(self, names: Sequence[str]) -> tuple[str, ...]:
        title, expected = self.card.title, self.expected()
        known = set(wordnet_ids() if expected is None else expected)
        if expected is None and len(names) != self.card.classes:
            raise UserError(
                f"{self.path} has {len(names)} class folders, {title} has {self.card.classes}: unpack it again"
            )
        if absent := sorted(set(expected or ()) - set(names)):
            raise UserError(
                f"{self.path} lacks the class folder {first_names(absent)} ({len(absent):,} in all) of {title}: unpack "
                "it again"
            )
        if others := sorted(set(names) - known):
            raise UserError(
                f"{self.path} holds the folder {first_names(others)} ({len(others):,} in all), no class of {title}: "
                "remove what does not belong there"
            )
        return tuple(names if expected is None else expected)


def _classes_in_timm(file: str) -> tuple[str, ...]:
    """Return the WordNet ids in a file of timm's package data, of which timm has no function."""
    return tuple((files("timm") / "data" / "_info" / file).read_text(encoding="utf-8").split())


@register("imagenet-r")
class ImageNetR(_WordnetSet):
    """ImageNet-R: renditions of 200 classes."""

    def expected(self) -> Sequence[str]:
        """Return its 200 WordNet ids."""
        return _classes_in_timm("imagenet_r_synsets.txt")


@register("imagenet-a")
class ImageNetA(_WordnetSet):
    """ImageNet-A: photographs of 200 classes, other ones than those of ImageNet-R."""

    def expected(self) -> Sequence[str]:
        """Return its 200 WordNet ids."""
        return _classes_in_timm("imagenet_a_synsets.txt")


@register("imagenet-sketch")
class ImageNetSketch(_WordnetSet):
    """ImageNet-Sketch, unpacked: sketches of all classes."""


@register("imagenet-o")
class ImageNetO(_WordnetSet):
    """ImageNet-O: images of no class of ImageNet, in folders of the 200 classes that a model took them for."""

    own_classes: ClassVar[OwnClasses] = OwnClasses(outliers=True)

    def expected(self) -> None:
        """Return None: only its folders say which 200 classes they are."""
        return


@register("stylized-imagenet")
class StylizedImageNet(_WordnetSet):
    """The validation images of Stylized-ImageNet, as its code makes them: class folders at `path`, or in val there."""

    def _inner(self, path: Path) -> Sequence[Path]:
        return [path / "val"]
