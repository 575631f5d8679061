"""The images of an evaluation: the test split of a dataset, and further test sets."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nofrost.config import AdversarialSuite, EvaluationView, OodSuite, Suite, TestSetSpec
from nofrost.config.evaluation_view import whole_view
from nofrost.data import Manifest, Split, checksum, read_manifest, read_split, split_condition
from nofrost.data.dataset_card import is_cropped
from nofrost.data.manifest import MANIFEST
from nofrost.errors import UserError, shortened
from nofrost.evaluate.measuring.sample import Change, Sample, sample_of_split
from nofrost.results import TestSetsMetrics, read_result

SPLIT, TRAINING = "test", "train"


@dataclass(frozen=True)
class TestImages:
    """Images of the test split of a dataset, or of a further test set, and the checksum of all of it."""

    __test__ = False  # the name is no test class of pytest

    dataset: Path
    manifest: Manifest
    split: Split
    sample: Sample
    checksum: str

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width in pixels at which the images are evaluated."""
        view = self.sample.view
        return (view.crop, view.crop) if view else self.manifest.image_size

    @property
    def is_resized(self) -> bool:
        """Whether that is another size than the dataset's own, which models are made for."""
        return self.image_size != self.manifest.image_size

    def changed(self, change: Change) -> Sample:
        """Return the images, each changed as it is stored, before it is resized and cropped."""
        return sample_of_split(self.split, len(self.sample), self.sample.view, change)


@dataclass(frozen=True)
class CorruptedTestImages:
    """Published corrupted versions of the same images, by corruption and severity, and the checksum of all of it."""

    manifest: Manifest
    samples: Mapping[tuple[str, int], Sample]
    checksum: str

    @property
    def sample(self) -> Sample:
        """The images under the first condition: labels and indices are those of all."""
        return next(iter(self.samples.values()))


FurtherImages = TestImages | CorruptedTestImages
"""The images of a further test set."""


def read_images(dataset: Path, max_images: int | None, view: EvaluationView | None = None) -> TestImages:
    """Return images of the test split of a dataset.

    Args:
        max_images: how many images, evenly spaced; None: all.
        view: resizes and crops them; None: by the view of the dataset, if it has one.

    Raises:
        UserError: the split is missing, damaged or empty.
    """
    if max_images is not None and max_images < 1:
        raise UserError(f"max_images is {max_images}: it must be at least 1")
    manifest = read_manifest(dataset)
    split = read_split(dataset, SPLIT, verify=True, view=view, manifest=manifest)
    sample = sample_of_split(split, max_images, view)
    if len(sample) == 0:
        raise UserError(f"the {SPLIT} split of {dataset} is empty: prepare the dataset again")
    return TestImages(dataset, manifest, split, sample, checksum(dataset))


def read_training_images(images: TestImages, suite: AdversarialSuite) -> Sample | None:
    """Return the images of the training split that a suite asks for, as test images are read; None if it asks for none.

    Raises:
        UserError: the split is missing, damaged or empty.
    """
    return None if suite.training_images is None else _training_images(images, suite, suite.training_images)


def all_training_images(images: TestImages, suite: AdversarialSuite) -> Sample:
    """Return all images of the training split, as test images are read; raises like :func:`read_training_images`."""
    return _training_images(images, suite, None)


def _training_images(images: TestImages, suite: AdversarialSuite, count: int | None) -> Sample:
    split = read_split(images.dataset, TRAINING, verify=True, view=suite.view, manifest=images.manifest)
    if not len(split):
        raise UserError(
            f"the {TRAINING} split of {images.dataset} is empty: leave training_images and properties.tilting_angle "
            "out of the suite, or evaluate on the dataset that the model was trained on"
        )
    return sample_of_split(split, count, suite.view)


def read_corrupted_images(
    test_set: Path, max_images: int | None, view: EvaluationView | None = None
) -> CorruptedTestImages:
    """Return the images of a corrupted test set; arguments as of :func:`read_images`.

    Raises:
        UserError: a split is damaged or empty, or two of them hold other images.
    """
    manifest = read_manifest(test_set)
    samples = {}
    for name in manifest.splits:
        condition = split_condition(name)
        assert condition is not None
        split = read_split(test_set, name, verify=True, view=view, manifest=manifest)
        samples[condition] = sample_of_split(split, max_images, view)
    images = CorruptedTestImages(manifest, samples, checksum(test_set))
    if not len(images.sample):
        raise UserError(f"{test_set} holds no images: prepare it again")
    for (name, severity), sample in samples.items():
        same = np.array_equal(sample.indices, images.sample.indices)
        if not (same and np.array_equal(sample.labels, images.sample.labels)):
            raise UserError(
                f"{test_set} holds other images under {name} at severity {severity} than under its first corruption: "
                "prepare it again"
            )
    return images


def read_test_sets(suite: Suite, folder: Path | None, images: TestImages) -> dict[str, FurtherImages]:
    """Return the further test sets of a suite by name, at most `max_images` evenly spaced images of each, without
    optional ones that prepare-test-sets left out.

    Args:
        folder: output folder of prepare-test-sets.
        images: of the dataset that they belong to.

    Raises:
        UserError: one is missing or damaged, or was prepared with other settings or for another dataset.
    """
    specs = suite.test_sets if isinstance(suite, OodSuite) else {}
    again = (
        f"prepare them with `nofrost prepare --study STUDY --test-sets --suite ood/NAME --dataset {images.dataset} "
        f"--out {folder or 'FOLDER'}`"
    )
    if specs and folder is None:
        raise UserError(f"the suite has test sets ({', '.join(specs)}): {again}, and add --test-sets FOLDER")
    found: dict[str, FurtherImages] = {}
    for name, spec in specs.items():
        assert folder is not None
        if not (folder / name / MANIFEST).is_file():
            if spec.optional and name in read_result(TestSetsMetrics, folder / "metrics.json").left_out:
                continue
            raise UserError(f"{folder} does not hold test set {name}: {again}")
        manifest = read_manifest(folder / name)
        is_corrupted = any(split_condition(split) for split in manifest.splits)
        read = read_corrupted_images if is_corrupted else read_images
        view = suite.view
        # As prepare does: they are not cropped a second time, and of the view only the size counts.
        if view and manifest.view and is_cropped(manifest.name):
            view = whole_view(view)
        found[name] = read(folder / name, suite.max_images, view)
        difference = _difference(spec, manifest, images.manifest)
        if difference:
            raise UserError(f"{folder / name} {difference}: {again}")
    return found


def _difference(spec: TestSetSpec, test_set: Manifest, dataset: Manifest) -> str:
    """Return how a test set differs from what the suite says of it, or from the dataset; an empty text if it fits."""
    for what in ("classes", "image_size", "channels"):
        if getattr(test_set, what) != getattr(dataset, what):
            return f"was prepared for another dataset (its {what} differ)"
    for key, value in {**spec.as_json(), "subset": spec.subset, "outliers": spec.outliers}.items():
        prepared = test_set.config.get(key, False if key in ("subset", "outliers") else None)
        if key not in spec.of_place and _as_text(prepared) != _as_text(value):
            return f"was prepared with {key} {shortened(prepared)}, the suite has {shortened(value)}"
    return ""


def _as_text(value: Any) -> Any:
    # a source keeps names as text, such as those of the classes 3 and 7
    return list(map(str, value)) if isinstance(value, list) else value
