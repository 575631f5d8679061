"""The tilting angle as a property of a suite: of classifiers on disk, to the centroids of their training images."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nofrost.config import AdversarialSuite, DatasetSpec
from nofrost.data import read_split
from nofrost.errors import UserError
from nofrost.evaluate import evaluate_robustness, stage
from nofrost.evaluate.adversarial.plan import make_plan
from nofrost.evaluate.measuring.sample import sample_of_split
from nofrost.evaluate.properties import tilting_angle
from nofrost.evaluate.properties.tilting import centroids
from nofrost.models import Classifier, create_model, save_checkpoint
from nofrost.prepare import run as prepare

SUITE: dict[str, Any] = {
    "kind": "adversarial",
    "title": "Angle",
    "citation": "this test",
    "protocol": "quick",
    "threat": {"norm": "linf", "eps": 0.1},
    "attacks": {"fgsm": {}},
    "properties": {"tilting_angle": True},
}


@pytest.fixture(scope="module")
def two_digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("two") / "dataset"
    prepare(DatasetSpec.model_validate({"source": "digits", "classes": ["3", "7"], "limit": 120}), folder)
    return folder


def classifier(dataset: Path, arch: str, normaliser: str) -> Classifier:
    """A linear classifier with random weights, statistics, gains and an input normaliser."""
    torch.manual_seed(0)
    classes = read_split(dataset, "train").labels
    assert set(classes.tolist()) == {0, 1}
    model = create_model(
        arch,
        normaliser=normaliser,
        num_classes=2,
        image_size=8,
        channels=1,
        mean=(0.3,),
        std=(0.4,),
        classes=("3", "7"),
    )
    for layer in model.modules():
        if isinstance(layer, torch.nn.BatchNorm1d):
            layer.running_var.uniform_(0.1, 2)
            torch.nn.init.uniform_(layer.weight, -1, 1)
    return model.eval()


def weight_by_hand(model: Classifier) -> torch.Tensor:
    fc = model.network.fc.weight.double()
    weight = fc[0] if len(fc) == 1 else fc[1] - fc[0]
    if isinstance(model.network.bn, torch.nn.BatchNorm1d):
        norm = model.network.bn
        weight = weight * norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    return weight


@pytest.mark.parametrize("normaliser", ["none", "bn"])
@pytest.mark.parametrize("arch", ["linear", "logistic"])
def test_the_angle_is_in_the_coordinates_of_the_images_over_all_and_over_live_pixels(
    arch: str, normaliser: str, two_digits: Path, tmp_path: Path
) -> None:
    model = classifier(two_digits, arch, normaliser)
    save_checkpoint(tmp_path / "model.safetensors", model, {})
    metrics = stage.run(
        two_digits, tmp_path / "model.safetensors", AdversarialSuite.model_validate(SUITE), tmp_path / "out"
    )
    images, labels, _ = read_split(two_digits, "train").batch(slice(None))
    images = images.double().flatten(1)
    difference = images[labels == 1].mean(0) - images[labels == 0].mean(0)
    weight = weight_by_hand(model)
    live = images.std(0, correction=0) >= 0.01
    assert 0 < live.sum() < 64
    expected = {
        "tilting_angle": tilting_angle(weight, difference),
        "tilting_angle_live": tilting_angle(weight[live], difference[live]),
    }
    for name, angle in expected.items():
        assert metrics.properties[name].mean == pytest.approx(angle, abs=1e-3), name
    assert expected["tilting_angle"] != pytest.approx(expected["tilting_angle_live"], abs=0.1)
    with np.load(tmp_path / "out" / "flags.npz") as arrays:
        assert arrays["properties/tilting_angle"].shape == (1,)


def test_a_classifier_along_the_centroids_has_no_angle(two_digits: Path, tmp_path: Path) -> None:
    model = classifier(two_digits, "logistic", "none")
    difference = centroids(sample_of_split(read_split(two_digits, "train"), None)).difference
    with torch.no_grad():
        model.network.fc.weight.copy_(-2 * difference.flatten()[None])
    save_checkpoint(tmp_path / "model.safetensors", model, {})
    suite = AdversarialSuite.model_validate(SUITE)
    metrics = stage.run(two_digits, tmp_path / "model.safetensors", suite, tmp_path / "out")
    assert metrics.properties["tilting_angle"].mean == pytest.approx(0, abs=1e-2)
    assert math.isclose(metrics.properties["tilting_angle_live"].mean, 0, abs_tol=1e-2)


def test_a_network_that_is_not_linear_is_refused_in_one_sentence(two_digits: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = create_model(
        "mlp-2-8",
        normaliser="none",
        num_classes=2,
        image_size=8,
        channels=1,
        mean=(0.3,),
        std=(0.4,),
        classes=("3", "7"),
    )
    save_checkpoint(tmp_path / "model.safetensors", model, {})
    suite = AdversarialSuite.model_validate(SUITE)
    with pytest.raises(UserError, match="the gradient of this model depends on the image"):
        stage.run(two_digits, tmp_path / "model.safetensors", suite, tmp_path / "out")


@pytest.mark.parametrize(
    ("classes", "message"), [(2, "is for a dataset on disk"), (3, "of two classes, and the model")]
)
def test_where_there_is_no_angle_the_suite_is_refused_before_anything_is_measured(classes: int, message: str) -> None:
    model = create_model("linear", normaliser="none", num_classes=classes, image_size=8, channels=1)
    suite = AdversarialSuite.model_validate(SUITE)
    images, labels = torch.rand(4, 1, 8, 8), torch.zeros(4, dtype=torch.int64)
    calls = {
        2: lambda: evaluate_robustness(model, images, labels, suite),
        3: lambda: make_plan(suite).check(classes, images),
    }
    with pytest.raises(UserError, match=message):
        calls[classes]()
