"""ImageNet-V2: test images in folders that are named by the index of their class."""

from pathlib import Path
from typing import ClassVar, Literal

from nofrost.data.dataset_card import load_card
from nofrost.errors import UserError
from nofrost.prepare.sources.base import OwnClasses, Source, SourceData, missing, register
from nofrost.prepare.sources.class_folders import CHECKSUM, list_class_folders, names_and_sizes
from nofrost.prepare.sources.folders import folders_in
from nofrost.prepare.sources.imagenet import check_classes, wordnet_ids
from nofrost.prepare.sources.listing import Listing
from nofrost.prepare.sources.photograph_parts import common_shape, photograph_part


@register("imagenet-v2")
class ImageNetV2(Source):
    """One of the three sets of ImageNet-V2, unpacked: a test set of the classes of ImageNet-1k.

    Attributes:
        variant: which set; `path` is its folder, or the one that holds the folder under its published name.
    """

    holds_photographs: ClassVar[bool] = True
    prefers_shards: ClassVar[bool] = True
    test_only: ClassVar[bool] = True

    variant: Literal["matched-frequency", "threshold-0.7", "top-images"] = "matched-frequency"

    def open(self) -> SourceData:
        """Return the images of the folders 0 to 999, by class and then by name.

        The folders are numbers, sorted as numbers: as texts, 10 would come before 2, and nearly all images would get
        the class of others. Their classes bear the WordNet ids of ImageNet-1k.

        Raises:
            UserError: a folder is missing, or there are others, or the name of the folder is that of another set.
        """
        card = load_card("imagenet-v2")
        root, classes, listing = self._root(), wordnet_ids(), Listing(splits_are_given=True)
        if not root.is_dir() or not folders_in(root):
            raise missing(root, f"the unpacked folder of ImageNet-V2 with the folders 0 to {len(classes) - 1}")
        numbers = [str(number) for number in range(len(classes))]
        check_classes(root, [folder.name for folder in folders_in(root)], numbers)
        images = list_class_folders(listing, root, numbers)
        shape = common_shape(self, images.images(), len(images))
        return SourceData(
            name="imagenet-v2",
            classes=classes,
            train=photograph_part(self, images.labels, images.image, shape),
            test=None,
            origin=f"{card.title} ({card.citation}): {self.variant}",
            licence=card.licence,
            checksums={CHECKSUM: "sha256:" + names_and_sizes([images])},
            remarks=tuple(listing.remarks()),
            url=card.url,
            own_classes=OwnClasses(),
        )

    def _root(self) -> Path:
        card = load_card("imagenet-v2")
        folders = {variant: str(file.folder) for variant, file in zip(card.images, card.files, strict=True)}
        path = Path(self.path)
        root = path / folders[self.variant] if (path / folders[self.variant]).is_dir() else path
        other = next((each for each, folder in folders.items() if folder == root.absolute().name), self.variant)
        if other != self.variant:
            raise UserError(
                f"{root} is the set {other} of ImageNet-V2, and variant is {self.variant}: write variant: {other}, or "
                "name the other folder"
            )
        return root
