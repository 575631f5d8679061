"""Random numbers belong to an image: not to its place in a batch."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from nofrost.attacks.random import Noise

IMAGES, SHAPE = 200, (3, 16, 16)


def noise(seed: int = 0, images: int = IMAGES) -> Noise:
    return Noise.of(seed, torch.arange(images))


def test_uniform_numbers_are_uniform() -> None:
    values = noise().uniform(SHAPE).double().flatten()
    assert values.abs().max() < 1
    assert abs(values.mean()) < 5 * (1 / 3 / len(values)) ** 0.5
    assert values.var().item() == pytest.approx(1 / 3, rel=0.01)
    assert stats.kstest(values.numpy(), stats.uniform(-1, 2).cdf).pvalue > 1e-3


def test_normal_numbers_are_normal() -> None:
    values = noise().normal(SHAPE).double().flatten()
    assert abs(values.mean()) < 5 / len(values) ** 0.5
    assert values.var().item() == pytest.approx(1, rel=0.01)
    assert stats.kstest(values.numpy(), "norm").pvalue > 1e-3
    assert 4 < values.abs().max() < 6


@pytest.mark.parametrize("high", [1, 2, 9, 999, 1000])
def test_whole_numbers_are_uniform(high: int) -> None:
    values = noise().integers(SHAPE, high).flatten()
    counts = torch.bincount(values, minlength=high)
    assert len(counts) == high
    if high > 1:
        assert stats.chisquare(counts.numpy()).pvalue > 1e-3


def test_every_bit_of_the_hash_is_fair() -> None:
    bits = noise()._bits((500,)).flatten()
    shares = torch.stack([((bits >> place) & 1).double().mean() for place in range(64)])
    assert (shares - 0.5).abs().max() < 5 * 0.5 / len(bits) ** 0.5


def test_first_numbers_of_neighbouring_images_seeds_and_streams_are_uniform_and_uncorrelated() -> None:
    by_image = Noise.of(0, torch.arange(20000)).uniform(())
    by_seed = torch.cat([Noise.of(seed, torch.zeros(1, dtype=torch.int64)).uniform(()) for seed in range(1500)])
    by_stream = torch.cat([noise(images=1).stream(number).uniform(()) for number in range(1500)])
    for values in (by_image.double(), by_seed.double(), by_stream.double()):
        assert stats.kstest(values.numpy(), stats.uniform(-1, 2).cdf).pvalue > 1e-3
        assert abs(torch.corrcoef(torch.stack([values[1:], values[:-1]]))[0, 1]) < 5 / len(values) ** 0.5


def test_seeds_images_and_streams_have_numbers_of_their_own() -> None:
    draws = torch.cat(
        [noise(seed, 10).stream(number).uniform((64,)) for seed in (0, 1, 2**63 - 1) for number in (0, 1, 2**62)]
        + [noise(seed, 10).uniform((64,)) for seed in (0, 1)]
    )
    correlation = torch.corrcoef(draws.double()) - torch.eye(len(draws), dtype=torch.float64)
    assert correlation.abs().max() < 0.75


@settings(max_examples=30, deadline=None)
@given(rows=st.lists(st.integers(0, 49), min_size=1, max_size=20), seed=st.integers(0, 2**63 - 1))
def test_numbers_do_not_depend_on_the_batch(rows: list[int], seed: int) -> None:
    whole, part = Noise.of(seed, torch.arange(50)), Noise.of(seed, torch.tensor(rows))
    for draw in (Noise.uniform, Noise.normal):
        assert torch.equal(draw(whole, (2, 3))[torch.tensor(rows)], draw(part, (2, 3)))
    assert torch.equal(whole.integers((4,), 7)[rows], part.integers((4,), 7))
    assert torch.equal(whole[torch.tensor(rows)].stream(1).uniform((5,)), part.stream(1).uniform((5,)))


def test_both_float_types_hold_the_same_numbers() -> None:
    assert torch.equal(noise().uniform(SHAPE, torch.float64), noise().uniform(SHAPE, torch.float32).double())


def splitmix64(state: int) -> int:
    """Return the output of the published generator for a state, by whole numbers without bounds."""
    bits = state & (2**64 - 1)
    bits = ((bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9) & (2**64 - 1)
    bits = ((bits ^ (bits >> 27)) * 0x94D049BB133111EB) & (2**64 - 1)
    return bits ^ (bits >> 31)


@pytest.mark.parametrize("seed", [0, 7, 2**63 - 1])
@pytest.mark.parametrize("index", [0, 123456])
def test_the_numbers_are_those_of_splitmix64_for_ever(seed: int, index: int) -> None:
    """A new version of the code, or another device, must reproduce the attacks of an old one."""
    golden = 0x9E3779B97F4A7C15
    key = splitmix64(splitmix64(seed + golden) + index * golden)
    stream = splitmix64(key + 3 * 0xD1342543DE82EF95)
    expected = [splitmix64(stream + (place + 1) * golden) for place in range(6)]
    result = Noise.of(seed, torch.tensor([index])).stream(2)
    assert [bits % 2**64 for bits in result._bits((6,))[0].tolist()] == expected
    uniform = [(2 * (bits >> 40) + 1 - 2**24) / 2**24 for bits in expected]
    assert result.uniform((2, 3))[0].flatten().tolist() == uniform
    assert result.integers((6,), 1000)[0].tolist() == [(bits >> 33) * 1000 >> 31 for bits in expected]
