"""Random erasing: rectangles of the shares and ratios that are asked for, in any place, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchvision.transforms import v2

from nofrost.config.recipe import RandomErasingSpec
from nofrost.errors import UserError
from nofrost.transforms.erasing import Erasures

SIZE = (40, 60)


def drawn(n: int, spec: RandomErasingSpec, size: tuple[int, int] = SIZE, seed: int = 0) -> Erasures:
    return Erasures.draw(n, size, spec, torch.Generator().manual_seed(seed))


def levels(n: int, size: tuple[int, int] = SIZE) -> torch.Tensor:
    return torch.randint(1, 256, (n, 3, *size), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)


def test_the_share_of_the_area_is_uniform_between_its_bounds() -> None:
    spec = RandomErasingSpec(probability=1, area=(0.05, 0.25), ratio=(0.5, 2))
    top, left, height, width = drawn(4000, spec).boxes.T
    share = (height * width).double() / (SIZE[0] * SIZE[1])
    # Sides are whole pixels, which moves a share by up to a pixel's line.
    assert 0.04 < float(share.min()) < 0.06
    assert 0.24 < float(share.max()) < 0.27
    assert float(share.mean()) == pytest.approx(0.15, abs=0.003)
    assert float(share.std()) == pytest.approx(0.2 / 12**0.5, abs=0.003)
    ratio = (height / width).log()
    assert float(ratio.mean()) == pytest.approx(0, abs=0.03)
    assert float(ratio.abs().max()) < np.log(2) + 0.12
    assert ((top >= 0) & (left >= 0) & (top + height <= SIZE[0]) & (left + width <= SIZE[1])).all()
    # Anywhere: the first and the last place too.
    assert {int((top == 0).any()), int((top + height == SIZE[0]).any())} == {1}


def test_rectangles_are_those_of_torchvision() -> None:
    spec = RandomErasingSpec(probability=1, area=(0.02, 0.6), ratio=(0.3, 3.3))
    ours = drawn(2000, spec).boxes.double()
    their = v2.RandomErasing(1, spec.area, spec.ratio)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        places = [their.make_params([torch.zeros(3, *SIZE)]) for _ in range(2000)]
    theirs = torch.tensor([[place[key] for key in "ijhw"] for place in places if place["v"] is not None]).double()
    torch.testing.assert_close(ours.mean(0), theirs.mean(0), atol=0.8, rtol=0)
    torch.testing.assert_close(ours.std(0), theirs.std(0), atol=0.8, rtol=0)


@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
def test_so_many_images_are_erased(probability: float) -> None:
    erased = drawn(2000, RandomErasingSpec(probability=probability)).boxes[:, 2] > 0
    assert float(erased.double().mean()) == pytest.approx(probability, abs=0.04 if 0 < probability < 1 else 0)


@pytest.mark.parametrize("bounds", [{"area": (1, 1)}, {"area": (0.98, 1)}, {"area": (0.5, 0.6), "ratio": (3, 9)}])
def test_bounds_that_no_rectangle_fits_are_refused(bounds: dict[str, tuple[float, float]]) -> None:
    with pytest.raises(UserError, match=r"erases nothing of images of 40 x 60 pixels.*; lower area, or widen ratio"):
        drawn(5, RandomErasingSpec.model_validate(bounds))


def test_where_none_of_ten_rectangles_fits_nothing_is_erased() -> None:
    images = levels(20)
    spec = RandomErasingSpec(probability=1, area=(0.9, 1), ratio=(0.5, 0.6667))
    erased = (drawn(20, spec)(images) != images).any(dim=(1, 2, 3))
    assert 0 < int(erased.sum()) < 20


@pytest.mark.parametrize("fill", ["random", "black"])
def test_the_rectangle_alone_is_filled(fill: str) -> None:
    erasures = drawn(30, RandomErasingSpec(probability=0.7, fill=fill))
    images = levels(30)
    result = erasures(images)
    assert torch.equal(images, levels(30)), "the images themselves stay as they are"
    outside = torch.ones(30, *SIZE, dtype=torch.bool)
    for row, (top, left, height, width) in enumerate(erasures.boxes.tolist()):
        outside[row, top : top + height, left : left + width] = False
    inside = ~outside[:, None].expand_as(images)
    assert torch.equal(result[~inside], images[~inside])
    if fill == "black":
        assert int(result[inside].max()) == 0
    else:
        assert float(result[inside].double().mean()) == pytest.approx(127.5, abs=2)
        assert float(result[inside].double().std()) == pytest.approx(255 / 12**0.5, abs=2)


def test_an_image_is_erased_alike_as_floats_and_apart_from_the_others() -> None:
    erasures, images = drawn(12, RandomErasingSpec(probability=0.8)), levels(12)
    result = erasures(images)
    assert torch.equal(erasures(images / 255), result / 255)
    rows = torch.tensor([7, 2, 11])
    assert torch.equal(erasures[rows](images[rows]), result[rows])
    assert not torch.equal(drawn(12, RandomErasingSpec(probability=0.8), seed=1)(images), result)
