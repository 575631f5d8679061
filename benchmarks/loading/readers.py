"""An epoch of training images, read by us and by the loader of torchvision's examples."""

from __future__ import annotations

import io
import itertools
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from torchvision.datasets import ImageFolder

from nofrost.config import ViewSpec
from nofrost.data import Photographs, Split, read_manifest, read_split
from nofrost.data.shards.cached import CachedFiles
from nofrost.data.shards.shard_cache import ShardCache
from nofrost.store import Store
from nofrost.train.batches import TrainingImages

SIDE, BATCH = 224, 64
AREA = 0.08
VIEWS = ViewSpec(image_size=SIDE, random_resized_crop=AREA, horizontal_flip=True)
Transform = Callable[[Image.Image], torch.Tensor]


def training_transform(*, levels: bool) -> Transform:
    """Return the transform that ResNets are trained with on ImageNet, in torchvision's words.

    Args:
        levels: whether it leaves the levels as uint8, as our batches do, for the device to scale, or makes float32.
    """
    crop = transforms.RandomResizedCrop(SIDE, scale=(AREA, 1.0))
    to_tensor = transforms.PILToTensor() if levels else transforms.ToTensor()
    composed: Transform = transforms.Compose([crop, transforms.RandomHorizontalFlip(), to_tensor])
    return composed


def ours(split: Split) -> float:
    """Return images per second of an epoch of the training stage's own batches."""
    return rate(batch.images for batch in TrainingImages(split, {}, (), VIEWS, BATCH).epoch(0, 0, 0))


def ours_streamed(dataset: Path, store: Store, cache: Path) -> float:
    """Return images per second of the first epoch that streams from a store, with the wait for its first shards.

    They are shuffled in windows of two shards.
    """
    split, shards = read_split(dataset, "train"), read_manifest(dataset).splits["train"].shards
    assert isinstance(split.images, Photographs)
    files = CachedFiles(shards, ShardCache(store.read, cache, 1 << 40))
    images = TrainingImages(replace(split, images=split.images.with_files(files)), {}, (), VIEWS, BATCH, window=2)
    begin = time.perf_counter()
    count = sum(len(batch.images) for batch in images.epoch(0, 0, 0))
    seconds = time.perf_counter() - begin
    files.cache.close()
    return count / seconds


def folder_loader(folder: Path, workers: int, *, levels: bool) -> float:
    """Return images per second of torchvision's ``ImageFolder`` in torch's ``DataLoader``."""
    return rate(loader(ImageFolder(str(folder), training_transform(levels=levels)), workers))


class ObjectFolder(Dataset[tuple[torch.Tensor, int]]):
    """Photographs in a bucket, one object for each, by one GET for each."""

    def __init__(self, bucket: str, keys: list[str]) -> None:
        self.bucket, self.keys, self.transform = bucket, keys, training_transform(levels=True)

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        content = _client().get_object(Bucket=self.bucket, Key=self.keys[index])["Body"].read()
        return self.transform(Image.open(io.BytesIO(content)).convert("RGB")), 0


def object_loader(bucket: str, keys: list[str], workers: int) -> float:
    """Return images per second of one GET for each photograph in torch's ``DataLoader``."""
    return rate(loader(ObjectFolder(bucket, keys), workers))


def loader(dataset: Dataset[Any], workers: int) -> Iterator[torch.Tensor]:
    """Yield the batches of an epoch."""
    batches: DataLoader[Any] = DataLoader(
        dataset, BATCH, shuffle=True, drop_last=True, num_workers=workers, multiprocessing_context="spawn"
    )
    return (images for images, _ in batches)


def rate(batches: Iterator[torch.Tensor]) -> float:
    """Return images per second, from the first batch to the last: the start of processes is left out."""
    next(batches)
    begin, count = time.perf_counter(), 0
    for images in itertools.chain(batches):
        count += len(images)
    return count / (time.perf_counter() - begin)


@cache
def _client() -> Any:
    import boto3

    return boto3.Session().client("s3", endpoint_url=os.environ.get("AWS_ENDPOINT_URL_S3"))
