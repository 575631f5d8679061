"""Crops and horizontal flips of a batch, with one draw for each image.

Drawing and applying are separate, so that processes that share a batch can draw for all images and transform theirs.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

# Of the crops of random size (Szegedy et al. 2015, for training on ImageNet): width to height, and draws for each image
RATIO = (3 / 4, 4 / 3)
TRIES = 10


def crop_offsets(n: int, padding: int, generator: torch.Generator) -> Tensor:
    """Return where to cut n images that are padded by `padding` on all sides: [n, 2] from the top and the left."""
    return torch.randint(0, 2 * padding + 1, (2, n), generator=generator).T


def padded_crop(images: Tensor, padding: int, offsets: Tensor) -> Tensor:
    """Pad images [N, C, H, W] with zeros on all sides and cut each at its `offsets` [N, 2] back to H x W."""
    n, _, height, width = images.shape
    tops, lefts = offsets.T.to(images.device)
    rows = tops[:, None] + torch.arange(height, device=images.device)
    columns = lefts[:, None] + torch.arange(width, device=images.device)
    padded = F.pad(images, (padding,) * 4)
    index = torch.arange(n, device=images.device)[:, None, None]
    return padded.permute(0, 2, 3, 1)[index, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2).contiguous()


def flips(n: int, generator: torch.Generator) -> Tensor:
    """Return which of n images to mirror, each with probability one half: bool [n]."""
    return torch.rand(n, generator=generator) < 0.5


def flip(images: Tensor, mask: Tensor) -> Tensor:
    """Mirror the images [N, C, H, W] in `mask` (bool [N]) left to right."""
    return torch.where(mask.to(images.device)[:, None, None, None], images.flip(3), images)


def crop_boxes(n: int, area: tuple[float, float], generator: torch.Generator) -> Tensor:
    """Return boxes [n, 4] of top, left, height and width, as shares of the image's height and width.

    A box has a share of the image's area drawn from `area`, a ratio of width to height (as shares) between 3/4 and 4/3,
    and any place in the image; when none of ten drawn fits, it is the whole image.
    """
    width, height = _sizes(n, area, generator)
    left = torch.rand(n, generator=generator) * (1 - width)
    top = torch.rand(n, generator=generator) * (1 - height)
    return torch.stack((top, left, height, width), dim=1)


def pixel_boxes(sizes: Tensor, area: tuple[float, float], generator: torch.Generator) -> Tensor:
    """Return boxes int64 [n, 4] of top, left, height and width in pixels, as torchvision's RandomResizedCrop does.

    A box has a share of its image's area drawn from `area` and a ratio of width to height in pixels between 3/4 and
    4/3, and any place in the image; when none of ten drawn fits, it is the largest central one of these ratios.

    Args:
        sizes: int64 [n, 2], height and width of each image.
    """
    shares, ratios = _shares_and_ratios(len(sizes), area, generator)
    heights, widths = sizes.double().T
    wanted = shares * (heights * widths)[:, None]
    drawn = torch.stack(((wanted / ratios).sqrt().round(), (wanted * ratios).sqrt().round()), dim=2)
    fits = ((drawn > 0) & (drawn <= sizes[:, None])).all(dim=2)
    first = drawn[torch.arange(len(sizes)), fits.int().argmax(dim=1)]
    central = torch.stack(
        (torch.minimum(heights, (widths / RATIO[0]).round()), torch.minimum(widths, (heights * RATIO[1]).round())),
        dim=1,
    )
    is_central = ~fits.any(dim=1, keepdim=True)
    cut = torch.where(is_central, central, first)
    room = sizes - cut
    places = (torch.rand((len(sizes), 2), generator=generator, dtype=torch.float64) * (room + 1)).floor()
    return torch.cat((torch.where(is_central, (room / 2).floor(), places), cut), dim=1).long()


def _sizes(n: int, area: tuple[float, float], generator: torch.Generator) -> tuple[Tensor, Tensor]:
    shares, ratios = _shares_and_ratios(n, area, generator)
    sizes = torch.stack(((shares * ratios).sqrt(), (shares / ratios).sqrt()))
    fits = (sizes <= 1).all(dim=0)
    first = fits.int().argmax(dim=1).expand(2, 1, n).transpose(1, 2)
    width, height = torch.where(fits.any(dim=1), sizes.gather(2, first)[..., 0], 1.0)
    return width, height


def _shares_and_ratios(n: int, area: tuple[float, float], generator: torch.Generator) -> tuple[Tensor, Tensor]:
    lowest, highest = (math.log(bound) for bound in RATIO)
    shares = area[0] + (area[1] - area[0]) * torch.rand((n, TRIES), generator=generator)
    return shares, (lowest + (highest - lowest) * torch.rand((n, TRIES), generator=generator)).exp()


def resized_crop(images: Tensor, boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the box of each image, resized to `size`: bilinear, antialiased where that makes it smaller.

    The result of an image does not depend on the rest of the batch, bit for bit.

    Args:
        images: float [N, C, H, W], on any device.
        boxes: [N, 4] as :func:`crop_boxes` draws them.
        size: height and width of the result.
    """
    if not len(images):
        return images.new_empty(0, images.shape[1], *size)
    top, left, height, width = boxes.T.to(images)
    rows = _resampled(images.permute(0, 2, 3, 1), top, height, size[0])  # [N, height, W, C]
    columns = _resampled(rows.transpose(1, 2), left, width, size[1])  # [N, width, height, C]
    return columns.permute(0, 3, 2, 1).contiguous()


def _resampled(lines: Tensor, start: Tensor, length: Tensor, size: int) -> Tensor:
    """Resample the second dimension of `lines` [N, L, M, C] between `start` and `start + length`, shares [N] of L.

    Each line of the result is a weighted sum of those under a triangle around its centre, which is two lines wide, or
    as wide as two of the result's where those are wider.
    """
    n, stored, *rest = lines.shape
    scale = (length * stored / size)[:, None]
    centres = (start * stored)[:, None] + (torch.arange(size, device=lines.device) + 0.5) * scale
    reach = scale.clamp(min=1)
    # lines under the widest triangle
    most = math.ceil(2 * max(1, stored / size)) + 1
    taps = (centres - reach).floor()[..., None] + torch.arange(most, device=lines.device)
    weights = (1 - (taps + 0.5 - centres[..., None]).abs() / reach[..., None]).clamp(min=0)
    weights = weights * ((taps >= 0) & (taps < stored))
    weights = weights / weights.sum(dim=2, keepdim=True)
    indices = taps.long().clamp(0, stored - 1) + stored * torch.arange(n, device=lines.device)[:, None, None]
    summed = F.embedding_bag(
        indices.flatten(0, 1),
        lines.contiguous().view(n * stored, -1),
        per_sample_weights=weights.flatten(0, 1).to(lines),
        mode="sum",
    )
    return summed.view(n, size, *rest)
