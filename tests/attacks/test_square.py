"""Square: its windows, its steps, and its strength beside another implementation."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torchattacks
from torch import Tensor, nn

from nofrost.attacks import create_attack
from nofrost.attacks.losses import margin
from nofrost.attacks.random import Noise
from nofrost.attacks.square import window_share
from nofrost.attacks.square_walks import WALKS, L2Walk, LinfWalk, bump

Batch = tuple[Tensor, Tensor]
both_norms = pytest.mark.parametrize("norm", ["linf", "l2"])
BUDGET = {"linf": 0.1, "l2": 0.5}


def asked(model: Callable[[Tensor], Tensor], norm: str, image: Tensor, label: Tensor, queries: int) -> Tensor:
    """Return every point that Square asks about for one image, in turn."""
    points = []

    def listening(images: Tensor) -> Tensor:
        points.append(images.clone())
        return model(images)

    create_attack("square", norm=norm, eps=BUDGET[norm], queries=queries)(listening, image, label)
    return torch.cat(points)


def test_the_schedule_halves_the_windows_after_the_published_queries() -> None:
    ends = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
    for halvings, end in enumerate(ends):
        assert window_share(end, 5000, 0.8, rescale=False) == 0.8 / 2**halvings
        assert window_share(end + 1, 5000, 0.8, rescale=False) == 0.8 / 2 ** (halvings + 1)
        assert window_share(end // 10, 1000, 0.8, rescale=True) == 0.8 / 2**halvings
        assert window_share(end // 10 + 1, 1000, 0.8, rescale=True) == 0.8 / 2 ** (halvings + 1)


@pytest.mark.parametrize(("rescale", "sides"), [(False, [200, 142, 100, 71]), (True, [9, 13, 18, 25, 35, 50, 71, 100])])
def test_400_queries_on_224_pixels_take_these_windows(rescale: bool, sides: list[int]) -> None:
    walk = LinfWalk(torch.zeros(1, 3, 224, 224), torch.zeros(1, 3, 224, 224), 0.1)
    found = {walk.side(window_share(query, 400, 0.8, rescale)) for query in range(1, 400)}
    assert set(sides) <= found
    assert min(found) == min(sides)


@pytest.mark.parametrize("shape", [(1, 1), (2, 2), (2, 5), (4, 4), (5, 9), (32, 32)])
def test_windows_fit_into_the_image_and_those_of_l2_are_odd(shape: tuple[int, int]) -> None:
    for share in (1.0, 0.8, 0.4, 0.01, 0.0):
        clean = torch.zeros(1, 1, *shape)
        linf, l2 = (WALKS[norm](clean, clean, 0.1).side(share) for norm in ("linf", "l2"))
        assert 1 <= linf <= min(shape)
        assert 1 <= l2 <= min(shape)
        assert l2 % 2 == 1
        assert l2 >= 3 or min(shape) < 3


def published_bump(side: int) -> Tensor:
    """The sum of the paper's section 3.4, entry by entry: 1 / (n + 1 - k)^2 for k = 0 to M(r, s), from 1."""

    def hill(height: int, width: int) -> Tensor:
        n = max(height, width) // 2
        values = torch.zeros(height, width, dtype=torch.float64)
        for r in range(1, height + 1):
            for s in range(1, width + 1):
                last = n - max(abs(r - height // 2 - 1), abs(s - width // 2 - 1))
                values[r - 1, s - 1] = sum(1 / (n + 1 - k) ** 2 for k in range(last + 1))
        return values / values.norm()

    halves = torch.cat([hill(side // 2, side), -hill(side - side // 2, side)])
    return halves / halves.norm()


@pytest.mark.parametrize("side", [1, 2, 3, 4, 5, 6, 9, 29])
def test_the_bump_is_that_of_the_paper(side: int) -> None:
    torch.testing.assert_close(bump(side), published_bump(side))


def test_the_start_of_linf_is_vertical_stripes_at_full_strength() -> None:
    clean = torch.rand(50, 3, 6, 7, generator=torch.Generator().manual_seed(0)) * 0.5 + 0.25
    change = LinfWalk.begin(clean, 0.1, Noise.of(0, torch.arange(50))).points - clean
    torch.testing.assert_close(change.abs(), torch.full_like(change, 0.1))
    torch.testing.assert_close(change, change[:, :, :1].expand_as(change))
    assert abs(change.sign().mean()) < 0.1


@pytest.mark.parametrize(("height", "width", "side"), [(11, 23, 2), (19, 19, 3), (4, 6, 1)])
def test_the_start_of_l2_is_a_grid_of_bumps_at_full_length(height: int, width: int, side: int) -> None:
    clean = torch.full((20, 2, height, width), 0.5, dtype=torch.float64)
    change = L2Walk.begin(clean, 0.3, Noise.of(0, torch.arange(20))).points - clean
    assert (change.flatten(1).norm(dim=1) - 0.3).abs().max() < 1e-6
    for image in change:
        for channel in image:
            tiles = channel.unfold(0, side, side).unfold(1, side, side).flatten(0, 1)
            unit = tiles / tiles.flatten(1).norm(dim=1)[:, None, None]
            shapes = torch.stack([sign * pattern for sign in (1, -1) for pattern in (bump(side), bump(side).T)])
            assert ((unit[:, None] - shapes).abs().amax((2, 3)).amin(1) < 1e-6).all()


@both_norms
def test_a_step_changes_nothing_but_its_windows_and_is_kept_only_if_the_margin_rises(
    norm: str, smooth_model: nn.Module, smooth_batch: Batch
) -> None:
    image, label = smooth_batch[0][:1], smooth_batch[1][:1]

    def stubborn(images: Tensor) -> Tensor:
        logits: Tensor = smooth_model(images)
        return logits + 100 * nn.functional.one_hot(label.expand(len(images)), logits.shape[1])

    points = asked(stubborn, norm, image, label, queries=120)
    losses = margin(stubborn(points), label.expand(len(points)))
    stands, best, kept = points[0], losses[0], 0
    for query, (point, loss) in enumerate(zip(points[1:], losses[1:], strict=True), start=1):
        side = WALKS[norm](image, image, 0.1).side(window_share(query, 120, 0.8, rescale=False))
        changed = (point != stands).any(0)
        assert changed.any()
        down, across = changed.any(1).nonzero(), changed.any(0).nonzero()
        if norm == "linf":
            assert max(int(line.max() - line.min()) for line in (down, across)) < side
        else:
            assert changed.sum() <= 2 * side * side
        if loss > best:
            stands, best, kept = point, loss, kept + 1
    assert 3 <= kept <= 110
    result = create_attack("square", norm=norm, eps=BUDGET[norm], queries=120)(stubborn, image, label)
    torch.testing.assert_close(result[0], stands, rtol=0, atol=1e-9)


@both_norms
def test_windows_reach_every_pixel(norm: str) -> None:
    walk = WALKS[norm].begin(torch.full((1, 1, 7, 9), 0.5), 0.1, Noise.of(0, torch.arange(1)))
    corners = torch.stack([walk._corner(3, torch.tensor([[0, 0]])), walk._corner(3, torch.tensor([[2**31 - 1] * 2]))])
    assert corners.tolist() == [[[0, 0]], [[4, 6]]]


def test_a_linf_step_never_asks_again_what_it_knows() -> None:
    """With one channel and windows of one pixel every other step would."""
    image, points = torch.rand(1, 1, 6, 6, generator=torch.Generator().manual_seed(0)), []

    def constant(images: Tensor) -> Tensor:
        points.append(images.clone())
        return torch.tensor([[1.0, 0.0]])

    create_attack("square", eps=0.1, queries=100, initial_share=0.0)(constant, image, torch.tensor([0]))
    assert all((point != points[0]).sum() == 1 for point in points[1:])


def test_pixels_of_linf_stand_at_the_ends_of_their_range(robust_model: nn.Module, batch: Batch) -> None:
    adversarial = create_attack("square", eps=0.2, queries=50)(robust_model, *batch)
    low, high = (batch[0] - 0.2).clamp(min=0), (batch[0] + 0.2).clamp(max=1)
    assert torch.minimum((adversarial - low).abs(), (adversarial - high).abs()).max() < 1e-6


def test_the_length_of_l2_is_kept_up_to_date() -> None:
    clean = torch.rand(8, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    noise = Noise.of(0, torch.arange(8))
    walk = L2Walk.begin(clean, 2.0, noise.stream(0))
    for query in range(1, 300):
        walk.step(walk.side(0.8 / query), noise.stream(query).integers((8,), 1 << 31))
        assert (walk.points - clean).flatten(1).norm(dim=1).max() <= 2.0
        walk.settle(noise.stream(query).uniform(()) > 0)
    truth = (walk.points - clean).double().flatten(1).norm(dim=1).square()
    torch.testing.assert_close(walk._spent, truth, rtol=1e-6, atol=0)
    assert truth.sqrt().min() > 1.9


@pytest.mark.slow
@pytest.mark.parametrize(
    ("norm", "which", "rescale"),
    [("linf", "natural", False), ("linf", "robust", True), ("l2", "natural", True), ("l2", "robust", False)],
)
def test_it_is_as_strong_as_torchattacks(
    norm: str, which: str, rescale: bool, request: pytest.FixtureRequest, digits: tuple[Batch, Batch]
) -> None:
    model: nn.Module = request.getfixturevalue(f"{which}_model")
    eps = {"linf": {"natural": 0.1, "robust": 0.2}, "l2": {"natural": 0.5, "robust": 0.8}}[norm][which]
    images, labels = digits[1][0][:200], digits[1][1][:200]
    queries, ours, theirs = 100, [], []
    for seed in range(2):
        attack = create_attack("square", norm=norm, eps=eps, queries=queries, rescale_schedule=rescale, seed=seed)
        ours.append(attack(model, images, labels))
        with torch.random.fork_rng(devices=[]):
            peer = torchattacks.Square(
                model, norm={"linf": "Linf", "l2": "L2"}[norm], eps=eps, n_queries=queries, seed=seed,
                resc_schedule=rescale,
            )  # fmt: skip
            theirs.append(peer(images, labels))
    accuracies = [(model(torch.cat(each)).argmax(1) == labels.repeat(2)).double().mean() for each in (ours, theirs)]
    assert 0.2 < accuracies[0] < 0.95
    assert accuracies[0] <= accuracies[1] + 0.005
