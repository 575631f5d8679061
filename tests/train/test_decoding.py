"""Crops of stored photographs are those of torchvision, whichever library decodes."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms.functional import resized_crop

from nofrost.data import Photographs
from nofrost.errors import UserError
from nofrost.train import decoding
from nofrost.train.decoding import decoded_crops, decoders
from tests.train.photographs_in_shards import encoded, photographs, picture

BOXES = [(0, 0, 40, 30), (3, 5, 20, 17), (1, 2, 23, 58), (10, 20, 70, 90), (0, 7, 16, 50), (50, 3, 9, 60)]
SIZE = (16, 12)


@pytest.fixture(params=["pillow", "simplejpeg"])
def decoder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "simplejpeg":
        pytest.importorskip("simplejpeg")
    else:
        monkeypatch.setattr(decoding, "simplejpeg", None)
    return str(request.param)


def decoded_crop(images: Photographs, row: int, box: tuple[int, ...], size: tuple[int, int]) -> np.ndarray:
    (crop,) = decoded_crops(images, row, [box], size)
    return crop


def pixels_of_torchvision(images: Photographs, row: int, box: tuple[int, ...], size: tuple[int, int]) -> np.ndarray:
    crop = resized_crop(images.decoded(row), *box, list(size), InterpolationMode.BILINEAR)
    return np.asarray(crop).reshape(*size, images.channels)


def fitting(images: Photographs) -> list[tuple[int, tuple[int, ...]]]:
    """Every row with every box that lies in its photograph."""
    sizes = images.sizes(np.arange(len(images)))
    return [
        (row, (top, left, height, width))
        for row, (stored_height, stored_width) in enumerate(sizes)
        for top, left, height, width in BOXES
        if top + height <= stored_height and left + width <= stored_width
    ]


def assert_alike(crop: np.ndarray, expected: np.ndarray) -> None:
    """Compare with what Pillow resizes with more digits: a few values, near a half, are a level apart, none more."""
    apart = crop.astype(int) - expected
    assert np.abs(apart).max() <= 1
    assert np.abs(apart).mean() < 0.15
    assert abs(apart.mean()) < 0.05


@pytest.mark.parametrize("channels", [1, 3])
def test_a_crop_is_that_of_torchvision_to_a_level_where_nothing_is_scaled(
    channels: int, decoder: str, tmp_path: Path
) -> None:
    images = photographs(tmp_path, 10, channels=channels, encode=encoded)
    compared = 0
    for row, box in fitting(images):
        size = (16, 12) if min(box[2] / 16, box[3] / 12) < 2 else (36, 50)
        assert_alike(decoded_crop(images, row, box, size), pixels_of_torchvision(images, row, box, size))
        compared += 1
    assert compared > 15


@pytest.mark.parametrize("channels", [1, 3])
def test_both_libraries_give_equal_bits_where_nothing_is_scaled(
    channels: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("simplejpeg")
    images = photographs(tmp_path, 6, channels=channels, encode=encoded)
    boxes = [(row, box) for row, box in fitting(images) if min(box[2] / 36, box[3] / 50) < 2]
    fast = [decoded_crop(images, row, box, (36, 50)) for row, box in boxes]
    monkeypatch.setattr(decoding, "simplejpeg", None)
    for (row, box), crop in zip(boxes, fast, strict=True):
        assert np.array_equal(crop, decoded_crop(images, row, box, (36, 50)))


@pytest.mark.parametrize(
    ("box", "size"), [((10, 20, 70, 90), (35, 45)), ((3, 5, 80, 110), (16, 16)), ((0, 0, 90, 120), (8, 9))]
)
def test_a_large_crop_is_decoded_at_a_smaller_scale_and_almost_the_same(
    box: tuple[int, ...], size: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    simplejpeg = pytest.importorskip("simplejpeg")
    images, shapes = photographs(tmp_path, 3), []

    class Watched:
        decode_jpeg_header = simplejpeg.decode_jpeg_header

        @staticmethod
        def decode_jpeg(*arguments: object, **settings: object) -> np.ndarray:
            pixels = simplejpeg.decode_jpeg(*arguments, **settings)
            shapes.append(pixels.shape[:2])
            return pixels

    monkeypatch.setattr(decoding, "simplejpeg", Watched)
    crop = decoded_crop(images, 2, box, size).astype(int)
    ((height, width),) = shapes
    assert height < 90
    assert width < 120
    assert box[2] * height / 90 >= size[0], "never smaller than the result"
    assert box[3] * width / 120 >= size[1], "never smaller than the result"
    assert np.abs(crop - pixels_of_torchvision(images, 2, box, size)).mean() < 2


def test_boxes_of_a_photograph_are_decoded_together_as_each_alone(decoder: str, tmp_path: Path) -> None:
    images, size = photographs(tmp_path, 3), (16, 12)
    boxes = [(0, 0, 90, 120), (3, 5, 20, 17), (50, 3, 9, 60), (10, 20, 70, 90), (1, 2, 40, 30)]
    together = decoded_crops(images, 2, boxes, size)
    for box, crop in zip(boxes, together, strict=True):
        assert np.array_equal(crop, decoded_crop(images, 2, box, size))


def test_a_cmyk_photograph_is_left_to_pillow(decoder: str, tmp_path: Path) -> None:
    images = photographs(tmp_path, 2, encode=lambda image: encoded(image.convert("CMYK")))
    crop = decoded_crop(images, 0, (3, 5, 20, 17), SIZE)
    assert_alike(crop, pixels_of_torchvision(images, 0, (3, 5, 20, 17), SIZE))
    assert np.abs(crop.astype(int) - np.asarray(picture(0, (40, 30)).crop((5, 3, 22, 23)).resize((12, 16)))).mean() < 20


def test_a_grey_photograph_among_coloured_ones_has_three_equal_channels(decoder: str, tmp_path: Path) -> None:
    images = photographs(tmp_path, 2, encode=lambda image: encoded(image.convert("L")))
    crop = decoded_crop(images, 1, (1, 2, 23, 30), SIZE)
    assert_alike(crop, pixels_of_torchvision(images, 1, (1, 2, 23, 30), SIZE))
    assert (crop == crop[..., :1]).all()


def test_a_damaged_photograph_is_named(decoder: str, tmp_path: Path) -> None:
    images = photographs(tmp_path, 4)
    record = images.index[3]
    shard = sorted(tmp_path.glob("*.tar"))[int(record["shard"])]
    content = bytearray(shard.read_bytes())
    content[int(record["offset"]) + 100] ^= 1
    shard.write_bytes(content)
    with pytest.raises(UserError, match=rf"{shard.name} is cut off or damaged at record 3"):
        decoded_crop(images, 3, (0, 0, 16, 16), SIZE)


def test_a_record_that_is_no_jpeg_is_named(decoder: str, tmp_path: Path) -> None:
    images = photographs(tmp_path, 2, encode=lambda image: b"no JPEG at all")
    with pytest.raises(UserError, match=r"record 1 in .*train-000000\.tar cannot be decoded"):
        decoded_crop(images, 1, (0, 0, 16, 16), SIZE)


def test_the_record_of_a_training_names_the_libraries_that_decode(decoder: str) -> None:
    assert decoders() == (("pillow",) if decoder == "pillow" else ("pillow", "simplejpeg"))


@pytest.mark.parametrize("subsampling", [0, 1, 2])
def test_lines_below_a_crop_are_not_decoded_and_do_not_matter(
    subsampling: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("simplejpeg")

    def encode(image: Image.Image) -> bytes:
        stream = io.BytesIO()
        image.save(stream, "JPEG", quality=90, subsampling=subsampling)
        return stream.getvalue()

    images = photographs(tmp_path, 3, encode=encode)
    decoded: list[int] = []
    shortened = decoding.first_lines

    def watched(content: bytes, lines: int) -> bytes | bytearray:
        decoded.append(lines)
        return shortened(content, lines)

    monkeypatch.setattr(decoding, "first_lines", watched)
    boxes = [((3, 5, height, 80), (16, 20)) for height in (31, 40, 60)] + [((0, 0, 70, 120), (16, 24))]
    fast = [decoded_crop(images, 2, box, size) for box, size in boxes]
    assert max(decoded) < 90, "which the photograph has"
    monkeypatch.setattr(decoding, "first_lines", lambda content, _: content)
    for (box, size), crop in zip(boxes, fast, strict=True):
        assert np.array_equal(crop, decoded_crop(images, 2, box, size))
