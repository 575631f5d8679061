"""Test images with corruptions that are made as they are evaluated (Hendrycks & Dietterich 2019), named `nofrost-c`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from nofrost.config import OodSuite
from nofrost.config.corruption_families import SEVERITIES
from nofrost.data import from_tensor, to_tensor
from nofrost.errors import UserError
from nofrost.evaluate.images import TestImages
from nofrost.evaluate.inputs import Inputs
from nofrost.evaluate.measuring.engine import Measurement
from nofrost.evaluate.measuring.sample import Sample
from nofrost.evaluate.ood.answers import WHOLE, brief_answer_measurement
from nofrost.evaluate.ood.summaries import CorruptionSeverity
from nofrost.measures import BASELINES
from nofrost.transforms.corruptions import check_corruption, corrupt, is_noise, noise_names

# In pixels. All corruptions of a photograph at each severity are then a few megabytes.
EXAMPLE_SIDE = 112


def conditions_of(suite: OodSuite, images: TestImages) -> list[CorruptionSeverity]:
    """Return every corruption at every severity, after checking that each can be made.

    Raises:
        UserError: the suite names an unknown corruption, or one that images of this kind do not have, or lacks one that
            its baseline needs.
    """
    names, severities = dict.fromkeys(suite.corruptions), sorted(set(suite.severities))
    conditions = [(name, severity) for name in names for severity in severities]
    for name, severity in conditions:
        try:
            check_corruption(name, severity, channels=images.manifest.channels)
        except UserError as error:
            raise UserError(f"suite: corruptions: {error}") from None
    if suite.before_resize and images.sample.view is None:
        raise UserError(
            "suite: before_resize: the images are evaluated as they are stored, nothing is resized: set view, or "
            "leave before_resize out"
        )
    if suite.before_resize and not any(map(is_noise, names)):
        raise UserError(
            f"suite: before_resize: none of the corruptions is noise: add one of {', '.join(noise_names())}, or "
            "leave before_resize out"
        )
    if suite.baseline and conditions:
        check_baseline(suite.baseline, conditions, "the suite")
    return conditions


def check_baseline(baseline: str, conditions: list[CorruptionSeverity], where: str) -> None:
    """Check that there is all that the baseline's errors are of: 15 corruptions, each at severities 1 to 5.

    Raises:
        UserError: something is missing in what `where` says.
    """
    wanted = [(name, severity) for name in BASELINES[baseline].corruptions for severity in SEVERITIES]
    lacking = next((each for each in wanted if each not in conditions), None)
    if lacking is not None:
        raise UserError(
            f"suite: baseline: errors relative to {baseline} are over the 15 corruptions of ImageNet-C at severities 1 "
            f"to 5, and {where} lacks {lacking[0]} at severity {lacking[1]}: add it, or leave baseline out"
        )


def corruption_measurement(suite: OodSuite, inputs: Inputs, condition: CorruptionSeverity) -> Measurement:
    """Return the measurement of the model's answers on the test images with this corruption."""
    (name, severity), noisy = condition, _with_noise(suite, inputs.images, condition)

    def shown(images: Tensor, indices: Tensor) -> Tensor:
        return _corrupt(suite, images, condition, indices)

    corrupted = None if noisy else shown
    return brief_answer_measurement(inputs.model, f"{name}-{severity}", f"{name} {severity}", WHOLE, corrupted, noisy)


def _corrupt(suite: OodSuite, images: Tensor, condition: CorruptionSeverity, indices: Any) -> Tensor:
    (name, severity), parameters = condition, suite.parameter_set
    quality = suite.jpeg_quality
    return corrupt(
        images, name, severity, seed=suite.seed, indices=indices, parameter_set=parameters, jpeg_quality=quality
    )


def _with_noise(suite: OodSuite, images: TestImages, condition: CorruptionSeverity) -> Sample | None:
    """Return the images with noise in their stored pixels; None for a corruption of the resized ones."""
    if not (suite.before_resize and is_noise(condition[0])):
        return None

    def change(image: NDArray[np.uint8], index: int) -> NDArray[np.uint8]:
        levels: NDArray[np.uint8] = from_tensor(_corrupt(suite, to_tensor(image[None]), condition, [index]))[0]
        return levels

    return images.changed(change)


def corrupted_examples(suite: OodSuite, images: TestImages, sample: Sample) -> dict[str, NDArray[Any]]:
    """Return the first image, and it with every corruption at each severity: uint8 [corruptions, severities, H, W, C].

    A photograph is stored as every n-th of its pixels, so that noise looks as strong as it is.
    """
    row = np.zeros(1, dtype=np.int64)
    image, index = sample.read(row), sample.indices[row]
    names, severities = list(dict.fromkeys(suite.corruptions)), sorted(set(suite.severities))

    def corrupted(condition: CorruptionSeverity) -> NDArray[np.uint8]:
        noisy = _with_noise(suite, images, condition)
        return _example(_corrupt(suite, image, condition, index) if noisy is None else noisy.read(row))

    clean = _example(image)
    shown = [corrupted((name, severity)) for name in names for severity in severities]
    return {
        "image": clean,
        "label": sample.labels[row],
        "index": index,
        "corrupted": np.array(shown, dtype=np.uint8).reshape(len(names), len(severities), *clean.shape),
        "names": np.array(names, dtype=np.str_),
        "severities": np.array(severities),
    }


def _example(image: Tensor) -> NDArray[np.uint8]:
    """Return an image [1, C, H, W] as uint8 [H, W, C], reduced to `EXAMPLE_SIDE` by leaving out pixels."""
    stride = -(-max(image.shape[2:]) // EXAMPLE_SIDE)
    levels: NDArray[np.uint8] = from_tensor(image[:, :, ::stride, ::stride])[0]
    return levels
