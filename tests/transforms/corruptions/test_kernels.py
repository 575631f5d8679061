"""Compiled loops make of large images what torch's operations make of them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

from nofrost.transforms.corruptions import CORRUPTIONS, FAMILIES, compilation, corrupt, digital
from nofrost.transforms.corruptions.compilation import for_each_image, is_compiled
from nofrost.transforms.corruptions.draws import Draws
from nofrost.transforms.corruptions.filters import sampled
from nofrost.transforms.corruptions.water import water_film

pytest.importorskip("numba", exc_type=ImportError)
NAMES = [name for family, members in FAMILIES.items() if family != "c-bar" for name in members]
# These add floats in another order, or round sums and products once instead of twice.
NOT_IN_ALL_BITS = {
    "gaussian_noise", "glass_blur", "motion_blur", "zoom_blur", "snow", "frost", "fog", "elastic_transform",
    "speckle_noise", "gaussian_blur", "spatter",
}  # fmt: skip
has_compiler = compilation.has_compiler

Both = Callable[[Callable[[], torch.Tensor]], tuple[torch.Tensor, torch.Tensor]]


@pytest.fixture
def both_ways(monkeypatch: pytest.MonkeyPatch) -> Both:
    """Call with compiled loops and without."""

    def called(call: Callable[[], torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        monkeypatch.setattr(compilation, "has_compiler", has_compiler)
        mine = call()
        monkeypatch.setattr(compilation, "has_compiler", lambda: False)
        return mine, call()

    return called


def photographs(n: int, channels: int, height: int, width: int) -> torch.Tensor:
    """Smooth images with edges, noise, and black and white areas, on 8-bit levels."""
    generator = torch.Generator().manual_seed(3)
    coarse = torch.rand(n, channels, 5, 6, generator=generator)
    smooth = interpolate(coarse, size=(height, width), mode="bilinear")
    blocks = interpolate(coarse.flip(0), size=(height, width), mode="nearest")
    fine = torch.rand(n, channels, height, width, generator=generator)
    mixed = (0.7 * smooth + 0.5 * blocks + 0.3 * fine - 0.25).clamp(0, 1)
    return (mixed * 255).round() / 255


def agree(name: str, severity: int, images: torch.Tensor, both_ways: Both) -> None:
    before = images.clone()
    mine, others = both_ways(lambda: corrupt(images, name, severity, seed=4, indices=range(5, 5 + len(images))))
    assert torch.equal(images, before), "the input must stay as it was"
    if name not in NOT_IN_ALL_BITS:
        assert torch.equal(mine, others)
    levels = ((mine - others) * 255).round().abs()
    assert levels.max() <= 1
    assert (levels > 0).double().mean() <= 0.001


def test_a_compiled_loop_is_used_for_large_images_and_agrees(both_ways: Both) -> None:
    """Of one corruption, as compiling the loops of all takes long."""
    assert not is_compiled(torch.zeros(1, 3, 64, 64)), "quick tests go torch's way"
    agree("impulse_noise", 3, photographs(2, 3, 71, 83), both_ways)


@pytest.mark.slow
@pytest.mark.parametrize("severity", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("name", NAMES)
def test_a_compiled_corruption_is_that_of_torch(name: str, severity: int, both_ways: Both) -> None:
    for shape in ((2, 3, 97, 131), (3, 1, 113, 67), (1, 3, 224, 224)):
        if shape[1] == 3 or not CORRUPTIONS[name].colour_only:
            agree(name, severity, photographs(*shape), both_ways)


@pytest.mark.slow
@pytest.mark.parametrize("beyond", ["mirrored", "mirrored-at-centre"])
def test_places_however_far_beyond_the_border_are_those_of_torch(beyond: str, both_ways: Both) -> None:
    generator = torch.Generator().manual_seed(2)
    down, right = (500 * torch.rand(2, 70, 90, generator=generator) - 200 for _ in range(2))
    mine, others = both_ways(lambda: sampled(photographs(2, 3, 70, 90), down, right, beyond=beyond))
    assert torch.allclose(mine, others, atol=2e-3)


@pytest.mark.slow
@pytest.mark.parametrize("beyond", ["mirrored", "mirrored-at-centre"])
@pytest.mark.parametrize("distance", [1e7, 1e12, 1e30])
def test_a_place_at_any_distance_is_some_place_of_the_image(
    beyond: str, distance: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compilation, "has_compiler", has_compiler)
    images = photographs(1, 3, 64, 70)
    places = torch.linspace(-distance, distance, 64 * 70).view(1, 64, 70)
    result = sampled(images, places, places.flip(1), beyond=beyond)
    assert images.min() <= result.min()
    assert result.max() <= images.max() + 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_images_in_another_order_of_memory_are_corrupted_alike(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compilation, "has_compiler", has_compiler)
    images = photographs(2, 3, 66, 81)
    turned = images.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    corruption = CORRUPTIONS[name]

    def corrupted(images: torch.Tensor) -> torch.Tensor:
        draws = [Draws(0, name, 3, np.arange(2), images.device)] if corruption.random else []
        return corruption.function(images, *draws, *corruption.parameters(3, "imagenet"))

    assert torch.allclose(corrupted(turned), corrupted(images), atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("liquid", ["none", "one level", "one drop", "drops"])
def test_the_film_of_water_is_that_of_torch(liquid: str, both_ways: Both) -> None:
    levels = torch.zeros(2, 1, 90, 75)
    if liquid == "one level":
        levels += 40
    elif liquid == "one drop":
        levels[:, :, 3:9, 60:] = 255
    elif liquid == "drops":
        levels = photographs(2, 1, 90, 75).mul(255).round().mul(photographs(2, 1, 90, 75).gt(0.5))
    mine, others = both_ways(lambda: water_film(levels))
    assert torch.equal(mine, others)


@pytest.mark.slow
@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_is_the_same_without_simplejpeg(channels: int, both_ways: Both, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digital, "simplejpeg", None)
    agree("jpeg_compression", 2, photographs(2, channels, 67, 95), both_ways)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["glass_blur", "spatter", "jpeg_compression", "pixelate"])
def test_images_in_threads_are_those_one_after_the_other(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    images = photographs(5, 3, 80, 70)
    alone = [corrupt(images[row : row + 1], name, 3, seed=0, indices=[row]) for row in range(5)]
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    assert torch.equal(corrupt(images, name, 3, seed=0, indices=range(5)), torch.cat(alone))


def test_an_error_in_a_thread_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    done = []

    def call(number: int) -> None:
        done.append(10 // (3 - number))

    with pytest.raises(ZeroDivisionError):
        for_each_image(call, 5)
    assert {3, 5, 10} <= set(done)


@pytest.mark.parametrize("error", [ImportError("Numba needs an older NumPy"), OSError("libllvm is missing")])
def test_where_numba_cannot_be_imported_torch_does_it(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        def find_spec(self, name: str, *_: object) -> None:
            if name == "numba":
                raise error

    monkeypatch.delitem(sys.modules, "numba")
    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    assert has_compiler.__wrapped__() is False


@pytest.mark.slow
def test_numba_is_imported_with_the_first_large_image_and_processes_may_fork_then() -> None:
    code = (
        "import os, sys, torch\n"
        "from nofrost.transforms.corruptions import corrupt\n"
        "make = lambda name, side: corrupt(torch.full((1, 3, side, side), 0.5), name, 3, seed=0, indices=[0])\n"
        "make('pixelate', 32)\n"
        "assert 'numba' not in sys.modules\n"
        "whole = make('pixelate', 64)\n"
        "assert 'numba' in sys.modules\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    os._exit(0 if torch.equal(make('pixelate', 64), whole) and make('impulse_noise', 64).max() == 1 else 1)\n"
        "raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
