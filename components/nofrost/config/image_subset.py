"""Image subset: which of a suite's images an attack or the properties are measured on."""

from typing import ClassVar

from pydantic import Field

from nofrost.config.base import ImageCount, LaterKeys


class ImageSubset(LaterKeys):
    """Images of the first so many `classes` of the dataset (null for all), and of these at most `max_images`, evenly
    spaced (null for all)."""

    later_keys: ClassVar[tuple[str, ...]] = ("max_images", "classes")

    max_images: ImageCount | None = None
    classes: int | None = Field(default=None, ge=1)

    @property
    def is_whole(self) -> bool:
        """Whether no image is left out."""
        return self.max_images is None and self.classes is None

    @property
    def text(self) -> str:
        """The subset in words that can be part of a file name, such as ``500-images-of-10-classes``."""
        images = "images" if self.max_images is None else f"{self.max_images}-images"
        return images if self.classes is None else f"{images}-of-{self.classes}-classes"
