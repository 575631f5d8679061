"""The views of the images of a batch: each image of each view has its own crop, flip, colours and so on.

Random numbers are drawn for the whole batch and sliced, so that the rows of all processes together equal the batch of a
single process, bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Generic, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from nofrost.config.recipe import AugMixSpec, TextureDebiasedSpec, ViewSpec
from nofrost.data import Images, to_tensor
from nofrost.train.decoding_threads import DecodingThreads
from nofrost.train.objectives.base import scaled
from nofrost.train.photograph_views import Crops, evaluation_views, photographs_of, stored_sizes
from nofrost.transforms.crops import crop_boxes, crop_offsets, flip, flips, padded_crop, pixel_boxes, resized_crop
from nofrost.transforms.erasing import Erasures
from nofrost.transforms.operations import Change, augmix, levels, randaugment
from nofrost.transforms.texture_debiased import Distortion

# The view that draws one of the augmentation sets, or the texture-debiased view, for each image.
ANY_SET = "augmented"
TEXTURE_DEBIASED = "texture-debiased"
AUGMIX, AUGMIX_AGAIN = "augmix", "augmix-2"
# Views that are drawn from the clean images, and the key of a recipe's `views` that has them.
DRAWN_VIEWS = {TEXTURE_DEBIASED: "texture_debiased", AUGMIX: "augmix", AUGMIX_AGAIN: "augmix"}


@dataclass(frozen=True)
class View:
    """A view of this process's images, [n, C, H, W], with what is left to the training device.

    Attributes:
        images: float32 in [0, 1], or levels, uint8, as photographs are decoded to.
        distortion: to be applied to them.
    """

    images: Tensor
    distortion: Distortion | None = None


T = TypeVar("T")
U = TypeVar("U")


class Later(Generic[T]):
    """What is made of a batch once its photographs are decoded. Whatever is random has been drawn before.

    Args:
        make: makes it; called once.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make

    @cached_property
    def value(self) -> T:
        """It; the photographs must be decoded."""
        return self._make()

    def then(self, change: Callable[[T], U]) -> Later[U]:
        """Return what `change` will make of it."""
        return Later(lambda: change(self.value))


