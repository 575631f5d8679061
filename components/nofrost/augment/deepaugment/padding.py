"""Padding of images to the sizes that strided networks take."""

import torch.nn.functional as F
from torch import Tensor


def padded_to_multiple(images: Tensor, number: int, least: int = 0) -> Tensor:
    """Return images [N, C, H, W] with their last pixels repeated, until both sizes are multiples of `number`.

    Args:
        least: a multiple of `number` below which they do not stay.
    """
    height, width = images.shape[2:]
    below, right = (max(least, size + -size % number) - size for size in (height, width))
    return F.pad(images, (0, right, 0, below), mode="replicate")
