"""Crops of random size, resized."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
import torchvision.transforms.v2.functional as tvf
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torchvision.transforms import RandomResizedCrop

from nofrost.transforms.crops import crop_boxes, pixel_boxes, resized_crop

WHOLE = torch.tensor([0.0, 0.0, 1.0, 1.0])


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def drawn(*shape: int) -> Tensor:
    return torch.rand(shape, generator=generator())


@pytest.mark.parametrize("size", [(5, 7), (12, 9), (8, 24), (1, 1), (31, 30)])
def test_the_whole_image_is_resized_as_torch_does_with_antialiasing(size: tuple[int, int]) -> None:
    images = drawn(3, 2, 12, 9)
    expected = F.interpolate(images, size, mode="bilinear", antialias=True)
    torch.testing.assert_close(resized_crop(images, WHOLE.expand(3, 4), size), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("size", [(8, 8), (5, 12)])
def test_a_box_is_resized_as_torchvision_does_but_for_its_margin(size: tuple[int, int]) -> None:
    """There torchvision has nothing to look at, and we have the image around the box."""
    images, (top, left, height, width) = drawn(1, 3, 40, 50), (8, 15, 24, 30)
    box = torch.tensor([[top / 40, left / 50, height / 40, width / 50]])
    ours = resized_crop(images, box, size)
    theirs = tvf.resized_crop(images, top, left, height, width, list(size), antialias=True)
    torch.testing.assert_close(ours[..., 1:-1, 1:-1], theirs[..., 1:-1, 1:-1], atol=1e-5, rtol=0)


def test_every_image_has_its_own_box() -> None:
    """Images whose pixels are their own coordinates show which part of them each output covers."""
    places = (torch.arange(64) + 0.5) / 64
    images = torch.stack([places.view(-1, 1).expand(64, 64), places.expand(64, 64)]).expand(20, 2, 64, 64)
    boxes = crop_boxes(20, (0.1, 0.6), generator())
    crops = resized_crop(images, boxes, (4, 4))
    for axis in (0, 1):
        line = crops[:, axis, :, 1] if axis == 0 else crops[:, axis, 1, :]
        start, length = boxes[:, axis, None], boxes[:, axis + 2, None]
        expected = start + length * (torch.arange(4) + 0.5) / 4
        torch.testing.assert_close(line[:, 1:3], expected[:, 1:3], atol=1e-3, rtol=0)  # of the last bits of sums


def test_fine_stripes_do_not_alias() -> None:
    stripes = (torch.arange(64) % 2).float().expand(1, 1, 64, 64)
    small = resized_crop(stripes, WHOLE[None], (20, 20))
    assert float((small - 0.5).abs().max()) < 0.1


@pytest.mark.parametrize("cut", [1, 3, 5])
def test_a_part_of_a_batch_gives_that_part_of_the_whole_bit_for_bit(cut: int) -> None:
    images, boxes = drawn(6, 3, 20, 20), crop_boxes(6, (0.08, 1.0), generator())
    whole = resized_crop(images, boxes, (14, 14))
    parts = [resized_crop(images[part], boxes[part], (14, 14)) for part in (slice(cut), slice(cut, None))]
    assert torch.equal(torch.cat(parts), whole)


@pytest.mark.parametrize("least", [0.08, 0.35])
def test_boxes_are_distributed_as_torchvision_draws_them(least: float) -> None:
    n = 2000
    top, left, height, width = crop_boxes(n, (least, 1.0), generator()).T
    assert float(torch.stack((top, left)).min()) >= 0
    assert float((top + height).max()) <= 1 + 1e-6
    assert float((left + width).max()) <= 1 + 1e-6
    torch.manual_seed(0)
    empty = torch.zeros(1, 400, 400)
    theirs = torch.tensor([RandomResizedCrop.get_params(empty, [least, 1.0], [3 / 4, 4 / 3]) for _ in range(n)]) / 400
    for ours, other in zip(
        (height * width, width / height), (theirs[:, 2:].prod(1), theirs[:, 3] / theirs[:, 2]), strict=True
    ):
        assert float(ours.mean()) == pytest.approx(float(other.mean()), abs=0.02)
        assert float(ours.std()) == pytest.approx(float(other.std()), abs=0.02)
    assert float(top.mean()) == pytest.approx(float(theirs[:, 0].mean()), abs=0.02)


def test_a_box_that_cannot_be_drawn_is_the_whole_image() -> None:
    assert torch.equal(crop_boxes(5, (1.0, 1.0), generator()), WHOLE.expand(5, 4))


@pytest.mark.parametrize("size", [(375, 500), (500, 333), (400, 1600), (1200, 300)])
@pytest.mark.parametrize("least", [0.08, 0.64])
def test_boxes_of_photographs_are_distributed_as_those_of_torchvision(size: tuple[int, int], least: float) -> None:
    n = 4000
    ours = pixel_boxes(torch.tensor(size).expand(n, 2), (least, 1.0), generator()).double()
    torch.manual_seed(1)
    image = torch.zeros(1, 1, 1).expand(1, *size)
    theirs = torch.tensor(
        [RandomResizedCrop.get_params(image, [least, 1.0], [3 / 4, 4 / 3]) for _ in range(n)], dtype=torch.float64
    )

    def quantities(boxes: Tensor) -> Tensor:
        top, left, height, width = boxes.T
        area, centres = (
            height * width / (size[0] * size[1]),
            ((2 * top + height) / size[0], (2 * left + width) / size[1]),
        )
        return torch.stack((area, (width / height).log(), *centres, (top == 0).double(), (left == 0).double()))

    moments = [torch.cat((values.mean(dim=1), values.std(dim=1))) for values in map(quantities, (ours, theirs))]
    torch.testing.assert_close(*moments, atol=0.02, rtol=0.03)


@given(
    st.lists(st.tuples(st.integers(1, 3000), st.integers(1, 3000)), min_size=1, max_size=8),
    st.sampled_from([0.08, 0.64, 1.0]),
    st.integers(0, 1000),
)
def test_boxes_lie_in_their_photographs(sizes: list[tuple[int, int]], least: float, seed: int) -> None:
    drawn_for = torch.tensor(sizes)
    boxes = pixel_boxes(drawn_for, (least, 1.0), generator(seed))
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2:] > 0).all()
    assert (boxes[:, :2] + boxes[:, 2:] <= drawn_for).all()


@pytest.mark.parametrize("size", [(20, 1000), (1000, 20), (7, 90)])
def test_where_no_draw_fits_the_box_is_the_central_one_of_torchvision(size: tuple[int, int]) -> None:
    boxes = pixel_boxes(torch.tensor([size]), (1.0, 1.0), generator())
    expected = RandomResizedCrop.get_params(torch.zeros(1, *size), [1.0, 1.0], [3 / 4, 4 / 3])
    assert tuple(boxes[0].tolist()) == expected
