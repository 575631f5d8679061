"""The corruptions do what those of imagecorruptions-imaug do, another implementation of ImageNet-C, on photographs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from nofrost.transforms.corruptions import CORRUPTIONS, FAMILIES, corrupt
from nofrost.transforms.corruptions.digital import elastic_transform
from nofrost.transforms.corruptions.draws import Draws

PHOTOGRAPHS = Path(__file__).parents[4] / "shared" / "data" / "imagenette-mini" / "val"
pytestmark = pytest.mark.skipif(
    not PHOTOGRAPHS.is_dir(), reason="the photographs of shared/data are not beside the clone"
)
# Frost has textures of its own; elastic transform leaves the affine map out there, and has a test of its own here.
COMPARED = [
    name
    for family in FAMILIES
    if family != "c-bar"
    for name in FAMILIES[family]
    if name not in ("frost", "elastic_transform")
]
DETERMINISTIC = [name for name in COMPARED if not CORRUPTIONS[name].random]
RANDOM = [name for name in COMPARED if CORRUPTIONS[name].random]


@pytest.fixture(scope="module")
def photographs() -> list[Image.Image]:
    files = sorted(PHOTOGRAPHS.glob("*/*"))[::60]
    return [Image.open(file).convert("RGB").resize((112, 112)) for file in files[:6]]


@pytest.fixture(scope="module")
def images(photographs: list[Image.Image]) -> torch.Tensor:
    return torch.from_numpy(np.stack([np.asarray(each) for each in photographs])).permute(0, 3, 1, 2).float() / 255


@pytest.fixture(scope="module")
def peer() -> Any:
    return pytest.importorskip("imagecorruptions.corruptions", exc_type=ImportError)


def theirs(
    function: Callable[..., Any], name: str, photographs: list[Image.Image], severity: int
) -> NDArray[np.float64]:
    """What the peer makes of them, rounded where it cuts off, as [N, C, H, W] in levels."""
    takes_pillow = name in ("jpeg_compression", "pixelate", "spatter")
    results = [function(each if takes_pillow else np.asarray(each), severity) for each in photographs]
    return np.stack([np.asarray(each, dtype=np.float64).transpose(2, 0, 1) for each in results]).clip(0, 255).round()


@pytest.mark.parametrize("severity", [1, 3, 5])
@pytest.mark.parametrize("name", DETERMINISTIC)
def test_without_random_numbers_the_images_agree(
    name: str, severity: int, photographs: list[Image.Image], images: torch.Tensor, peer: Any
) -> None:
    ours = corrupt(images, name, severity, seed=0, indices=range(len(images))).numpy() * 255
    difference = np.abs(ours - theirs(getattr(peer, name), name, photographs, severity))
    # scikit-image keeps the hue of HSV, which rounds once more
    assert difference.mean() < (0.15 if name in ("brightness", "saturate") else 0.005)


@pytest.mark.slow
@pytest.mark.parametrize("severity", [2, 5])
@pytest.mark.parametrize("name", RANDOM)
def test_with_random_numbers_the_distances_agree_as_well_as_two_runs_of_theirs(
    name: str,
    severity: int,
    photographs: list[Image.Image],
    images: torch.Tensor,
    peer: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of each image: how far it gets from the clean one, and how bright it gets."""
    # As plain Python: compiling it takes longer than all the rest.
    shuffle = peer._shuffle_pixels_njit_glass_blur.py_func
    monkeypatch.setattr(
        peer, "_shuffle_pixels_njit_glass_blur", lambda *given: shuffle(*given[:-1], seed=given[-1] % 2**32)
    )
    np.random.seed(severity)  # noqa: NPY002  (the peer draws from the global generator)
    runs = [theirs(getattr(peer, name), name, photographs, severity) for _ in range(4)]
    ours = [
        corrupt(images, name, severity, seed=seed, indices=range(len(images))).double().numpy() * 255
        for seed in range(4)
    ]
    clean = images.numpy() * 255

    def measured(results: list[NDArray[np.float64]]) -> NDArray[np.float64]:
        per_run = [(np.abs(each - clean).mean((1, 2, 3)), each.mean((1, 2, 3))) for each in results]
        return np.stack([np.stack(each) for each in per_run])

    mine, others = measured(ours), measured(runs)
    spread = np.sqrt((mine.var(axis=0, ddof=1) + others.var(axis=0, ddof=1)) / 4).mean(axis=1)
    apart = np.abs(mine.mean(axis=(0, 2)) - others.mean(axis=(0, 2)))
    assert (apart < 4 * spread / len(images) ** 0.5 + 0.15).all(), (apart, spread)


@pytest.mark.parametrize("severity", [1, 5])
def test_the_displacements_of_elastic_transform_agree_with_their_parameters(
    severity: int, photographs: list[Image.Image], images: torch.Tensor, peer: Any
) -> None:
    np.random.seed(0)  # noqa: NPY002
    expected = theirs(peer.elastic_transform, "elastic_transform", photographs, severity)
    amount = 250 * (0.05, 0.065, 0.085, 0.1, 0.12)[severity - 1] * 0.005
    draws = Draws(0, "elastic_transform", severity, np.arange(len(images)), images.device)
    ours = elastic_transform(images, draws, amount, 0.01, 0).numpy() * 255
    clean = images.numpy() * 255
    assert np.abs(ours - clean).mean() == pytest.approx(np.abs(expected - clean).mean(), rel=0.03)
