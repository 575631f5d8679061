"""ImageNet-9, the backgrounds challenge: photographs of nine groups of classes with their backgrounds exchanged."""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal

from nofrost.errors import UserError
from nofrost.files import read_json, sha256_file
from nofrost.prepare.sources.base import OwnClasses, SourceData, missing, register
from nofrost.prepare.sources.class_folders import CHECKSUM
from nofrost.prepare.sources.imagenet import wordnet_ids
from nofrost.prepare.sources.layout import first_names
from nofrost.prepare.sources.listing import Listing
from nofrost.prepare.sources.photograph_parts import common_shape, photograph_part
from nofrost.prepare.sources.published_source import Published
from nofrost.prepare.sources.trees import FolderTree

CLASS_MAP = "in_to_in9.json"
_FOLDERS = ("", "bg_challenge")  # of the published archive


@register("imagenet-9")
class ImageNet9(Published):
    """A variant of ImageNet-9 at `path`: ``<variant>/val/00_dog`` and so on, and ``in_to_in9.json`` of its repository.

    Attributes:
        variant: which foregrounds and backgrounds the images have.
    """

    holds_photographs: ClassVar[bool] = True
    prefers_shards: ClassVar[bool] = True
    test_only: ClassVar[bool] = True

    variant: Literal[
        "original", "mixed_same", "mixed_rand", "mixed_next", "only_fg", "no_fg", "only_bg_b", "only_bg_t"
    ] = "original"

    def open(self) -> SourceData:
        """Return the images of the variant, by class and then by name.

        Raises:
            UserError: there are none, a class is missing, or the map of classes is missing or damaged.
        """
        path, listing, names = Path(self.path), Listing(splits_are_given=True), self.card.class_names
        roots = [path / folder / self.variant / "val" for folder in _FOLDERS]
        tree = next((FolderTree(root, listing) for root in roots if root.is_dir()), None)
        if tree is None:
            raise missing(path, f"the folder {self.variant}/val of ImageNet-9 (bg_challenge)")
        folders = set(tree.folders())
        if folders != set(names):
            fault, found = ("lacks", set(names) - folders) if set(names) - folders else ("also holds", folders)
            raise UserError(
                f"{tree.root} {fault} {first_names(sorted(found - set(names) or found))}: the classes of ImageNet-9 "
                f"are {names[0]} to {names[-1]}, unpack it again"
            )
        map_file = next((each for each in self._map_files(path) if each.is_file()), None)
        if map_file is None:
            raise missing(path, f"{CLASS_MAP} of {self.card.url}, which says the group of each of ImageNet's classes")
        found_images = tree.listed("", names)
        images = found_images.files
        self.check_count(len(images), self.card.images["each variant"], self.variant)
        shape = common_shape(self, images.images(), len(images))
        return self.data(
            photograph_part(self, images.labels, images.image, shape),
            None,
            {CHECKSUM: f"sha256:{found_images.digest}", CLASS_MAP: f"sha256:{sha256_file(map_file)}"},
            names,
            own_classes=OwnClasses(meanings=_read_map(map_file, names)),
            remarks=tuple(listing.remarks()),
        )

    def _map_files(self, path: Path) -> list[Path]:
        return [*(path / folder / CLASS_MAP for folder in _FOLDERS), path.parent / CLASS_MAP]


def _read_map(file: Path, names: tuple[str, ...]) -> Mapping[str, tuple[str, ...]]:
    """Return the WordNet ids of each group: the file has its number, or -1, for the index of each class.

    Raises:
        UserError: it is something else.
    """
    content, ids = read_json(file), wordnet_ids()
    is_map = isinstance(content, dict) and content.keys() == {str(index) for index in range(len(ids))}
    if not is_map or not all(type(group) is int and -1 <= group < len(names) for group in content.values()):
        raise UserError(
            f"{file} is not the published map: it must have the group, -1 to {len(names) - 1}, of each index from 0 to "
            f"{len(ids) - 1}; download it again"
        )
    groups = {
        name: tuple(ids[index] for index in range(len(ids)) if content[str(index)] == number)
        for number, name in enumerate(names)
    }
    if empty := [name for name, members in groups.items() if not members]:
        raise UserError(f"{file} has no class of ImageNet in {first_names(empty)}: download it again")
    return groups
