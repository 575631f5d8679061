"""The table of corruptions by family is that of the functions that make them."""

from __future__ import annotations

import numpy as np

from nofrost.config.corruption_families import CORRUPTION_FAMILIES, by_family
from nofrost.transforms.corruptions import FAMILIES
from nofrost.transforms.corruptions.blur import BLUR
from nofrost.transforms.corruptions.c_bar import C_BAR
from nofrost.transforms.corruptions.digital import DIGITAL
from nofrost.transforms.corruptions.extra import EXTRA
from nofrost.transforms.corruptions.noise import NOISE
from nofrost.transforms.corruptions.weather import WEATHER


def test_families_and_their_order_are_those_of_the_functions() -> None:
    assert [(family, tuple(members)) for family, members in FAMILIES.items()] == list(CORRUPTION_FAMILIES.items())
    made = (NOISE, BLUR, WEATHER, DIGITAL, EXTRA, C_BAR)
    assert [tuple(members) for members in made] == list(CORRUPTION_FAMILIES.values())


def test_corruptions_are_sorted_as_in_the_papers_and_unknown_ones_come_last() -> None:
    names = ["rain", "sparkles", "fog", "snow", "gaussian_noise", "fog"]
    assert list(by_family(names).items()) == [
        ("noise", ["gaussian_noise"]),
        ("weather", ["snow", "fog"]),
        ("c-bar", ["sparkles"]),
        ("other", ["rain"]),
    ]
    shuffled = np.random.default_rng(0).permutation([name for family in FAMILIES.values() for name in family])
    assert {family: tuple(members) for family, members in by_family(shuffled.tolist()).items()} == CORRUPTION_FAMILIES
