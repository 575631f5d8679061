"""The tilting angle of a checkpoint: through normaliser and batch norm, against the means of the training images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nofrost import models, prepare, train
from nofrost.config import AdversarialSuite, DatasetSpec, load_recipe
from nofrost.data import read_split
from nofrost.errors import UserError
from nofrost.evaluate import run

MakeSuite = Callable[..., AdversarialSuite]
TILTING = {"attacks": {"fgsm": {}}, "properties": {"tilting_angle": True}}


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """400 points of the two Gaussians of galloway2019 Figure 1."""
    folder = tmp_path_factory.mktemp("toy") / "dataset"
    prepare.run(DatasetSpec.model_validate({"source": "gaussians", "points": 400}), folder)
    return folder


def trained(recipe: str, dataset: Path, out: Path, *overrides: str) -> Path:
    train.run(dataset, None, load_recipe(recipe, overrides), recipe, 0, out)
    return out


def test_the_nearest_centroid_classifier_has_the_class_means_and_no_angle(
    toy: Path, make_suite: MakeSuite, tmp_path: Path
) -> None:
    # Three batches: the means are those of all of them, not of the last.
    checkpoint = trained("galloway2019-nearest-centroid", toy, tmp_path / "train", "schedule.batch_size=96")
    metrics: Any = run(toy, checkpoint, make_suite(**TILTING), tmp_path / "out")
    assert metrics.properties["tilting_angle"].mean == pytest.approx(0, abs=1e-3)
    model, split = models.load_model(checkpoint), read_split(toy, "train")
    pixels = torch.from_numpy(np.array(split.images)).permute(0, 3, 1, 2).float() / 255
    means = [((pixels[split.labels == label] - model.mean) / model.std).mean(0).flatten() for label in (0, 1)]
    torch.testing.assert_close(model.network.fc.weight.detach(), torch.stack(means), rtol=1e-5, atol=1e-5)
    logits = model(pixels).detach()
    features = ((pixels - model.mean) / model.std).flatten(1)
    distances = torch.cdist(features, torch.stack(means))
    assert torch.equal(logits.argmax(1), distances.argmin(1))


@pytest.mark.parametrize(("recipe", "least", "most"), [("galloway2019-toy-gd", 0, 1), ("galloway2019-toy-bn", 40, 79)])
def test_batch_norm_tilts_the_boundary_of_the_toy(
    toy: Path, make_suite: MakeSuite, tmp_path: Path, recipe: str, least: float, most: float
) -> None:
    checkpoint = trained(recipe, toy, tmp_path / "train", "schedule.epochs=60")
    metrics: Any = run(toy, checkpoint, make_suite(**TILTING), tmp_path / "out")
    assert least <= metrics.properties["tilting_angle"].mean < most


def test_the_objective_is_for_the_classifier_alone(toy: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"sets centroids: set model\.arch to nearest-centroid"):
        trained("galloway2019-nearest-centroid", toy, tmp_path / "train", "model.arch=linear")
