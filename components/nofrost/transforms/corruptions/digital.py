"""Digital corruptions (Hendrycks & Dietterich 2019, §3): contrast, elastic transform, pixelation and JPEG."""

import io
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import repeat

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile
from torch import Tensor

from nofrost.transforms.corruptions.compilation import is_compiled
from nofrost.transforms.corruptions.corruption import Corruption, each
from nofrost.transforms.corruptions.draws import Draws
from nofrost.transforms.corruptions.filters import pixel_grid, sampled, smoothed
from nofrost.transforms.corruptions.taps import along_height, along_width, box_taps, mirrored

try:
    import simplejpeg
except ImportError:
    simplejpeg = None


def contrast(images: Tensor, factor: float) -> Tensor:
    """Draw every value towards the mean of its channel in its image: the distance is multiplied by `factor`."""
    return torch.add(images.mean(dim=(2, 3), keepdim=True).mul_(1 - factor), images, alpha=factor)


def elastic_transform(images: Tensor, draws: Draws, amount: float, smoothness: float, shift: float) -> Tensor:
    """Warp with a random affine map, then with a smooth field of displacements.

    Args:
        amount: factor of the field, of which each value is drawn from [-1, 1], as a share of the shorter side.
        smoothness: standard deviation of the Gaussian that smooths it, as a share of the shorter side.
        shift: up to which each of three points is moved by the affine map, as a share of the shorter side.
    """
    side = min(images.shape[2:])
    height, width = images.shape[2:]
    rows, columns = pixel_grid(images)
    down, right = (
        (factor[:, 0, None, None] * columns).add(factor[:, 1, None, None] * rows + factor[:, 2, None, None])
        for factor in _affine(draws, height, width, shift * side)
    )
    warped = sampled(images, down, right, beyond="mirrored-at-centre")
    if not amount:
        return warped
    field = draws.uniform(2, height, width, low=-1, high=1)
    field = smoothed(field, smoothness * side, mirrored, truncate=3.0).mul_(amount * side)
    return sampled(warped, rows, columns, beyond="mirrored", offsets=field)


