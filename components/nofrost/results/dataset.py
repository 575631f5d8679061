"""What prepare and augment write beside their manifests."""

from pydantic import ConfigDict

from nofrost.config.corruption_families import CORRUPTION_FAMILIES
from nofrost.results.common import Result

CORRUPTIONS = "corruptions"
"""The augmentation set whose images have corruptions."""


class DatasetMetrics(Result):
    """``metrics.json`` of prepare: images by split, and what they are like. `image_size` is height and width."""

    train_images: int
    selection_images: int
    test_images: int
    classes: int
    image_size: tuple[int, int]
    channels: int


class TestSetsMetrics(Result):
    """``metrics.json`` of prepare-test-sets: the number of images of each further test set, and the names of optional
    ones that are `left_out` because their sources are not there."""

    __test__ = False  # the name is no test class of pytest

    later_keys = ("left_out",)

    test_images: dict[str, int]
    left_out: tuple[str, ...] = ()


class AugmentationMetrics(Result):
    """``metrics.json`` of augment: the number of images in each set, and under the name of each method what it
    measured of its set."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, dict[str, int | float]]

    images: int

    def made_corruptions(self) -> tuple[str, ...]:
        """Return the corruptions that images of the set ``corruptions`` have, by family; none without such a set."""
        measured = self.__pydantic_extra__.get(CORRUPTIONS, {})
        return tuple(name for names in CORRUPTION_FAMILIES.values() for name in names if measured.get(name))
