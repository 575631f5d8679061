"""Parameter counts that papers print or that follow from theirs; nothing is computed, weights are never made."""

from __future__ import annotations

import pytest
import torch

from nofrost.models import create_model, summarise
from nofrost.models.architectures.timm_models import DEEPER
from nofrost.models.inspection import Summary


def summary(arch: str, normaliser: str = "bn", num_classes: int = 10) -> Summary:
    with torch.device("meta"):
        return summarise(create_model(arch, normaliser=normaliser, num_classes=num_classes, image_size=32).network)


@pytest.mark.parametrize(
    ("arch", "of_normalisers", "rest"),
    [
        ("cifar-resnet18", 9_600, 11_164_362),
        ("cifar-resnet50", 53_120, 23_467_722),
        ("cifar-resnet152", 151_424, 58_005_194),
    ],
)
def test_batch_norms_and_the_rest_have_the_counts_of_zeise2025(arch: str, of_normalisers: int, rest: int) -> None:
    counts = summary(arch)
    assert (counts.of_normalisers, counts.parameters - counts.of_normalisers) == (of_normalisers, rest)


@pytest.mark.parametrize(("place", "trained"), [(0, 9_472), (-1, 8_576)])
def test_all_batch_norms_but_the_first_or_last_have_the_counts_of_zeise2025(place: int, trained: int) -> None:
    counts = summary("cifar-resnet18")
    norms = [layer for layer in counts.layers if layer.normalises]
    assert counts.of_normalisers - norms[place].parameters == trained


def test_the_cifar_resnet18_has_the_41_layers_of_table_7_of_zeise2025() -> None:
    names = [layer.name for layer in summary("cifar-resnet18").layers]
    assert len(names) == 41
    assert {"conv1", "bn1", "layer1.0.conv1", "layer2.0.bn2", "linear"} <= set(names)


@pytest.mark.parametrize(
    ("arch", "normaliser", "num_classes", "expected"),
    [
        ("resnet26", "bn", 1000, 15_995_176),
        ("resnet26", "nf", 1000, 15_995_176),
        ("resnet50", "bn", 1000, 25_557_032),
        ("resnet50", "nf", 1000, 25_557_032),
        ("resnet152", "bn", 1000, 60_192_808),
        ("resnet200", "bn", 1000, 64_673_832),
        ("nfnet_f0", "nf", 1000, 71_489_272),
        ("wrn-28-10", "bn", 10, 36_479_194),
        ("resnet110", "bn", 10, 1_730_714),
        ("resnet110", "nf", 10, 1_730_714),
        ("mlp-2-half", "none", 10, (3072 + 1) * 1536 + (1536 + 1) * 1536 + (1536 + 1) * 10),
        ("linear", "bn", 10, 2 * 3072 + (3072 + 1) * 10),
    ],
)
def test_the_whole_network_has_the_known_count(arch: str, normaliser: str, num_classes: int, expected: int) -> None:
    assert summary(arch, normaliser, num_classes).parameters == expected


@pytest.mark.parametrize("depth", [26, 338])
def test_the_number_in_a_resnets_name_counts_its_layers(depth: int) -> None:
    layers = summary(f"resnet{depth}").layers
    assert sum(layer.kind in ("Conv2d", "Linear") and "downsample" not in layer.name for layer in layers) == depth


def test_every_deeper_resnet_has_the_blocks_that_make_its_depth() -> None:
    assert {3 * sum(blocks) + 2 for blocks in DEEPER.values()} == set(DEEPER) == {338, 518, 638}


@pytest.mark.parametrize("depth", [8, 11, 13, 16, 19])
@pytest.mark.parametrize("normaliser", ["bn", "none"])
def test_a_vgg_has_convolutions_with_a_bias_only_without_a_normaliser(depth: int, normaliser: str) -> None:
    convolutions = [layer for layer in summary(f"cifar-vgg{depth}", normaliser).layers if layer.kind == "Conv2d"]
    assert len(convolutions) == depth - 3
    assert all(("bias" in layer.shapes) == (normaliser == "none") for layer in convolutions)


def test_a_width_suffix_scales_every_stage() -> None:
    wide, narrow = (summary(arch).layers for arch in ("cifar-resnet50", "cifar-resnet50-w16"))
    pairs = [(w, n) for w, n in zip(wide, narrow, strict=True) if w.kind == "Conv2d"]
    assert all(w.shapes["weight"][0] == 4 * n.shapes["weight"][0] for w, n in pairs)
