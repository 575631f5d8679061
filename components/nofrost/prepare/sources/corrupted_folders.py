"""ImageNet-C and Tiny-ImageNet-C: folders corruption/severity/class of photographs, or the tars that they come in."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

from nofrost.config.corruption_families import COMMON, SEVERITIES
from nofrost.errors import UserError
from nofrost.limits import regular_file
from nofrost.prepare.sources.base import OwnClasses, Part, SourceData, missing, register
from nofrost.prepare.sources.checksums import check_file
from nofrost.prepare.sources.class_folders import CHECKSUM
from nofrost.prepare.sources.corrupted import PUBLISHED, CorruptedSource
from nofrost.prepare.sources.imagenet import wordnet_ids
from nofrost.prepare.sources.layout import first_names
from nofrost.prepare.sources.listing import Listing
from nofrost.prepare.sources.packed import PackedPaths
from nofrost.prepare.sources.photograph_parts import common_shape, photograph_part
from nofrost.prepare.sources.trees import FolderTree, ImageFiles, TarTree, Tree
from nofrost.telemetry import progress


class _CorruptedFolders(CorruptedSource):
    """The published tars at `path`, or a folder with the folders of the corruptions."""

    holds_photographs: ClassVar[bool] = True
    own_classes: ClassVar[OwnClasses | None] = None

    def check_classes(self, names: list[str], place: str) -> tuple[str, ...]:
        """Return the classes, whose folders are `names` in `place`, in their order.

        Raises:
            UserError: one is missing, or there are others.
        """
        if len(names) != self.card.classes:
            raise UserError(
                f"{place} has {len(names):,} class folders, {self.card.title} has {self.card.classes:,}: unpack it "
                "again"
            )
        return tuple(names)

    def open(self) -> SourceData:
        """Return the photographs of each corruption and severity, by class and then by name.

        Raises:
            UserError: there are none, a tar is not the published one (by its MD5), a corruption, severity or class is
                missing, or a severity has other photographs than the first.
        """
        self.fetch()
        listing = Listing(splits_are_given=True)
        tree, checksums = self._tree(listing)
        self.check_corruptions(tree.folders())
        conditions = [(name, level) for name in self.names() for level in self.levels()]
        classes: tuple[str, ...] = ()
        first, parts = PackedPaths(), dict[str, Part]()
        shape, digest = (0, 0, 0), hashlib.sha256()
        with progress("corruptions", total=len(conditions), least_s=5) as bar:
            for name, level in conditions:
                place = f"{name}/{level}"
                folders = tree.folders(place)
                if not folders:
                    raise UserError(f"{self.path} lacks {place}: each corruption has severities 1 to {len(SEVERITIES)}")
                found_classes = self.check_classes(folders, f"{self.path}: {place}")
                found = tree.listed(place, found_classes)
                if not parts:
                    classes, first = found_classes, found.paths
                    self.check_count(
                        len(first), self.card.images["corrupted"] // (len(COMMON) * len(SEVERITIES)), place
                    )
                    shape = common_shape(self, found.files.images(), len(first))
                _check_same(first, found.paths, f"{self.path}: {place}", "/".join(map(str, conditions[0])))
                parts[f"{name}-{level}"] = self._part(found.files, shape)
                digest.update(found.digest.encode())
                bar.advance()
        checksums = checksums or {CHECKSUM: f"sha256:{digest.hexdigest()}"}
        train = next(iter(parts.values()))
        return self.data(train, None, checksums, classes, conditions=parts, own_classes=self.own_classes)

    def _part(self, images: ImageFiles, shape: tuple[int, int, int]) -> Part:
        return photograph_part(self, images.labels, images.image, shape)

    def _tree(self, listing: Listing) -> tuple[Tree, dict[str, str]]:
        path, files = Path(self.path), self.card.files
        inner = [path / str(file.folder) for file in files if file.folder]
        for place in (path, *inner, path / self.card.title):
            tree = FolderTree(place, listing)
            if not set(PUBLISHED).isdisjoint(tree.folders()):
                return tree, {}
        tars = [path] if regular_file(path).is_file() else [path / file.name for file in files]
        tars = [tar for tar in tars if regular_file(tar).is_file()]
        if not tars:
            raise missing(path, f"{' and '.join(file.name for file in files)}, or the folders {', '.join(COMMON)}")
        checksums: dict[str, str] = {}
        for tar in tars:
            file = next((file for file in files if file.name == tar.name), files[0])
            checksums |= check_file(tar, file)
        return TarTree(tars, depth=3, is_wanted=self._is_wanted()), checksums

    def _is_wanted(self) -> Callable[[str], bool]:
        wanted = {f"{name}/{level}" for name in self.names() for level in self.levels()}
        return lambda folder: folder.rpartition("/")[0] in wanted


def _check_same(first: PackedPaths, paths: PackedPaths, place: str, other: str) -> None:
    """Check that a condition has the photographs of the first one.

    Raises:
        UserError: it does not.
    """
    if first == paths:
        return
    raise UserError(f"{place} holds other photographs than {other}: unpack it again, all must hold the same")


@register("imagenet-c")
class ImageNetC(_CorruptedFolders):
    """ImageNet-C: the validation photographs of ImageNet, cropped to 224 pixels and then corrupted."""

    prefers_shards: ClassVar[bool] = True
    own_classes: ClassVar[OwnClasses | None] = OwnClasses()

    def check_classes(self, names: list[str], place: str) -> tuple[str, ...]:
        """Return ImageNet's classes, whose folders are `names` in `place`.

        Raises:
            UserError: one is missing, or there are others.
        """
        classes = wordnet_ids()
        for fault, found in (("lacks", set(classes) - set(names)), ("also holds", set(names) - set(classes))):
            if found:
                raise UserError(
                    f"{place} {fault} {first_names(sorted(found))} ({len(found):,} in all): it must have the "
                    f"{len(classes):,} classes of ImageNet, unpack it again"
                )
        return classes


@register("tiny-imagenet-c")
class TinyImageNetC(_CorruptedFolders):
    """Tiny-ImageNet-C: the validation images of Tiny ImageNet, corrupted."""
