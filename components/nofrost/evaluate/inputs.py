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
from nofrost.config import AdversarialSuite, Suite
from nofrost.errors import UserError
from nofrost.evaluate.images import SPLIT, FurtherImages, TestImages, read_images, read_test_sets, read_training_images
from nofrost.evaluate.measuring.attacking import EvaluatedModel
from nofrost.evaluate.measuring.cache import MeasurementCache
from nofrost.evaluate.measuring.engine import Engine
from nofrost.evaluate.measuring.protocol import protocol
from nofrost.evaluate.measuring.sample import Rows, Sample
from nofrost.files import sha256_file
from nofrost.models.checkpoint import checkpoint_file, load_checkpoint, read_signature
from nofrost.models.contents import model_sha256
from nofrost.models.device import exact_float32
from nofrost.models.reference import Reference
from nofrost.models.trial import check_forward
from nofrost.results import EvaluationRecord

LIBRARIES = ("torch", "numpy", "timm")

ModelSource = Path | Reference
"""Where a model comes from: the output folder of train or a ``.safetensors`` file, or a function that makes it."""


@dataclass(frozen=True)
class Inputs:
    """The test images, the network (on the CPU), the checksums of all inputs, where these are, the further test sets of
    the suite by name, and the images of the training split that it asks for."""

    images: TestImages
    network: nn.Module
    checksums: dict[str, str]
    paths: Sequence[Path]
    test_sets: Mapping[str, FurtherImages] = field(default_factory=dict)
    training: Sample | None = None
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


def read_inputs(dataset: Path, model: ModelSource, suite: Suite, test_sets: Path | None = None) -> Inputs:
    """Return a model and the images that a suite evaluates it on.

    Args:
        dataset: output folder of prepare.
        test_sets: output folder of prepare-test-sets; needed only by a suite that has further test sets.

    Raises:
        UserError: one of them is missing or damaged, or the model was made for other images or classes.
    """
    images = read_images(dataset, suite.max_images, suite.view)
    network, checksums = read_model(model, images)
    further = read_test_sets(suite, test_sets, images)
    checksums |= {f"test-sets/{name}": each.checksum for name, each in further.items()}
    paths = [dataset, path_of(model), *([test_sets] if test_sets and further else [])]
    training = read_training_images(images, suite) if isinstance(suite, AdversarialSuite) else None
    return Inputs(images, network, {"dataset": images.checksum, **checksums}, paths, further, training)


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
        ("image size", tuple(signature.image_size), tuple(images.image_size)),
    ):
        # a suite with a view of its own asks for another size, which the model itself may refuse
        if of_model != of_dataset and not (what == "image size" and images.is_resized):
            raise UnfitError(
                f"the model in {checkpoint} does not fit {dataset}: {what} {of_model} against {of_dataset}, "
                "evaluate it on the dataset it was trained on"
            )
    if signature.classes and tuple(signature.classes) != tuple(manifest.classes):
        raise UnfitError(
            f"the model in {checkpoint} names other classes than {dataset}: evaluate it on the dataset it was made for"
        )
    classifier = load_checkpoint(weights, signature)
    if images.is_resized:
        check_forward(classifier, images.image_size, ", as the view of the suite makes them")
    return classifier


def channels_last(images: torch.Tensor) -> NDArray[np.float32]:
    """Return images float [N, C, H, W] as float32 [N, H, W, C]."""
    pixels: NDArray[np.float32] = images.permute(0, 2, 3, 1).contiguous().cpu().numpy().astype(np.float32)
    return pixels
