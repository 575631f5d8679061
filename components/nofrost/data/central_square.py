"""The evaluation view of an image: resize of the shorter side, then the central square."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nofrost.config.evaluation_view import EvaluationView


def resize_shorter_side(image: Image.Image, length: int) -> Image.Image:
    """Return the image with its shorter side resized to `length` pixels, as torchvision's ``Resize`` does.

    Bilinear with antialias; the longer side is rounded down.
    """
    shorter = min(image.size)
    if shorter == length:
        return image
    width, height = (length if side == shorter else int(length * side / shorter) for side in image.size)
    return image.resize((width, height), Image.Resampling.BILINEAR)


def central_square(image: Image.Image, view: EvaluationView) -> Image.Image:
    """Return the central square of `view.crop` pixels of the image with its shorter side resized to `view.resize`.

    Bilinear with antialias and rounded as torchvision's ``Resize`` and ``CenterCrop`` are, pixel for pixel.
    """
    image = resize_shorter_side(image, view.resize)
    left, top = (round((side - view.crop) / 2) for side in image.size)
    return image.crop((left, top, left + view.crop, top + view.crop))


def central_squares(images: NDArray[np.uint8], view: EvaluationView) -> NDArray[np.uint8]:
    """Return the evaluation view of images uint8 [N, H, W, C] of an array: uint8 [N, crop, crop, C].

    Each channel is resized by itself, so that there may be any number of them.
    """
    squares = np.empty((len(images), view.crop, view.crop, images.shape[3]), np.uint8)
    for square, image in zip(squares, images, strict=True):
        for channel in range(image.shape[2]):
            square[..., channel] = np.asarray(central_square(Image.fromarray(image[..., channel]), view))
    return squares
