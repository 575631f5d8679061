from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision.transforms import v2

from nofrost.config import EvaluationView
from nofrost.data.jpeg import decode_photograph
from nofrost.data.pixel_statistics import histograms
from nofrost.errors import UserError
from nofrost.prepare.photo import FileImage, decode
from nofrost.prepare.storing import StoredForm, stored_form
from tests.prepare.jpegs import jpeg, turned_jpeg, write


def stored(folder: Path, content: bytes, channels: int = 3, shorter_side: int | None = None) -> StoredForm:
    return stored_form(FileImage(write(folder / "photo", content)), channels, shorter_side)


def pixels(content: bytes, mode: str = "RGB") -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)).convert(mode)).astype(int)


@pytest.mark.parametrize(
    ("content", "channels", "shorter_side"),
    [
        (jpeg(), 3, None),
        (jpeg(mode="L"), 1, None),
        (jpeg(mode="L"), 3, None),
        (jpeg(progressive=True, quality=30), 3, None),
        (turned_jpeg(orientation=1), 3, None),
        (turned_jpeg(orientation=77), 3, None),
        (jpeg(size=(20, 16)), 3, 16),
        (jpeg(kind="MPO", save_all=True, append_images=[Image.new("RGB", (20, 16))]), 3, None),
    ],
)
def test_an_upright_jpeg_keeps_its_bytes(
    tmp_path: Path, content: bytes, channels: int, shorter_side: int | None
) -> None:
    form = stored(tmp_path, content, channels, shorter_side)
    assert (form.content, form.size, form.change) == (content, (16, 20), "")
    mode = "L" if channels == 1 else "RGB"
    np.testing.assert_array_equal(decode_photograph(form.content, channels), pixels(content, mode))


@pytest.mark.parametrize(
    ("content", "channels", "change", "size"),
    [
        (jpeg(mode="CMYK"), 3, "CMYK", (16, 20)),
        (jpeg(kind="PNG"), 3, "PNG", (16, 20)),
        (jpeg(mode="L", kind="PNG"), 1, "PNG", (16, 20)),
        (jpeg(mode="RGBA", kind="WEBP"), 3, "WEBP", (16, 20)),
        (turned_jpeg(), 3, "turned", (20, 16)),
    ],
)
def test_anything_else_becomes_a_jpeg_of_nearly_the_same_pixels(
    tmp_path: Path, content: bytes, channels: int, change: str, size: tuple[int, int]
) -> None:
    form = stored(tmp_path, content, channels)
    image = Image.open(io.BytesIO(form.content))
    assert (image.format, image.mode, form.change) == ("JPEG", "L" if channels == 1 else "RGB", change)
    assert (image.height, image.width) == form.size == size
    if change != "WEBP":  # transparent where it is random
        expected = pixels(content) if change != "turned" else np.rot90(pixels(content), -1)
        assert np.abs(pixels(form.content) - expected).mean() < 3


@pytest.mark.parametrize(
    ("content", "channels", "is_kept"),
    [
        (jpeg(kind="PNG"), 3, True),
        (jpeg(mode="L", kind="PNG"), 3, True),
        (jpeg(mode="L", kind="PNG"), 1, True),
        (jpeg(kind="PNG"), 1, False),
        (jpeg(mode="RGBA", kind="PNG"), 3, False),
        (turned_jpeg(kind="PNG"), 3, False),
        (jpeg(kind="BMP"), 3, False),
        (jpeg(kind="WEBP", lossless=True), 3, False),
    ],
)
def test_what_no_jpeg_has_lost_stays_so_where_that_is_asked_for(
    tmp_path: Path, content: bytes, channels: int, is_kept: bool
) -> None:
    file = FileImage(write(tmp_path / "photo", content))
    form = stored_form(file, channels, None, lossless=True)
    assert (form.content == content, form.change) == (is_kept, "")
    found = np.asarray(decode_photograph(form.content, channels))
    np.testing.assert_array_equal(found.reshape(*form.size, channels), decode(file, channels, None))
    reduced = stored_form(file, channels, 12, lossless=True)
    assert Image.open(io.BytesIO(reduced.content)).format == "JPEG"
    assert min(reduced.size) == 12


def test_larger_photographs_are_reduced_to_the_shorter_side(tmp_path: Path) -> None:
    content = jpeg(size=(90, 60))
    form = stored(tmp_path, content, shorter_side=20)
    assert (form.size, form.change) == ((20, 30), "reduced")
    expected = Image.open(io.BytesIO(content)).resize((30, 20), Image.Resampling.BICUBIC)
    assert np.abs(pixels(form.content) - np.asarray(expected).astype(int)).mean() < 2
    assert stored(tmp_path, content, shorter_side=60).content == content
    assert stored(tmp_path, jpeg(kind="PNG", size=(90, 60)), shorter_side=20).size == (20, 30)


@pytest.mark.parametrize("content", [jpeg(size=(90, 60)), jpeg(size=(31, 47), kind="PNG"), jpeg(mode="L")])
def test_levels_are_those_of_the_evaluation_view_of_what_is_stored(tmp_path: Path, content: bytes) -> None:
    view = EvaluationView(resize=32, crop=24)
    form = stored_form(FileImage(write(tmp_path / "photo", content)), 3, None, view)
    image = Image.open(io.BytesIO(form.content)).convert("RGB")
    seen = v2.CenterCrop(24)(v2.Resize(32)(image))
    np.testing.assert_array_equal(form.histograms, histograms(np.asarray(seen)))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (jpeg(size=(200, 160))[:-300], r"cannot be decoded \(OSError: image file is truncated"),
        (b"<html>404</html>", "is cut off or not an image of the kinds"),
        (b"", "is cut off or not an image"),
        (jpeg(size=(2020, 20)), "has 2020x20 pixels: a photograph in shards has at most 65,535 on a side, and 100"),
        (jpeg(size=(700, 1), kind="PNG"), "remove or crop it"),
    ],
)
def test_what_is_no_photograph_is_named(tmp_path: Path, content: bytes, reason: str) -> None:
    with pytest.raises(UserError, match=rf"photo .*{reason}"):
        stored(tmp_path, content)


def test_a_file_that_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot read .*gone"):
        stored_form(FileImage(tmp_path / "gone"), 3, None)
