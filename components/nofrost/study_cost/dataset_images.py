"""How many images a dataset has: by its manifest, or before it is prepared by the published numbers."""

from __future__ import annotations

from dataclasses import dataclass

from nofrost.config import DatasetSpec
from nofrost.data import Manifest
from nofrost.data.dataset_card import find_card
from nofrost.errors import UserError


@dataclass(frozen=True)
class Images:
    """How many images a dataset has, and of which form.

    Attributes:
        train, selection, test: in each split.
        size: height and width in pixels, where they are all alike.
    """

    train: int
    selection: int
    test: int
    size: tuple[int, int]
    channels: int
    classes: int


def images_of(manifest: Manifest) -> Images:
    """Return the images of a dataset that is prepared."""
    train, selection, test = (
        manifest.splits[name].count if name in manifest.splits else 0 for name in ("train", "selection", "test")
    )
    return Images(train, selection, test, manifest.image_size, manifest.channels, len(manifest.classes))


def published_images(spec: DatasetSpec) -> Images:
    """Return the images of a dataset by its published numbers.

    Raises:
        UserError: its source has none, such as a folder.
    """
    card = find_card(spec.source)
    if card is None:
        raise UserError(
            f"how many images source {spec.source} has is not known before: prepare the dataset, and name its folder "
            "with --dataset"
        )
    train, test = card.images.get("train"), card.images.get("test", card.images.get("val"))
    own_test = train is not None and test is not None
    if train is None or test is None:
        total = sum(card.images.values())
        test = round(spec.test_share * total)
        train = total - test
    options = spec.model_extra or {}
    chosen, class_limit = options.get("classes"), options.get("class_limit")
    classes = len(chosen) if isinstance(chosen, list | tuple) else card.classes
    train, test = (round(count * classes / card.classes) for count in (train, test))
    if isinstance(class_limit, int):
        # of the training images; the test images that are cut from them are among these
        limited = class_limit * classes
        if own_test:
            train = min(train, limited)
        else:
            limited = min(train + test, limited)
            test = round(spec.test_share * limited)
            train = limited - test
    kept = min(1.0, spec.limit / (train + test)) if spec.limit else 1.0
    train, test = round(train * kept), round(test * kept)
    selection = round(train * spec.selection_share)
    side = spec.image_size or (spec.view.crop if spec.view and spec.view.crop else None)
    size = (side, side) if side else card.image_size or (224, 224)
    return Images(train - selection, selection, test, size, card.channels, classes)
