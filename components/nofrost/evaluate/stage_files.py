"""What both evaluation stages read (a dataset's test split, a model) and write (metrics, flags, examples)."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from nofrost import models
from nofrost.config import Suite
from nofrost.data import Manifest, checksum, read_manifest, read_split
from nofrost.errors import UserError
from nofrost.evaluate.fingerprint import model_sha256
from nofrost.evaluate.measurement import Measurement
from nofrost.evaluate.protocol import protocol
from nofrost.evaluate.sample import Sample, sample_of_split
from nofrost.evaluate.shard import Shard
from nofrost.evaluate.store import ConditionStore
from nofrost.files import sha256_file
from nofrost.models.checkpoint import BEST
from nofrost.models.device import exact_float32
from nofrost.models.reference import Reference
from nofrost.stage import record

SPLIT = "test"
CONDITIONS = "conditions"  # folder of finished conditions, in the partial output and in that of a shard
EXAMPLES = 8
LIBRARIES = ("torch", "numpy", "timm")

Source = Path | Reference
"""Where a model comes from: the output folder of train or a ``.safetensors`` file, or a function that makes it."""


@dataclass(frozen=True)
class Inputs:
    """What is evaluated on what: the test images, `checksums` of dataset and model, and the model on the CPU."""

    manifest: Manifest
    sample: Sample
    model: nn.Module
    checksums: dict[str, str]
    device: torch.device = field(default_factory=models.default_device)

    def fingerprint(self, suite: Suite, batch_size: int) -> dict[str, Any]:
        """Return what the numbers depend on; finished conditions of another fingerprint are not taken over."""
        return {
            "suite": suite.as_json(),
            "inputs": self.checksums,
            "device": self.device.type,
            "batch_size": batch_size,
            "nofrost": version("nofrost"),
            "torch": torch.__version__,
        }

    def record(self, stage: str, suite: Suite, batch_size: int) -> dict[str, Any]:
        """Return what ``record.json`` holds of an evaluation of all images."""
        seeds = {"suite": suite.seed}
        made = record(stage, config=suite.as_json(), inputs=self.checksums, seeds=seeds, libraries=LIBRARIES)
        with exact_float32(self.device):
            comparable = protocol(suite, self.sample, self.device, batch_size, self.checksums["dataset"])
        return {**made, "split": SPLIT, "protocol": comparable}

    def measurement(self, batch_size: int, partial: Path, shard: Shard | None = None) -> Measurement:
        """Return the measurement of all images, or of a shard of them, which goes on from what `partial` holds."""
        rows = None if shard is None else shard.rows(len(self.sample), batch_size)
        sample = self.sample if rows is None else self.sample.part(rows)
        return Measurement(self.model, sample, batch_size, self.device, ConditionStore(partial / CONDITIONS))


def read_inputs(dataset: Path, source: Source, suite: Suite) -> Inputs:
    """Return a model and the images that it is evaluated on.

    Args:
        dataset: output folder of prepare.
        source: of the model.
        suite: says how many images.

    Raises:
        UserError: one of them is missing or damaged, or the model was made for other images or classes.
    """
    manifest = read_manifest(dataset)
    if isinstance(source, Reference):
        model = source.load()
        checksums = {"model": model_sha256(model), "code": source.code_sha256()}
    else:
        model = _classifier(source, dataset, manifest)
        weights = source / BEST if source.is_dir() else source
        checksums = {file.name: sha256_file(file) for file in (weights, weights.with_suffix(".json"))}
    sample = sample_of_split(read_split(dataset, SPLIT, verify=True), suite.max_images)
    if len(sample) == 0:
        raise UserError(f"the {SPLIT} split of {dataset} is empty: prepare the dataset again")
    return Inputs(manifest, sample, model, {"dataset": checksum(dataset), **checksums})


def _classifier(checkpoint: Path, dataset: Path, manifest: Manifest) -> models.Classifier:
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
    return model


def channels_last(images: torch.Tensor) -> NDArray[np.float32]:
    """Return images float [N, C, H, W] as float32 [N, H, W, C]."""
    pixels: NDArray[np.float32] = images.permute(0, 2, 3, 1).contiguous().cpu().numpy().astype(np.float32)
    return pixels
