from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nofrost.errors import UserError
from nofrost.prepare.photo import FileImage, decode, read_header, refusing_giant_images

Paint = Callable[..., Path]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["tiff", "png"])
def test_images_are_turned_upright_by_exif(tmp_path: Path, orientation: int, suffix: str) -> None:
    upright = np.arange(24, dtype=np.uint8).reshape(4, 6) * 10
    stored = {  # how a camera held in that orientation stores the upright image
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.T,
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].T,
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"image.{suffix}"
    Image.fromarray(np.ascontiguousarray(stored)).save(path, exif=exif)
    assert read_header(FileImage(path)).size == (4, 6)
    np.testing.assert_array_equal(decode(FileImage(path), 1, None)[..., 0], upright)


@pytest.mark.parametrize(("mode", "channels"), [("RGBA", 3), ("LA", 1)])
def test_transparency_is_laid_on_white(tmp_path: Path, paint: Paint, mode: str, channels: int) -> None:
    path = paint(tmp_path / "image.png", mode=mode)
    stored = np.asarray(Image.open(path)).astype(float)
    alpha = stored[..., -1:] / 255
    expected = stored[..., :-1] * alpha + 255 * (1 - alpha)
    assert np.abs(decode(FileImage(path), channels, None) - expected).max() <= 1


def test_a_palette_with_a_transparent_colour_is_laid_on_white(tmp_path: Path) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putdata([0, 1])
    image.save(tmp_path / "image.png", transparency=1)
    assert decode(FileImage(tmp_path / "image.png"), 3, None).tolist() == [[[10, 20, 30], [255, 255, 255]]]


def test_grey_images_of_16_bits_keep_their_range(tmp_path: Path) -> None:
    levels = np.array([[0, 257, 32896, 65535]], dtype=np.uint16)
    Image.fromarray(levels).save(tmp_path / "deep.png")
    assert read_header(FileImage(tmp_path / "deep.png")).grey
    assert decode(FileImage(tmp_path / "deep.png"), 1, None).ravel().tolist() == [0, 1, 128, 255]


def test_pixels_of_unknown_range_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.ones((4, 4), dtype=np.float32)).save(tmp_path / "float.tiff")
    with pytest.raises(UserError, match=r"float\.tiff has 32-bit pixels"):
        decode(FileImage(tmp_path / "float.tiff"), 1, None)


def test_colours_of_print_become_rgb(tmp_path: Path) -> None:
    Image.new("CMYK", (3, 3), (0, 255, 255, 0)).save(tmp_path / "print.jpg", quality=100)
    red, green, blue = decode(FileImage(tmp_path / "print.jpg"), 3, None)[1, 1].tolist()
    assert red > 240
    assert max(green, blue) < 15


@pytest.mark.parametrize("pixels", [50, 99], ids=["error of Pillow", "warning of Pillow"])
def test_an_image_with_too_many_pixels_is_refused(
    tmp_path: Path, paint: Paint, monkeypatch: pytest.MonkeyPatch, pixels: int
) -> None:
    path = paint(tmp_path / "image.png", size=(10, 12))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", pixels)
    with refusing_giant_images(), pytest.raises(UserError, match=r"image\.png has too many pixels"):
        read_header(FileImage(path))


def test_a_format_that_runs_programs_is_not_even_tried(tmp_path: Path) -> None:
    path = tmp_path / "script.png"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n%%EndComments\nshowpage\n")
    with pytest.raises(UserError, match="is cut off or not an image"):
        decode(FileImage(path), 3, None)
