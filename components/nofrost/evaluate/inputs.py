"""Inputs of an evaluation: the test split of a dataset, and a model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
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
from nofrost.evaluate.measuring.attacking import EvaluatedModel
from nofrost.evaluate.measuring.cache import MeasurementCache
from nofrost.evaluate.measuring.engine import Engine
from nofrost.evaluate.measuring.protocol import protocol
from nofrost.evaluate.measuring.sample import Rows, Sample, sample_of_split
from nofrost.files import sha256_file
from nofrost.models.checkpoint import checkpoint_file, load_checkpoint, read_signature
from nofrost.models.contents import model_sha256
from nofrost.models.device import exact_float32
from nofrost.models.reference import Reference
from nofrost.results import EvaluationRecord

SPLIT = "test"
LIBRARIES = ("torch", "numpy", "timm")

ModelSource = Path | Reference
"""Where a model comes from: the output folder of train or a ``.safetensors`` file, or a function that makes it."""


@dataclass(frozen=True)
class TestImages:
    """Images of the test split of a dataset, and the checksum of the dataset."""

    __test__ = False  # the name is no test class of pytest

    dataset: Path
    manifest: Manifest
    sample: Sample
    checksum: str


@dataclass(frozen=True)
class Inputs:
    """The test images, the network (on the CPU), the checksums of dataset and model, and where these are."""

    images: TestImages
    network: nn.Module
    checksums: dict[str, str]
    paths: Sequence[Path]
    device: torch.device = field(default_factory=models.default_device)

    @property
    def sample(self) -> Sample:
        """All images of the evaluation."""
        return self.images.sample

    @cached_property
    def model(self) -> EvaluatedModel:
        """The network as a model to be measured inside ``engine.ready``."""
        return EvaluatedModel(self.network, self.sample.labels, self.device)

    def fingerprint(self, suite: Suite) -> dict[str, Any]:
        """Return what the results depend on; finished batches with another fingerprint are not used."""
        return fingerprint(suite.as_json(), self.checksums, self.device)

    def record(self, stage: str, suite: Suite, reduced: dict[str, int]) -> EvaluationRecord:
        """Return what ``record.json`` holds of an evaluation of all images.

        Args:
            reduced: by measurement, the batch sizes that were reduced because memory ran out.
        """
        return record(stage, suite.title, suite.as_json(), self.checksums, self.sample, self.device, reduced)

    def engine(self, batch_size: int, folder: Path | None, rows: Rows | None = None) -> Engine:
        """Return an engine for all images, or for some of their rows, that resumes from the cache in `folder`."""
        sample = self.sample if rows is None else self.sample.select(rows)
        return Engine(sample, batch_size, self.device, MeasurementCache(folder))


class UnfitError(UserError):
    """A model was made for other images or classes than those of a dataset."""


def fingerprint(config: dict[str, Any], checksums: Mapping[str, str], device: torch.device) -> dict[str, Any]:
    """Return what measured numbers depend on, as JSON values.

    Args:
        config: what is measured, as JSON values; the batch size among it.
        checksums: of the dataset and the models.
    """
    return {
        "suite": config,
        "inputs": dict(checksums),
        "device": device.type,
        "nofrost": version("nofrost"),
        "torch": torch.__version__,
    }


def record(
    stage: str,
    title: str,
    config: dict[str, Any],
    checksums: Mapping[str, str],
    sample: Sample,
    device: torch.device,
    reduced: dict[str, int],
) -> EvaluationRecord:
    """Return what ``record.json`` holds.

    Args:
        stage: its name.
        title: what is measured, in words.
        config: what is measured, as JSON values; its seed, batch size and, where images are attacked, threat among it.
        checksums: of the dataset and the models.
        reduced: by measurement, the batch sizes that were reduced because memory ran out.
    """
    with exact_float32(device):
        comparable = protocol(title, config, sample, device, checksums["dataset"], reduced)
    return EvaluationRecord.of(
        stage,
        config=config,
        inputs=checksums,
        seeds=comparable.seeds,
        libraries=LIBRARIES,
        split=SPLIT,
        protocol=comparable,
    )


def read_inputs(dataset: Path, model: ModelSource, max_images: int | None) -> Inputs:
    """Return a model and the images that it is evaluated on.

    Args:
        dataset: output folder of prepare.
        max_images: how many images, evenly spaced; None: all.

    Raises:
        UserError: one of them is missing or damaged, or the model was made for other images or classes.
    """
    images = read_images(dataset, max_images)
    network, checksums = read_model(model, images)
    return Inputs(images, network, {"dataset": images.checksum, **checksums}, [dataset, path_of(model)])


def read_images(dataset: Path, max_images: int | None) -> TestImages:
    """Return images of the test split of a dataset.

    Raises:
        UserError: the split is missing, damaged or empty.
    """
    if max_images is not None and max_images < 1:
        raise UserError(f"max_images is {max_images}: it must be at least 1")
    manifest = read_manifest(dataset)
    sample = sample_of_split(read_split(dataset, SPLIT, verify=True), max_images)
    if len(sample) == 0:
        raise UserError(f"the {SPLIT} split of {dataset} is empty: prepare the dataset again")
    return TestImages(dataset, manifest, sample, checksum(dataset))


def read_model(model: ModelSource, images: TestImages) -> tuple[nn.Module, dict[str, str]]:
    """Return a network on the CPU, and the checksums of its files or of its weights and code.

    Raises:
        UserError: it is missing or damaged.
        UnfitError: it was made for other images or classes.
    """
    if isinstance(model, Reference):
        network = model.load()
        return network, {"model": model_sha256(network), "code": model.code_sha256()}
    weights = checkpoint_file(model)
    classifier = _classifier(model, weights, images)
    return classifier, {file.name: sha256_file(file) for file in (weights, weights.with_suffix(".json"))}


def path_of(model: ModelSource) -> Path:
    """Return the file or folder that a model comes from."""
    return Path(model.text.rpartition(":")[0]) if isinstance(model, Reference) else model


def _classifier(checkpoint: Path, weights: Path, images: TestImages) -> models.Classifier:
    signature = read_signature(weights)
    dataset, manifest = images.dataset, images.manifest
    for what, of_model, of_dataset in (
        ("classes", signature.num_classes, len(manifest.classes)),
        ("channels", signature.channels, manifest.channels),
        ("image size", tuple(signature.image_size), tuple(manifest.image_size)),
    ):
        if of_model != of_dataset:
            raise UnfitError(
                f"the model in {checkpoint} does not fit {dataset}: {what} {of_model} against {of_dataset}, "
                "evaluate it on the dataset it was trained on"
            )
    if signature.classes and tuple(signature.classes) != tuple(manifest.classes):
        raise UnfitError(
            f"the model in {checkpoint} names other classes than {dataset}: evaluate it on the dataset it was made for"
        )
    return load_checkpoint(weights, signature)


def channels_last(images: torch.Tensor) -> NDArray[np.float32]:
    """Return images float [N, C, H, W] as float32 [N, H, W, C]."""
    pixels: NDArray[np.float32] = images.permute(0, 2, 3, 1).contiguous().cpu().numpy().astype(np.float32)
    return pixels
