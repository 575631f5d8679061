"""Cue conflict: images with the shape of one class and the texture of another (Geirhos et al. 2019)."""

import re
from pathlib import Path
from typing import ClassVar

import numpy as np

from nofrost.errors import UserError
from nofrost.prepare.sources.base import OwnClasses, SourceData, missing, register
from nofrost.prepare.sources.chosen import rows_of
from nofrost.prepare.sources.class_folders import CHECKSUM
from nofrost.prepare.sources.class_groups import class_groups
from nofrost.prepare.sources.layout import first_names
from nofrost.prepare.sources.listing import Listing
from nofrost.prepare.sources.photograph_parts import common_shape, photograph_part
from nofrost.prepare.sources.published_source import Published
from nofrost.prepare.sources.trees import FolderTree

_NAME = re.compile(r"([a-z]+)[0-9]+-([a-z]+)[0-9]+\.[a-z]+")
_INSIDE = ("", "style-transfer-preprocessed-512", "stimuli/style-transfer-preprocessed-512")


@register("cue-conflict")
class CueConflict(Published):
    """The folder with a folder for each of the 16 classes at `path`, or the repository texture-vs-shape that holds it.

    A file's name says both classes: ``cat7-elephant3.png`` in the folder ``cat`` has the texture of an elephant.
    """

    holds_photographs: ClassVar[bool] = True
    prefers_shards: ClassVar[bool] = True
    test_only: ClassVar[bool] = True

    def open(self) -> SourceData:
        """Return the images whose texture is of another class than their shape, which is their label.

        Raises:
            UserError: there are none, a class is missing, or a file's name does not say two of the classes, the first
                of them that of its folder.
        """
        groups, path, listing = class_groups("cue-conflict"), Path(self.path), Listing(splits_are_given=True)
        trees = (FolderTree(path / inside, listing) for inside in _INSIDE)
        tree = next((tree for tree in trees if not groups.keys().isdisjoint(tree.folders())), None)
        if tree is None:
            raise missing(path, f"the folders {first_names(list(groups))} of the cue-conflict images")
        if absent := sorted(groups.keys() - set(tree.folders())):
            raise UserError(f"{tree.root} lacks the class folder {first_names(absent)}: download it again")
        found, numbers = tree.listed("", list(groups)), {name: number for number, name in enumerate(groups)}
        images = found.files
        self.check_count(len(images), self.card.images["test"])
        textures = np.array(
            [numbers[_texture(found.paths[row], groups, tree.root)] for row in range(len(images))], dtype=np.int64
        )
        shape = common_shape(self, images.images(), len(images))
        part = photograph_part(self, images.labels, images.image, shape)
        kept = np.flatnonzero(textures != images.labels)
        left_out = f"{len(images) - len(kept):,} images are left out, whose shape and texture are of one class"
        return self.data(
            rows_of(part, kept, textures=textures[kept]),
            None,
            {CHECKSUM: f"sha256:{found.digest}"},
            tuple(groups),
            own_classes=OwnClasses(meanings=groups, answer="mean"),
            remarks=(*listing.remarks(), *([left_out] if len(kept) < len(images) else [])),
        )


def _texture(path: str, groups: dict[str, tuple[str, ...]], root: Path) -> str:
    folder, _, name = path.rpartition("/")
    match = _NAME.fullmatch(name)
    if match is None or match[2] not in groups or match[1] != folder:
        raise UserError(
            f"{root / path} must be called after shape and texture, such as {folder}1-bicycle2.png, the shape as its "
            "folder: download it again"
        )
    return match[2]
