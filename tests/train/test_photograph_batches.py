"""Batches of photographs: crops of what is stored, aligned sets, any number of processes, as many threads as needed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms import InterpolationMode, RandomResizedCrop
from torchvision.transforms.functional import resized_crop

from nofrost.config.recipe import AugMixSpec, RandAugmentSpec, RandomErasingSpec, TextureDebiasedSpec, ViewSpec
from nofrost.data import Photographs, Split, to_tensor
from nofrost.errors import UserError
from nofrost.processes import ProcessGroup
from nofrost.seeds import derive_seed
from nofrost.train import batches, decoding, decoding_threads, photograph_views
from nofrost.train.batches import TrainingImages
from nofrost.train.decoding_threads import DecodingThreads
from nofrost.train.objectives import Batch
from nofrost.transforms.crops import flip, flips, pixel_boxes
from tests.train.photographs_in_shards import SIZES, VIEW, photographs

N = 30
CROPS = ViewSpec(image_size=12, random_resized_crop=0.3)
EVERYTHING = ViewSpec(
    image_size=10,
    random_resized_crop=0.1,
    crop_padding=1,
    horizontal_flip=True,
    augmentation_sets=("deepaugment",),
    texture_debiased=TextureDebiasedSpec(noise=True),
)
VIEWS = ("deepaugment", "texture-debiased", "augmented")
CPU = torch.device("cpu")
LEVEL_AND_HALF = 1.5 / 255  # Pillow, which resizes with more digits, may be a level apart


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Split:
    return split_of(photographs(tmp_path_factory.mktemp("train"), N))


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Photographs]:
    """The same pictures at other sizes."""
    return {"deepaugment": photographs(tmp_path_factory.mktemp("deepaugment"), N, sizes=[(48, 60), (50, 48)])}


def split_of(images: Photographs) -> Split:
    return Split(images, np.arange(N, dtype=np.int64) % 3, np.arange(100, 100 + N, dtype=np.int64))


def rows_of(batch: Batch) -> np.ndarray:
    return batch.indices.numpy() - 100


def tensors(batch: Batch) -> list[torch.Tensor]:
    batch = batch.to(CPU)
    return [batch.images, batch.labels, batch.indices, *(batch.augmented[view] for view in sorted(batch.augmented))]


def images_of(photographs: Photographs, rows: np.ndarray, boxes: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """What torchvision makes of the photographs, by Pillow."""
    crops = [
        np.asarray(resized_crop(photographs.decoded(int(row)), *box, list(size), InterpolationMode.BILINEAR))
        for row, box in zip(rows, boxes.tolist(), strict=True)
    ]
    return to_tensor(np.stack(crops))


def test_crops_are_those_of_torchvision_on_the_stored_photograph(split: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "SCALES", ())
    flipped = CROPS.model_copy(update={"horizontal_flip": True})
    for step, decoded in enumerate(TrainingImages(split, {}, (), flipped, 10).epoch(3, 1, 0)):
        assert decoded.images.dtype == torch.uint8, "until the batch is on its device"
        batch = decoded.to(CPU)
        rows = rows_of(batch)
        generator = torch.Generator().manual_seed(derive_seed(3, "views", 1, step))
        boxes = pixel_boxes(torch.from_numpy(split.images.sizes(rows)), (0.3, 1.0), generator)
        expected = flip(images_of(split.images, rows, boxes, (12, 12)), flips(10, generator))
        assert (batch.images - expected).abs().max() < LEVEL_AND_HALF
        assert np.array_equal(batch.labels.numpy(), rows % 3)


def test_a_set_of_photographs_is_row_aligned_and_cropped_by_its_own_sizes(
    split: Split, sets: dict[str, Photographs], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "SCALES", ())
    batch = next(TrainingImages(split, sets, ("deepaugment",), CROPS, 10).epoch(0, 0, 0)).to(CPU)
    rows = rows_of(batch)
    generator = torch.Generator().manual_seed(derive_seed(0, "views", 0, 0))
    for images, view in ((split.images, batch.images), (sets["deepaugment"], batch.augmented["deepaugment"])):
        boxes = pixel_boxes(torch.from_numpy(images.sizes(rows)), (0.3, 1.0), generator)
        assert (view - images_of(images, rows, boxes, (12, 12))).abs().max() < LEVEL_AND_HALF


@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 9), runs=st.lists(st.tuples(st.integers(1, 3), st.integers(1, 4)), min_size=1, max_size=3))
def test_killed_and_resumed_with_any_number_of_processes_an_epoch_has_the_same_batches(
    split: Split, sets: dict[str, Photographs], seed: int, runs: list[tuple[int, int]]
) -> None:
    """Each run has a number of processes, and ends after a number of steps; the last one finishes the epoch."""

    def epoch_of(size: int, first_step: int) -> Iterator[list[torch.Tensor]]:
        groups = [ProcessGroup(rank, size) for rank in range(size)]
        parts = [TrainingImages(split, sets, VIEWS, EVERYTHING, 6, group) for group in groups]
        for shared in zip(*(part.epoch(seed, 1, first_step) for part in parts), strict=True):
            yield [torch.cat(columns) for columns in zip(*map(tensors, shared), strict=True)]

    undisturbed, seen = list(epoch_of(1, 0)), 0
    for number, (size, steps) in enumerate(runs):
        for batch in islice(epoch_of(size, seen), None if number + 1 == len(runs) else steps):
            assert all(torch.equal(*pair) for pair in zip(batch, undisturbed[seen], strict=True))
            seen += 1
    assert seen == len(undisturbed) == 5
    assert sorted(torch.cat([batch[2] for batch in undisturbed]).tolist()) == list(range(100, 130)), "each once"


def test_operations_of_photographs_are_those_of_one_process(split: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    operations = {"randaugment": RandAugmentSpec(), "random_erasing": RandomErasingSpec(), "augmix": AugMixSpec()}
    views = CROPS.model_copy(update={**operations, "horizontal_flip": True})

    def batches_of(size: int) -> list[list[torch.Tensor]]:
        groups = [ProcessGroup(rank, size) for rank in range(size)]
        parts = [TrainingImages(split, {}, ("augmix", "augmix-2"), views, 6, group).epoch(0, 0, 3) for group in groups]
        return [
            [torch.cat(columns) for columns in zip(*map(tensors, shared), strict=True)]
            for shared in zip(*parts, strict=True)
        ]

    decoded: list[int] = []
    decode = photograph_views.decoded_crops

    def watched(images: Photographs, row: int, *arguments: Any) -> list[np.ndarray]:
        decoded.append(row)
        return decode(images, row, *arguments)

    monkeypatch.setattr(photograph_views, "decoded_crops", watched)
    whole = batches_of(1)
    assert len(whole) == 2
    assert len(decoded) == 12, "each once for all of its views"
    for size in (2, 3):
        for ours, theirs in zip(batches_of(size), whole, strict=True):
            assert all(torch.equal(*pair) for pair in zip(ours, theirs, strict=True))
    plain = next(TrainingImages(split, {}, (), CROPS, 6).epoch(0, 0, 3)).to(CPU).images
    assert all(not torch.equal(view, plain) for view in (whole[0][0], *whole[0][3:]))


def test_only_this_processs_photographs_are_decoded(split: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    decode = photograph_views.decoded_crops

    def watched(images: Photographs, row: int, *arguments: object) -> list[np.ndarray]:
        read.append(row)
        return decode(images, row, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(photograph_views, "decoded_crops", watched)
    seen = list(TrainingImages(split, {}, (), CROPS, 6, ProcessGroup(1, 3)).epoch(0, 0, 0))
    assert sorted(read) == sorted(row for batch in seen for row in rows_of(batch).tolist())
    assert len(read) == 10


def test_a_photograph_that_several_views_crop_is_decoded_once(
    split: Split, sets: dict[str, Photographs], monkeypatch: pytest.MonkeyPatch
) -> None:
    boxes_of: dict[tuple[bool, int], int] = {}
    decode = photograph_views.decoded_crops

    def watched(images: Photographs, row: int, boxes: list[list[int]], size: tuple[int, int]) -> list[np.ndarray]:
        assert (images is split.images, row) not in boxes_of
        boxes_of[images is split.images, row] = len(boxes)
        return decode(images, row, boxes, size)

    monkeypatch.setattr(photograph_views, "decoded_crops", watched)
    batch = next(TrainingImages(split, sets, ("deepaugment", "texture-debiased"), EVERYTHING, N).epoch(0, 0, 0))
    assert boxes_of == {(is_split, row): 1 + is_split for is_split in (True, False) for row in rows_of(batch).tolist()}


def test_without_a_crop_of_random_size_the_evaluation_view_is_trained_on(split: Split) -> None:
    batch = next(TrainingImages(split, {}, (), ViewSpec(), 10).epoch(0, 0, 0)).to(CPU)
    stored = to_tensor(split.images[rows_of(batch)])
    assert stored.shape[2:] == (VIEW.crop, VIEW.crop)
    assert torch.equal(batch.images, stored)
    smaller = next(TrainingImages(split, {}, (), ViewSpec(image_size=9), 10).epoch(0, 0, 0)).to(CPU)
    assert torch.equal(smaller.images, F.interpolate(stored, (9, 9), mode="bilinear", antialias=True))
    padded = next(TrainingImages(split, {}, (), ViewSpec(crop_padding=2), 10).epoch(0, 0, 0)).to(CPU)
    assert padded.images.shape == stored.shape
    assert not torch.equal(padded.images, stored)


def test_a_phase_has_its_own_image_size(split: Split) -> None:
    for size in (8, 24):
        phase = TrainingImages(split, {}, (), CROPS.model_copy(update={"image_size": size}), 10)
        assert phase.image_size == (size, size)
        assert next(phase.epoch(0, 0, 0)).images.shape == (10, 3, size, size)


def test_texture_debiasing_sees_the_share_of_the_photograph_that_wang2022_says(
    split: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As torchvision's crop of 64 to 100 % of the area, on the same photographs, whatever the recipe's own crop is."""
    debiased: list[float] = []

    def watched(images: Photographs, row: int, boxes: list[list[int]], size: tuple[int, int]) -> list[np.ndarray]:
        _, (_, _, height, width) = boxes
        debiased.append(height * width / np.prod(images.sizes(np.array([row]))))
        return [np.zeros((*size, 3), np.uint8) for _ in boxes]

    monkeypatch.setattr(photograph_views, "decoded_crops", watched)
    views = ViewSpec(image_size=10, random_resized_crop=0.99, texture_debiased=TextureDebiasedSpec())
    for epoch in range(40):
        for _ in TrainingImages(split, {}, ("texture-debiased",), views, N).epoch(0, epoch, 0):
            pass
    torch.manual_seed(0)
    theirs = [
        np.prod(RandomResizedCrop.get_params(torch.zeros(1, *SIZES[row % 5]), [0.64, 1.0], [3 / 4, 4 / 3])[2:])
        / np.prod(SIZES[row % 5])
        for row in range(40 * N)
    ]
    assert np.mean(debiased) == pytest.approx(np.mean(theirs), abs=0.015)
    assert np.std(debiased) == pytest.approx(np.std(theirs), abs=0.015)