@dataclass(frozen=True)
class BatchViews:
    """Draws the views of one batch, in the order in which they are asked for; then all of them are decoded together.

    Attributes:
        spec: the recipe's transforms.
        size: height and width of the views.
        rows: int64 [N], of the training split, those of the whole batch.
        own: int64 [n], positions in the batch of the rows that this process has.
        generator: of all that is drawn, on the CPU.
        threads: decode photographs, and change images one by one.
    """

    spec: ViewSpec
    size: tuple[int, int]
    rows: NDArray[np.int64]
    own: NDArray[np.int64]
    generator: torch.Generator
    threads: DecodingThreads

    def decode(self) -> None:
        """Decode the photographs of all views that were drawn; then they have values."""
        self._crops.decode()

    def view(self, images: Images) -> Later[View]:
        """Return the view with the recipe's crop or resize, padding, flip, RandAugment and erasing."""
        return self._transformed([images], self._zeros, self.own).then(View)

    def augmix(self, clean: Later[View], spec: AugMixSpec) -> Later[View]:
        """Return the view of the clean images with AugMix on top, as its authors mix one crop of an image."""
        return self._changed(clean.then(lambda view: view.images), self.own, augmix(spec)).then(View)

    def texture_debiased(self, images: Images, spec: TextureDebiasedSpec) -> Later[View]:
        """Return the texture-debiased view, whose only crop is its own."""
        crops = self._cropped([images], self._zeros, self.own, spec.random_resized_crop)
        distortion = self._distortion(images.shape[-1], spec)
        return crops.then(lambda images: View(images, distortion))

    def any_set(self, sets: Sequence[Images], clean: Images, spec: TextureDebiasedSpec | None) -> Later[View]:
        """Return the view that draws for each image one of the sets or, with a `spec`, the texture-debiased view."""
        count = len(sets) + (spec is not None)
        numbers = torch.randint(0, count, (len(self.rows),), generator=self.generator).numpy()
        if spec is None:
            return self._transformed(sets, numbers, self.own).then(View)
        mask = torch.from_numpy(numbers[self.own] == len(sets))
        of_sets = self._transformed(sets or [clean], numbers * bool(sets), self.own[~mask])
        crops = self._cropped([clean], self._zeros, self.own[mask], spec.random_resized_crop)
        distortion = self._distortion(clean.shape[-1], spec).where(mask)
        return Later(lambda: View(_joined(of_sets.value, crops.value, mask), distortion))

    @property
    def _zeros(self) -> NDArray[np.int64]:
        """The numbers of a single source of images."""
        return np.zeros(len(self.rows), np.int64)

    @cached_property
    def _crops(self) -> Crops:
        return Crops(self.size, self.threads)

    def _transformed(
        self, sources: Sequence[Images], numbers: NDArray[np.int64], own: NDArray[np.int64]
    ) -> Later[Tensor]:
        """Return the images at the positions `own`, of the source that `numbers` [N] says, transformed."""
        images = self._moved(sources, numbers, own)
        if self.spec.randaugment:
            images = self._changed(images, own, randaugment(self.spec.randaugment))
        if erasing := self.spec.random_erasing:
            drawn = Erasures.draw(len(self.rows), self.size, erasing, self.generator)
            images = images.then(drawn[torch.from_numpy(own)])
        return images

    def _changed(self, images: Later[Tensor], own: NDArray[np.int64], change: Change) -> Later[Tensor]:
        """Return the images (those at the positions `own`) changed one by one, as levels, uint8."""
        seeds = torch.randint(2**63 - 1, (len(self.rows),), generator=self.generator)[own].tolist()

        def changed(given: Tensor) -> Tensor:
            given = levels(given)
            made = torch.empty_like(given)

            def change_one(position: int) -> None:
                made[position] = change(given[position], seeds[position])

            self.threads.run(change_one, len(seeds))
            return made

        return images.then(changed)

    def _moved(self, sources: Sequence[Images], numbers: NDArray[np.int64], own: NDArray[np.int64]) -> Later[Tensor]:
        """Return the images at the positions `own`, of the source that `numbers` [N] says, cropped and flipped."""
        spec, padding = self.spec, self.spec.crop_padding
        if spec.random_resized_crop and not padding:
            return self._cropped(sources, numbers, own, spec.random_resized_crop)
        if spec.random_resized_crop:
            images = self._cropped(sources, numbers, own, spec.random_resized_crop, mirror=False)
        else:
            images = Later(lambda: self._resized(self._stored(sources, numbers, own)))
        if padding:
            offsets = crop_offsets(len(self.rows), padding, self.generator)[own]
            images = images.then(lambda given: padded_crop(given, padding, offsets))
        return self._flipped(images, self._mirrored(own))

    def _resized(self, images: Tensor) -> Tensor:
        if images.shape[2:] == self.size:
            return images
        return F.interpolate(scaled(images), self.size, mode="bilinear", antialias=True)

    def _flipped(self, images: Later[Tensor], mirrored: Tensor | None) -> Later[Tensor]:
        return images if mirrored is None else images.then(lambda given: flip(given, mirrored))

    def _stored(self, sources: Sequence[Images], numbers: NDArray[np.int64], own: NDArray[np.int64]) -> Tensor:
        """Return the images as they are stored; photographs in their evaluation view."""
        rows, numbers = self.rows[own], numbers[own]
        if photographs := photographs_of(sources):
            return evaluation_views(photographs, numbers, rows, self.threads)
        if len(sources) == 1:
            return to_tensor(sources[0][rows])
        stored = np.empty((len(rows), *sources[0].shape[1:]), np.uint8)
        for number, images in enumerate(sources):
            stored[numbers == number] = images[rows[numbers == number]]
        return to_tensor(stored)

    def _cropped(
        self,
        sources: Sequence[Images],
        numbers: NDArray[np.int64],
        own: NDArray[np.int64],
        least: float,
        *,
        mirror: bool = True,
    ) -> Later[Tensor]:
        """Return crops of random size, of at least the share `least` of the area; of the stored photograph itself.

        Args:
            mirror: also flip them, if the recipe does.
        """
        if photographs := photographs_of(sources):
            boxes = pixel_boxes(stored_sizes(photographs, numbers, self.rows), (least, 1.0), self.generator)[own]
            mirrored = self._mirrored(own) if mirror else None
            crops = self._crops.add(photographs, numbers[own], self.rows[own], boxes, mirrored)
            return Later(lambda: crops)
        boxes = crop_boxes(len(self.rows), (least, 1.0), self.generator)[own]
        images = Later(lambda: resized_crop(self._stored(sources, numbers, own), boxes, self.size))
        return self._flipped(images, self._mirrored(own) if mirror else None)

    def _mirrored(self, own: NDArray[np.int64]) -> Tensor | None:
        """Return which images to mirror: bool [n]; None if the recipe mirrors none."""
        return flips(len(self.rows), self.generator)[own] if self.spec.horizontal_flip else None

    def _distortion(self, channels: int, spec: TextureDebiasedSpec) -> Distortion:
        drawn = Distortion.draw(len(self.rows), channels, self.generator, noise=spec.noise, blur=spec.blur)
        return drawn[torch.from_numpy(self.own)]


def _joined(of_sets: Tensor, crops: Tensor, mask: Tensor) -> Tensor:
    """Return the images of the sets [n - m, C, H, W], and where the mask [n] says so, the crops [m, C, H, W]."""
    if crops.dtype != of_sets.dtype:
        crops, of_sets = scaled(crops), scaled(of_sets)
    images = of_sets.new_empty(len(mask), *of_sets.shape[1:])
    images[~mask], images[mask] = of_sets, crops
    return images
