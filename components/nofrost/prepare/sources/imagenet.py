"""ImageNet-1k (ILSVRC 2012) as it is published: class folders, or the tars with the development kit."""

import re
from collections.abc import Sequence
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from nofrost.data.dataset_card import load_card
from nofrost.errors import UserError, say
from nofrost.limits import regular_file
from nofrost.prepare.sources.base import Source, SourceData, missing, register
from nofrost.prepare.sources.checksums import check_file
from nofrost.prepare.sources.class_folders import CHECKSUM, ClassFolders, list_class_folders, names_and_sizes
from nofrost.prepare.sources.folders import cannot_list, folders_in, is_image
from nofrost.prepare.sources.imagenet_devkit import DEVKIT, ground_truth
from nofrost.prepare.sources.layout import first_names
from nofrost.prepare.sources.listing import Listing
from nofrost.prepare.sources.packed import PackedPaths
from nofrost.prepare.sources.photograph_parts import common_shape, photograph_part
from nofrost.prepare.sources.tars import TarImages, TarMember, tar_members
from nofrost.telemetry import progress

TRAIN_TAR, VAL_TAR = "ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar"
_KAGGLE = "ILSVRC/Data/CLS-LOC"  # the folders are there in Kaggle's archive
_CLASS_TAR = re.compile(r"(?:.*/)?(n[0-9]{8})\.tar")


@cache
def wordnet_ids() -> tuple[str, ...]:
    """Return the 1,000 classes of ImageNet-1k in the order of their indices: WordNet ids, sorted."""
    # slow to import, and only the sources of ImageNet need it
    from timm.data.imagenet_info import ImageNetInfo

    facts: Any = ImageNetInfo("imagenet-1k")
    return tuple(facts.label_names())


@register("imagenet")
class ImageNet(Source):
    """The folders train and val of class folders at `path`, or the published tars there; its own test split is val."""

    holds_photographs: ClassVar[bool] = True
    prefers_shards: ClassVar[bool] = True
    libraries: ClassVar[tuple[str, ...]] = ("numpy", "pillow", "scipy")

    def open(self) -> SourceData:
        """Return the training and validation images, by class and then by name, whichever way they lie there.

        Training images lie in ``train/<WordNet id>/`` or in ``ILSVRC2012_img_train.tar``, validation images in
        ``val/<WordNet id>/``, or in ``val/`` itself or ``ILSVRC2012_img_val.tar`` with the development kit beside them
        (``ILSVRC2012_devkit_t12`` or its archive). Tars are read where they lie, without unpacking.

        Raises:
            UserError: there are none, a class is missing, a tar or the kit is not the published one (by its MD5), or
                something is damaged.
        """
        card = load_card("imagenet")
        root, classes, listing = Path(self.path), wordnet_ids(), Listing(splits_are_given=True)
        images: dict[str, ClassFolders | TarImages] = {}
        checksums: dict[str, str] = {}
        for split in ("train", "val"):
            images[split], found = _split_images(root, split, classes, listing)
            checksums |= found
        if folders := [part for part in images.values() if isinstance(part, ClassFolders)]:
            checksums[CHECKSUM] = "sha256:" + names_and_sizes(folders)
        count = sum(map(len, images.values()))
        shape = common_shape(self, chain.from_iterable(part.images() for part in images.values()), count)
        train, val = (photograph_part(self, part.labels, part.image, shape) for part in images.values())
        return SourceData(
            name="imagenet",
            classes=classes,
            train=train,
            test=val,
            origin=f"{card.title} ({card.citation}), its validation images as test split",
            licence=card.licence,
            checksums=checksums,
            remarks=tuple(listing.remarks()),
            url=card.url,
        )


def validation_images(
    root: Path, classes: Sequence[str], listing: Listing
) -> tuple[ClassFolders | TarImages, dict[str, str]]:
    """Return the validation images in `root` by class and then by name, whichever way they lie there, and checksums.

    Raises:
        UserError: as of :meth:`ImageNet.open`.
    """
    images, checksums = _split_images(root, "val", classes, listing)
    if isinstance(images, ClassFolders):
        checksums[CHECKSUM] = "sha256:" + names_and_sizes([images])
    return images, checksums