def _affine(draws: Draws, height: int, width: int, shift: float) -> tuple[Tensor, Tensor]:
    """Return the map from places in the result to those in the image: [N, 3] for the row and for the column.

    Each holds the factors of column, of row, and of one. Three corners of a square around the middle move by up to
    `shift` pixels in each direction.
    """
    centre, third = np.array([height // 2, width // 2], dtype=np.float64), min(height, width) // 3
    before = np.stack((centre + third, np.array([centre[0] + third, centre[1] - third]), centre - third))
    after = before + draws.uniform(3, 2, low=-shift, high=shift).cpu().numpy().astype(np.float64)
    corners = np.concatenate((after, np.ones((len(after), 3, 1))), axis=2)
    # Points are written as (column, row), as OpenCV does.
    factors = torch.from_numpy(np.linalg.solve(corners, np.broadcast_to(before, after.shape))).float().to(draws.device)
    return factors[:, :, 1], factors[:, :, 0]


def pixelate(images: Tensor, scale: float) -> Tensor:
    """Shrink to `scale` of the size by averaging boxes of pixels and grow back, as Pillow's BOX filter does.

    Pillow works on 8-bit levels and rounds halves up after the pass over columns and after that over rows.
    """
    height, width = images.shape[2:]
    small_height, small_width = int(height * scale), int(width * scale)
    shrinking = box_taps(height, small_height), box_taps(width, small_width)
    growth = box_taps(small_height, height), box_taps(small_width, width)
    if is_compiled(images):
        from nofrost.transforms.corruptions.kernels.moved_pixels import pixelated

        return pixelated(images, shrinking, growth)
    narrow = _rounded(along_width(images.mul(255).round_(), shrinking[1]))
    small = _rounded(along_height(narrow, shrinking[0])).div_(255)
    return along_height(along_width(small, growth[1]), growth[0])


def _rounded(levels: Tensor) -> Tensor:
    return levels.add_(0.5).floor_()


def jpeg_compression(images: Tensor, quality: int) -> Tensor:
    """Write and read every image as JPEG of this `quality`, as Pillow writes it.

    The codec takes one image at a time, so this is a loop over images, in as many threads as torch has (it frees the
    interpreter lock while it works). simplejpeg, of the extra ``fast``, reads the same pixels in a third of the time.
    """
    if is_compiled(images):
        from nofrost.transforms.corruptions.kernels.pointwise import changed_as_levels

        return changed_as_levels(images, partial(_compressed_pixels, quality=quality))
    # The lowest bits of a float above 2**23 are its nearest whole number; torch turns floats into bytes one at a time.
    levels = torch.add(images.new_tensor(2.0**23), images, alpha=255).view(torch.int32).to("cpu", torch.uint8).numpy()
    threads = torch.get_num_threads()
    with ThreadPoolExecutor(threads) as pool:
        each_image = pool.map if threads > 1 else map
        decoded = list(each_image(_compressed_planes, levels, repeat(quality)))
    pixels = torch.from_numpy(decoded[0][None] if len(decoded) == 1 else np.stack(decoded)).to(images.device)
    return pixels.permute(0, 3, 1, 2).to(images.dtype, memory_format=torch.contiguous_format).div_(255)


def _compressed_planes(planes: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    """Return what is read, [H, W, C], of an image [C, H, W] that was written as JPEG."""
    bands = [Image.fromarray(plane) for plane in planes]
    written = _written(bands[0] if len(bands) == 1 else Image.merge("RGB", bands), quality)
    return _read(written, "L" if len(bands) == 1 else "RGB").reshape(*planes.shape[1:], len(bands))


def _compressed_pixels(pixels: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    """Return what is read of an image [H, W], or [H, W, 4] of which the fourth channel is unused."""
    mode = "L" if pixels.ndim == 2 else "RGBX"
    image = Image.frombuffer(mode, pixels.shape[1::-1], pixels, "raw", mode, 0, 1)
    return _read(_written(image, quality), mode).reshape(pixels.shape)


def _written(image: Image.Image, quality: int) -> io.BytesIO:
    written = io.BytesIO()
    image.save(written, "JPEG", quality=quality)
    return written


def _read(written: io.BytesIO, mode: str) -> NDArray[np.uint8]:
    if simplejpeg:
        # "RGBA" is what simplejpeg calls four bytes of which the last is unused.
        colours = {"L": "Gray", "RGB": "RGB", "RGBX": "RGBA"}[mode]
        decoded: NDArray[np.uint8] = simplejpeg.decode_jpeg(written.getbuffer(), colours)
        return decoded
    written.seek(0)
    # As Image.open does, which would try what kind of file it is
    with JpegImageFile(written) as read:
        return np.array(read.convert("RGBX") if mode == "RGBX" else read)


# Of the published constants for ImageNet, which are of 244 pixels for images of 224
_OF_224 = 244 / 224

DIGITAL = {
    "contrast": Corruption(
        contrast,
        cifar=each(0.75, 0.50, 0.40, 0.30, 0.15),
        tiny_imagenet=each(0.40, 0.30, 0.20, 0.10, 0.05),
        imagenet=each(0.40, 0.30, 0.20, 0.10, 0.05),
    ),
    "elastic_transform": Corruption(
        elastic_transform,
        cifar=((0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03)),
        tiny_imagenet=((0, 0, 0.08), (0.05, 0.3, 0.06), (0.1, 0.08, 0.06), (0.1, 0.03, 0.03), (0.16, 0.03, 0.02)),
        imagenet=tuple(
            tuple(_OF_224 * value for value in values)
            for values in ((2, 0.7, 0.1), (2, 0.08, 0.2), (0.05, 0.01, 0.02), (0.07, 0.01, 0.02), (0.12, 0.01, 0.02))
        ),
        random=True,
    ),
    "pixelate": Corruption(
        pixelate,
        cifar=each(0.95, 0.90, 0.85, 0.75, 0.65),
        tiny_imagenet=each(0.9, 0.8, 0.7, 0.6, 0.5),
        imagenet=each(0.6, 0.5, 0.4, 0.3, 0.25),
        on_levels=True,
    ),
    "jpeg_compression": Corruption(
        jpeg_compression,
        cifar=each(80, 65, 58, 50, 40),
        tiny_imagenet=each(65, 58, 50, 40, 25),
        imagenet=each(25, 18, 15, 10, 7),
        on_levels=True,
    ),
}
