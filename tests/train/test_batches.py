"""Order and views of training batches are a function of (seed, epoch, step), however many processes share them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms import RandomResizedCrop

from nofrost.config import load_recipe
from nofrost.config.recipe import AugMixSpec, RandAugmentSpec, RandomErasingSpec, TextureDebiasedSpec, ViewSpec
from nofrost.data import Split, to_tensor
from nofrost.errors import UserError
from nofrost.processes import ProcessGroup
from nofrost.train.batches import TrainingImages
from nofrost.train.objectives import Batch
from nofrost.train.shares import check_batches

PIXELS = np.random.default_rng(0).integers(0, 256, (50, 6, 6, 1), dtype=np.uint8)
SPLIT = Split(PIXELS, np.arange(50, dtype=np.int64) % 5, np.arange(100, 150, dtype=np.int64))
SETS = {"deepaugment": np.full_like(PIXELS, 10), "tda": np.full_like(PIXELS, 20)}
PLAIN = ViewSpec()
EVERYTHING = ViewSpec(image_size=5, random_resized_crop=0.3, crop_padding=1, horizontal_flip=True)
DEBIASED = EVERYTHING.model_copy(update={"texture_debiased": TextureDebiasedSpec(noise=True)})
OPERATIONS = DEBIASED.model_copy(
    update={
        "randaugment": RandAugmentSpec(operations=1),
        "random_erasing": RandomErasingSpec(),
        "augmix": AugMixSpec(width=1, depth=1),
    }
)


def images(
    views: ViewSpec = PLAIN, augmented: tuple[str, ...] = (), batch_size: int = 8, group: ProcessGroup | None = None
) -> TrainingImages:
    return TrainingImages(SPLIT, SETS if augmented else {}, augmented, views, batch_size, group or ProcessGroup())


def tensors(batch: Batch) -> list[torch.Tensor]:
    batch = batch.to(torch.device("cpu"))
    return [batch.images, batch.labels, batch.indices, *(batch.augmented[view] for view in sorted(batch.augmented))]


def rows_of(batch: Batch) -> np.ndarray:
    return batch.indices.numpy() - 100


def level(view: torch.Tensor) -> list[int]:
    return (view[:, 0, 3, 3] * 255).round().long().tolist()


def test_an_epoch_has_every_image_once_except_those_that_fill_no_batch() -> None:
    seen = torch.cat([batch.indices for batch in images().epoch(0, 0, 0)])
    assert len(seen) == 48
    assert len(set(seen.tolist())) == 48


def test_images_labels_and_indices_belong_together() -> None:
    for batch in images().epoch(1, 2, 0):
        rows = rows_of(batch)
        assert torch.equal(batch.images, to_tensor(PIXELS[rows]))
        assert np.array_equal(batch.labels.numpy(), rows % 5)


@pytest.mark.parametrize("first_step", [0, 1, 4, 5])
def test_an_epoch_resumed_in_the_middle_has_the_same_batches(first_step: int) -> None:
    whole = list(images(EVERYTHING, ("augmented",)).epoch(7, 3, 0))
    rest = list(images(EVERYTHING, ("augmented",)).epoch(7, 3, first_step))
    assert len(rest) == len(whole) - first_step
    for ours, theirs in zip(rest, whole[first_step:], strict=True):
        assert all(torch.equal(a, b) for a, b in zip(tensors(ours), tensors(theirs), strict=True))


@pytest.mark.parametrize("other", [(1, 0), (0, 1)])
def test_another_seed_or_epoch_has_another_order(other: tuple[int, int]) -> None:
    first = torch.cat([batch.indices for batch in images().epoch(0, 0, 0)])
    second = torch.cat([batch.indices for batch in images().epoch(*other, 0)])
    assert not torch.equal(first, second)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 9),
    epoch=st.integers(0, 9),
    runs=st.lists(st.tuples(st.integers(1, 3), st.integers(1, 4)), min_size=1, max_size=4),
    views=st.sampled_from([(EVERYTHING, ("tda",)), (DEBIASED, ("augmented", "texture-debiased"))]),
)
def test_killed_and_resumed_with_any_number_of_processes_an_epoch_has_the_same_batches(
    seed: int, epoch: int, runs: list[tuple[int, int]], views: tuple[ViewSpec, tuple[str, ...]]
) -> None:
    """Each run has a number of processes, and ends after a number of steps; the last one finishes the epoch."""
    sets = {"tda": SETS["tda"]}

    def epoch_of(size: int, first_step: int) -> Iterator[Batch]:
        parts = [TrainingImages(SPLIT, sets, views[1], views[0], 12, ProcessGroup(rank, size)) for rank in range(size)]
        for shared in zip(*(part.epoch(seed, epoch, first_step) for part in parts), strict=True):
            columns = zip(*map(tensors, shared), strict=True)
            images, labels, indices, *augmented = [torch.cat(column) for column in columns]
            yield Batch(images, labels, indices, dict(zip(sorted(views[1]), augmented, strict=True)))

    undisturbed, seen = list(epoch_of(1, 0)), 0
    for number, (size, steps) in enumerate(runs):
        last = number + 1 == len(runs)
        for batch in islice(epoch_of(size, seen), None if last else steps):
            assert all(torch.equal(*pair) for pair in zip(tensors(batch), tensors(undisturbed[seen]), strict=True))
            seen += 1
    assert seen == len(undisturbed) == 4


@pytest.mark.parametrize("augmented", [("tda", "augmix", "augmix-2"), ("augmented", "augmix")])
def test_operations_of_images_are_those_of_one_process_and_leave_torchs_generator_alone(
    augmented: tuple[str, ...],
) -> None:
    sets = {"tda": SETS["tda"]}
    views = OPERATIONS if "augmented" in augmented else OPERATIONS.model_copy(update={"texture_debiased": None})
    state = torch.get_rng_state()

    def batches_of(size: int, epoch: int = 1) -> list[list[torch.Tensor]]:
        parts = [TrainingImages(SPLIT, sets, augmented, views, 24, ProcessGroup(rank, size)) for rank in range(size)]
        shared = zip(*(part.epoch(0, epoch, 0) for part in parts), strict=True)
        return [[torch.cat(columns) for columns in zip(*map(tensors, each), strict=True)] for each in shared]

    whole = batches_of(1)
    for size in (2, 3):
        for ours, theirs in zip(batches_of(size), whole, strict=True):
            assert all(torch.equal(*pair) for pair in zip(ours, theirs, strict=True))
    assert torch.equal(torch.get_rng_state(), state)
    images = whole[0][0]
    assert images.dtype == torch.float32
    assert 0 <= float(images.min()) < float(images.max()) <= 1
    assert not torch.equal(batches_of(1, epoch=2)[0][0], images)


def test_the_views_of_augmix_mix_the_crop_and_flip_of_the_clean_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nofrost.train.views.augmix", lambda spec: lambda image, seed: image)
    views = EVERYTHING.model_copy(update={"augmix": AugMixSpec()})
    for batch in TrainingImages(SPLIT, {}, ("augmix", "augmix-2"), views, 16).epoch(0, 0, 0):
        # Mixed as levels, to which a crop is rounded.
        assert all((batch.images - view / 255).abs().max() <= 0.51 / 255 for view in batch.augmented.values())


def test_the_two_views_of_augmix_are_drawn_apart() -> None:
    views = ViewSpec(augmix=AugMixSpec(severity=10))
    for batch in TrainingImages(SPLIT, {}, ("augmix", "augmix-2"), views, 48).epoch(0, 0, 0):
        first, second = (view for _, view in sorted(batch.to(torch.device("cpu")).augmented.items()))
        assert torch.equal(batch.images, to_tensor(PIXELS[rows_of(batch)])), "clean images have no operations"
        different = (first != second).flatten(1).any(1)
        assert different.float().mean() > 0.8


def test_randaugment_and_erasing_change_every_view_but_the_texture_debiased_one() -> None:
    erased = {"random_erasing": RandomErasingSpec(probability=1, area=(0.2, 0.2), fill="black")}
    bright = Split(np.full_like(PIXELS, 255), SPLIT.labels, SPLIT.indices)
    views = ViewSpec(texture_debiased=TextureDebiasedSpec()).model_copy(update=erased)
    sets = {"tda": bright.images}
    batch = next(TrainingImages(bright, sets, ("tda", "texture-debiased"), views, 48).epoch(0, 0, 0))
    black = [(images.flatten(1) == 0).float().mean(1) for images in (batch.images, batch.augmented["tda"])]
    assert all(float(each.min()) > 0.05 for each in black), "a fifth of the area, in whole pixels of 6 x 6"
    assert torch.equal(batch.augmented["texture-debiased"], torch.ones(48, 1, 6, 6))


@pytest.mark.parametrize("size", [2, 4, 8])
@pytest.mark.parametrize(
    "views", [PLAIN, EVERYTHING, ViewSpec(image_size=9, horizontal_flip=True), ViewSpec(crop_padding=2)]
)
def test_the_rows_of_all_processes_are_the_batch_of_one_bit_for_bit(size: int, views: ViewSpec) -> None:
    augmented = ("tda", "augmented")
    parts = [images(views, augmented, group=ProcessGroup(rank, size)).epoch(3, 1, 2) for rank in range(size)]
    for whole, *shared in zip(images(views, augmented).epoch(3, 1, 2), *parts, strict=True):
        assert {len(batch.labels) for batch in shared} == {8 // size}
        for expected, *cut in zip(tensors(whole), *map(tensors, shared), strict=True):
            assert torch.equal(torch.cat(cut), expected)


def test_augmented_views_come_from_every_set_about_equally_often() -> None:
    batches = images(augmented=("augmented",)).epoch(0, 0, 0)
    levels = [value for batch in batches for value in level(batch.augmented["augmented"])]
    assert set(levels) == {10, 20}
    assert 12 < levels.count(10) < 36


def test_a_view_with_the_name_of_a_set_is_that_set() -> None:
    for batch in images(augmented=("tda", "deepaugment")).epoch(0, 0, 0):
        assert set(level(batch.augmented["tda"])) == {20}
        assert set(level(batch.augmented["deepaugment"])) == {10}


def test_a_set_is_row_aligned_and_every_view_has_its_own_crop_and_flip() -> None:
    twins = {"tda": PIXELS}
    plain = TrainingImages(SPLIT, twins, ("tda",), PLAIN, 8)
    assert all(torch.equal(batch.augmented["tda"], batch.images) for batch in plain.epoch(0, 0, 0))
    moved = TrainingImages(SPLIT, twins, ("tda",), ViewSpec(crop_padding=2, horizontal_flip=True), 8)
    same = [(batch.augmented["tda"] == batch.images).flatten(1).all(1) for batch in moved.epoch(0, 0, 0)]
    assert int(torch.cat(same).sum()) < 12  # of 48, each with one chance in fifty


def test_the_texture_debiased_view_is_drawn_anew_at_each_step_and_has_its_own_crop_alone() -> None:
    """Pixels that are their own coordinates show which part of its image a view covers."""
    size = 48
    places = np.arange(size, dtype=np.uint8) * 5
    pixels = np.empty((240, size, size, 3), np.uint8)
    pixels[..., 0], pixels[..., 1], pixels[..., 2] = places, places[:, None], 128
    split = Split(pixels, np.zeros(240, np.int64), np.arange(240, dtype=np.int64))
    views = ViewSpec(random_resized_crop=0.08, crop_padding=4, texture_debiased=TextureDebiasedSpec())
    training_images = TrainingImages(split, {}, ("texture-debiased",), views, 240)
    crops = torch.cat([batch.augmented["texture-debiased"] for batch in training_images.epoch(0, 0, 0)]) * 255 / 5

    def area(images: torch.Tensor) -> torch.Tensor:
        # Pixels next to an edge may be clamped: measure between the others.
        inner = size / (size - 3)
        width, height = images[:, 0, 0, -2] - images[:, 0, 0, 1], images[:, 1, -2, 0] - images[:, 1, 1, 0]
        return width * height * (inner / size) ** 2

    assert 0.62 < float(area(crops).min()) < 0.7
    torch.manual_seed(0)
    theirs = [RandomResizedCrop.get_params(torch.zeros(1, 480, 480), [0.64, 1.0], [3 / 4, 4 / 3]) for _ in range(1000)]
    expected = np.mean([height * width for _, _, height, width in theirs]) / 480**2
    assert float(area(crops).mean()) == pytest.approx(expected, abs=0.015)
    batches = [next(training_images.epoch(0, epoch, 0)).to(torch.device("cpu")) for epoch in (0, 1)]
    first, second = (batch.augmented["texture-debiased"][batch.indices.argsort()] for batch in batches)
    assert not (first == second).flatten(1).all(1).any()
    assert float((first - second).abs().mean()) > 0.05


def test_augmented_draws_the_texture_debiased_view_as_often_as_a_set() -> None:
    views = ViewSpec(texture_debiased=TextureDebiasedSpec())
    sets = {"deepaugment": SETS["deepaugment"]}
    levels = []
    for batch in TrainingImages(SPLIT, sets, ("augmented",), views, 8).epoch(0, 0, 0):
        levels += (batch.to(torch.device("cpu")).augmented["augmented"].flatten(1).std(dim=1) < 1e-6).tolist()
    assert 12 < sum(levels) < 36


@pytest.mark.parametrize("size", [4, 9])
def test_images_are_resized_with_antialiasing_to_smaller_and_to_larger_ones(size: int) -> None:
    training_images = images(ViewSpec(image_size=size))
    assert training_images.image_size == (size, size)
    assert training_images.batch_pixels == 8 * size * size
    for batch in training_images.epoch(0, 0, 0):
        stored = to_tensor(PIXELS[rows_of(batch)])
        expected = F.interpolate(stored, (size, size), mode="bilinear", antialias=True)
        torch.testing.assert_close(batch.images, expected)


def test_a_crop_of_random_size_has_the_stored_size_by_default() -> None:
    assert images(ViewSpec(random_resized_crop=0.5)).image_size == (6, 6)
    batch = next(images(ViewSpec(random_resized_crop=0.5)).epoch(0, 0, 0))
    stored = to_tensor(PIXELS[rows_of(batch)])
    assert batch.images.shape == stored.shape
    assert ((batch.images - stored).abs().amax(dim=(1, 2, 3)) > 0.01).all(), "every image is cropped"


def test_only_this_processs_rows_are_read() -> None:
    read: list[int] = []

    class Watched(np.ndarray):
        def __getitem__(self, key: object) -> np.ndarray:
            if isinstance(key, np.ndarray):
                read.extend(key.tolist())
            return np.asarray(self)[key]

    split = Split(PIXELS.view(Watched), SPLIT.labels, SPLIT.indices)
    batches = list(TrainingImages(split, {}, (), PLAIN, 8, ProcessGroup(1, 4)).epoch(0, 0, 0))
    assert read == [row for batch in batches for row in rows_of(batch).tolist()]
    assert len(read) == 12


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 64}, r"schedule\.batch_size 64 is larger than the 50 training images: lower it"),
        (
            {"group": ProcessGroup(0, 3)},
            r"batch_size 8 cannot be shared equally by 3 processes: set it to a multiple, such as 6",
        ),
        ({"batch_size": 2, "group": ProcessGroup(0, 4)}, r"batch_size 2 cannot be shared .* such as 4"),
        ({"augmented_views": ("tda",), "augmented": {}}, r"trains on 'tda' images .* has none: name tda there"),
        ({"augmented_views": ("augmented",), "augmented": {}}, r"'augmented' images .* has none: name a set there"),
        (
            {"augmented_views": ("tad",)},
            r"'tad' images .* has deepaugment, tda: name tad there, .* \(did you mean 'tda'\?\)",
        ),
        ({"augmented_views": ("tda",)}, r"has deepaugment, which the objective does not train on: leave it out"),
        ({"augmented_views": ()}, r"has deepaugment, tda, which the objective does not train on"),
        (
            {"augmented_views": ("texture-debiased",), "augmented": {}},
            r"trains on 'texture-debiased' images and views\.texture_debiased is not set: set it to \{\}",
        ),
        (
            {"augmented_views": ("tda",), "augmented": {"tda": PIXELS}, "views": DEBIASED},
            r"views\.texture_debiased makes a view that the objective does not train on: leave it out, or name "
            r"texture-debiased or augmented",
        ),
        (
            {"augmented_views": ("augmix",), "augmented": {}},
            r"trains on 'augmix' images and views\.augmix is not set: set it to \{\}, or choose other views",
        ),
        (
            {"augmented_views": ("tda",), "augmented": {"tda": PIXELS}, "views": ViewSpec(augmix=AugMixSpec())},
            r"views\.augmix makes a view that the objective does not train on: leave it out, or name augmix or "
            r"augmix-2",
        ),
        (
            {"augmented": {}, "views": ViewSpec(augmix=AugMixSpec())},
            r"'augmented' images .* has none: name a set there",
        ),
    ],
)
def test_settings_that_do_not_fit_the_images_are_refused(changes: dict[str, object], message: str) -> None:
    whole = {"split": SPLIT, "augmented": SETS, "augmented_views": ("augmented",), "views": PLAIN, "batch_size": 8}
    with pytest.raises(UserError, match=message):
        TrainingImages(**{**whole, **changes})  # type: ignore[arg-type]


def test_a_phase_whose_batch_cannot_be_shared_is_named() -> None:
    recipe = load_recipe("fast")
    # Of its three phases with 512, 224 and 128 images.
    with pytest.raises(UserError, match=r"^phases\.\w+: schedule\.batch_size 128 cannot be shared equally by 7"):
        check_batches(recipe.model_copy(update={"phases": dict(list(recipe.phases.items())[1:])}), 7)
    with pytest.raises(UserError, match=rf"^phases\.{next(iter(recipe.phases))}: schedule\.batch_size 512 cannot"):
        check_batches(recipe, 7)
    check_batches(recipe, 8)