def _split_images(
    root: Path, split: str, classes: Sequence[str], listing: Listing
) -> tuple[ClassFolders | TarImages, dict[str, str]]:
    """Return the images of a split, and the checksum of its tar if they are in one."""
    tar = TRAIN_TAR if split == "train" else VAL_TAR
    if not regular_file(root / tar).is_file():
        return _folders(root, split, classes, listing), {}
    say(f"prepare: {tar} is read to compare its checksum")
    checksums = check_file(root / tar, load_card("imagenet").file(tar))
    read = _training_tar if split == "train" else _validation_tar
    return read(root / tar, classes), checksums


def check_classes(folder: Path, names: Sequence[str], classes: Sequence[str]) -> None:
    """Check that the class folders or archives `names` in `folder` are the `classes` of ImageNet-1k.

    Raises:
        UserError: some are missing, or there are others; the message names the first ones.
    """
    for fault, found in (("lacks", set(classes) - set(names)), ("also holds", set(names) - set(classes))):
        if found:
            raise UserError(
                f"{folder} {fault} {first_names(sorted(found))} ({len(found):,} in all): ImageNet-1k has "
                f"{len(classes):,} classes; complete it, or read another choice of classes with dataset.source folder"
            )


def _training_tar(file: Path, classes: Sequence[str]) -> TarImages:
    """Return the images in the tar of one tar for each class."""
    tars = {match[1]: member for member in tar_members(file) if (match := _CLASS_TAR.fullmatch(member.name))}
    check_classes(file, list(tars), classes)
    images, counts = [], []
    with progress("classes", total=len(classes), least_s=5) as bar:
        for name in classes:
            inner = tar_members(file, tars[name].offset, tars[name].size)
            found = sorted(inner, key=lambda member: member.name)
            images.append(_positions(found))
            counts.append(len(found))
            bar.advance()
    return _tar_images(file, np.concatenate(images), np.repeat(np.arange(len(classes)), counts))


def _validation_tar(file: Path, classes: Sequence[str]) -> TarImages:
    """Return the validation images by class and name, their classes from the development kit beside the tar."""
    members = sorted(tar_members(file), key=lambda member: member.name)
    labels = _labels_of_kit(file.parent, classes, file, len(members))
    order = np.argsort(labels, kind="stable")
    return _tar_images(file, _positions(members)[order], labels[order])


def _positions(members: Sequence[TarMember]) -> NDArray[np.int64]:
    return np.array([(member.offset, member.size) for member in members], dtype=np.int64).reshape(-1, 2)


def _tar_images(file: Path, positions: NDArray[np.int64], labels: NDArray[np.int64]) -> TarImages:
    numbers = np.zeros(len(labels), dtype=np.int32)
    return TarImages((file,), numbers, positions[:, 0], positions[:, 1], labels)


def _folders(root: Path, split: str, classes: Sequence[str], listing: Listing) -> ClassFolders:
    """Return the images of a split that lies unpacked in `root`."""
    folder = next((found for found in (root / split, root / _KAGGLE / split) if found.is_dir()), None)
    if folder is None:
        tar = TRAIN_TAR if split == "train" else VAL_TAR
        raise missing(root, f"the folder {split} of class folders, or {tar} beside it")
    names = [inner.name for inner in folders_in(folder)]
    if not names and split == "val":
        return _flat_validation(root, folder, classes)
    check_classes(folder, names, classes)
    return list_class_folders(listing, folder, classes)


def _flat_validation(root: Path, folder: Path, classes: Sequence[str]) -> ClassFolders:
    """Return validation images that lie in one folder, as they are published."""
    try:
        names = sorted(entry.name for entry in folder.iterdir() if is_image(entry.name))
    except OSError as error:
        cannot_list(error)
    labels = _labels_of_kit(root, classes, folder, len(names))
    order = np.argsort(labels, kind="stable")
    return ClassFolders(folder, PackedPaths(names[row] for row in order), labels[order])


def _labels_of_kit(root: Path, classes: Sequence[str], images: Path, count: int) -> NDArray[np.int64]:
    """Return the class of each of the sorted validation images: int64 [N]."""
    names = ground_truth(root)
    check_classes(root / DEVKIT, sorted(set(names)), classes)
    if len(names) != count:
        raise UserError(
            f"{images} holds {count:,} images, the ground truth of the development kit {len(names):,}: complete it"
        )
    number = {name: row for row, name in enumerate(classes)}
    return np.array([number[name] for name in names], dtype=np.int64)
