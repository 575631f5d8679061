"""Derived seeds."""

from __future__ import annotations

from nofrost.seeds import derive_seed


def test_a_seed_is_a_function_of_its_parts() -> None:
    # a saved training must find its order again, and an augmentation set its images
    assert derive_seed(0, "order", 1) == 1332101017241992705
    seeds = {derive_seed(seed, word, n) for seed in range(3) for word in ("order", "views") for n in range(3)}
    assert len(seeds) == 18


def test_seeds_differ_by_every_part_and_its_type() -> None:
    seeds = {derive_seed(*parts) for parts in [(0, 1), (0, 2), (1, 0), (0, "1"), (0, 1, 0)]}
    assert len(seeds) == 5
    assert all(0 <= seed < 2**63 for seed in seeds)
