"""What both evaluation stages read (a dataset's test split, a checkpoint) and write (metrics, flags, examples)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nofrost import models
from nofrost.config import Suite
from nofrost.data import Manifest, checksum, read_manifest, read_split
from nofrost.errors import UserError
from nofrost.evaluate.measurement import Measurement
from nofrost.evaluate.sample import sample_of_split
from nofrost.evaluate.shard import Shard
from nofrost.evaluate.store import ConditionStore
from nofrost.files import atomic_file, sha256_file
from nofrost.models.checkpoint import BEST
from nofrost.stage import record

SPLIT = "test"
CONDITIONS = "conditions"  # folder of finished conditions, in the partial output and in that of a shard
EXAMPLES = 8
LIBRARIES = ("torch", "numpy", "timm")


@dataclass(frozen=True)
class Inputs:
    """What is evaluated on what: `checksums` of dataset and checkpoint files, and the model on the CPU."""

    dataset: Path
    manifest: Manifest
    model: models.Classifier
    device: torch.device
    checksums: dict[str, str]

    def fingerprint(self, suite: Suite) -> dict[str, Any]:
        """Return what the numbers depend on; finished conditions of another fingerprint are not taken over."""
        return {
            "suite": suite.as_json(),
            "inputs": self.checksums,
            "device": self.device.type,
            "nofrost": version("nofrost"),
            "torch": torch.__version__,
        }

    def record(self, stage: str, suite: Suite) -> dict[str, Any]:
        """Return what ``record.json`` holds of an evaluation of all images."""
        seeds = {"suite": suite.seed}
        made = record(stage, config=suite.as_json(), inputs=self.checksums, seeds=seeds, libraries=LIBRARIES)
        return {**made, "device": self.device.type, "dtype": "float32", "tf32": False, "split": SPLIT}

    def measurement(self, suite: Suite, partial: Path, shard: Shard | None = None) -> Measurement:
        """Return the measurement of the test split, or of a shard of it, which goes on from what `partial` holds."""
        sample = sample_of_split(read_split(self.dataset, SPLIT, verify=True), suite.max_images)
        if len(sample) == 0:
            raise UserError(f"the {SPLIT} split of {self.dataset} is empty: prepare the dataset again")
        if shard is not None:
            sample = sample.part(shard.rows(len(sample), suite.batch_size))
        store = ConditionStore(partial / CONDITIONS)
        return Measurement(self.model, sample, suite.batch_size, self.device, store)


def read_inputs(dataset: Path, checkpoint: Path) -> Inputs:
    """Return the model of a training and the dataset it is evaluated on.

    Args:
        dataset: output folder of prepare.
        checkpoint: output folder of train, whose best checkpoint is taken, or a ``.safetensors`` file.

    Raises:
        UserError: one of them is missing or damaged, or the model was made for other images or classes.
    """
    manifest = read_manifest(dataset)
    model = models.load_model(checkpoint)
    takes = model.signature
    for what, of_model, of_dataset in (
        ("classes", takes.num_classes, len(manifest.classes)),
        ("channels", takes.channels, manifest.channels),
        ("image size", tuple(takes.image_size), tuple(manifest.image_size)),
    ):
        if of_model != of_dataset:
            raise UserError(
                f"the model in {checkpoint} does not fit {dataset}: {what} {of_model} against {of_dataset}, "
                "evaluate it on the dataset it was trained on"
            )
    if takes.classes and tuple(takes.classes) != tuple(manifest.classes):
        raise UserError(
            f"the model in {checkpoint} names other classes than {dataset}: evaluate it on the dataset it was made for"
        )
    weights = checkpoint / BEST if checkpoint.is_dir() else checkpoint
    files = (weights, weights.with_suffix(".json"))
    checksums = {"dataset": checksum(dataset), **{file.name: sha256_file(file) for file in files}}
    return Inputs(dataset, manifest, model, models.default_device(), checksums)


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays to a compressed ``.npz``, atomically; equal arrays give equal bytes (numpy writes no times)."""
    with atomic_file(path) as file:
        named: dict[str, Any] = dict(arrays)
        np.savez_compressed(file, **named)


def channels_last(images: torch.Tensor) -> NDArray[np.float32]:
    """Return images float [N, C, H, W] as float32 [N, H, W, C]."""
    pixels: NDArray[np.float32] = images.permute(0, 2, 3, 1).contiguous().cpu().numpy().astype(np.float32)
    return pixels