def test_a_damaged_photograph_ends_the_epoch_with_its_name(tmp_path: Path) -> None:
    images = photographs(tmp_path, N)
    content = bytearray((tmp_path / "train-000000.tar").read_bytes())
    content[int(images.index[1]["offset"]) + 50] ^= 1
    (tmp_path / "train-000000.tar").write_bytes(content)
    with pytest.raises(UserError, match=r"train-000000\.tar is cut off or damaged at record 1"):
        list(TrainingImages(split_of(images), {}, (), CROPS, 10).epoch(0, 0, 0))


@pytest.mark.parametrize("turned", [False, True])
def test_sets_of_another_kind_than_the_dataset_are_refused(
    turned: bool, split: Split, sets: Mapping[str, Photographs]
) -> None:
    array = np.zeros((N, 16, 16, 3), np.uint8)
    images, augmented = (array, sets) if turned else (split.images, {"deepaugment": array})
    kinds = "an array and its augmentation set deepaugment photographs" if turned else "photographs and .* an array"
    with pytest.raises(UserError, match=rf"the dataset holds {kinds}: run `nofrost augment` on this dataset again"):
        TrainingImages(Split(images, split.labels, split.indices), augmented, ("deepaugment",), CROPS, 10)


def test_few_batches_are_ready_ahead(split: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    make = TrainingImages._batch

    def watched(images: TrainingImages, order: np.ndarray, seed: int, epoch: int, step: int) -> Batch:
        made.append(step)
        return make(images, order, seed, epoch, step)

    monkeypatch.setattr(TrainingImages, "_batch", watched)
    for number, _ in enumerate(TrainingImages(split, {}, (), CROPS, 2).epoch(0, 0, 0)):
        assert max(made) <= number + batches.AHEAD
    assert made == list(range(15)) or sorted(made) == list(range(15))


def finished(value: str = "batch") -> Future[str]:
    future: Future[str] = Future()
    future.set_result(value)
    return future


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[float]], None]:
    def times(values: list[float]) -> None:
        remaining = iter(values)
        monkeypatch.setattr(decoding_threads.time, "monotonic", lambda: next(remaining))

    return times


def test_another_thread_decodes_whenever_the_training_waits(clock: Callable[[list[float]], None]) -> None:
    threads, counts = DecodingThreads(most=3), []
    # Asked and got: the first batch of an epoch; at once; after 0.01 of 1 s; after 0.5, 0.5 and 0.5 of 1 s.
    clock([0, 5, 6, 6, 6.99, 7, 7.5, 8, 8.5, 9, 9.5, 10])
    threads.begin()
    for _ in range(6):
        assert threads.awaited(finished()) == "batch"
        counts.append(threads.count)
    assert counts == [1, 1, 1, 2, 3, 3]


def test_as_many_threads_decode_at_once_as_are_counted(clock: Callable[[list[float]], None]) -> None:
    threads, alone, both = DecodingThreads(most=2), threading.Barrier(2), threading.Barrier(2)
    with pytest.raises(threading.BrokenBarrierError):
        threads.run(lambda _: alone.wait(0.2) and None, 2)
    # The second batch is asked for at once, and comes after a second.
    clock([0, 0, 0, 1])
    for _ in range(2):
        threads.awaited(finished())
    assert threads.count == 2
    threads.run(lambda _: both.wait(120) and None, 2)
