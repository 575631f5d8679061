"""Fooling images: noise climbs to confidence, in closed form for a linear model, and is recorded and shown."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from nofrost.config import AdversarialSuite
from nofrost.config.properties import FoolingImagesSpec
from nofrost.evaluate import evaluate_robustness, run
from nofrost.evaluate.properties.fooling import fooling_images

MakeSuite = Callable[..., AdversarialSuite]
FOOLING = {"fooling_images": {"images": 12, "steps": 20, "step_size": 0.05}}


def test_on_a_linear_model_every_pixel_goes_where_the_class_wants_it() -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(8, generator=generator, dtype=torch.float64)
    noise = torch.rand(5, 2, 2, 2, generator=generator, dtype=torch.float64)

    def model(points: torch.Tensor) -> torch.Tensor:
        score = points.flatten(1) @ weight.to(points.dtype)
        return torch.stack([torch.zeros_like(score), score], 1)

    spec = FoolingImagesSpec.model_validate({"steps": 4, "step_size": 0.125})
    found = fooling_images(model, noise, torch.tensor([1, 0, 1, 0, 1]), spec)
    sign = torch.tensor([1.0, -1, 1, -1, 1], dtype=torch.float64)[:, None] * weight.sign()
    expected = (noise + 0.5 * sign.view_as(noise)).clamp(0, 1)
    torch.testing.assert_close(found.images, expected)
    probability = model(expected).softmax(1).gather(1, found.targets[:, None]).squeeze(1)
    torch.testing.assert_close(found.confidence, probability)


def test_a_suite_records_the_share_that_is_confident(
    standard_model: nn.Module, test_digits: tuple[torch.Tensor, torch.Tensor], make_suite: MakeSuite
) -> None:
    suite = make_suite(attacks={"fgsm": {}}, properties=FOOLING, batch_size=5)
    result = evaluate_robustness(standard_model, *test_digits, suite)
    arrays, metrics = result.arrays(), result.metrics.fooling
    assert metrics is not None
    confidence = arrays["fooling/confidence"]
    assert arrays["fooling/targets"].tolist() == [*range(10), 0, 1]
    assert metrics.confident.correct == (confidence >= 0.9).sum() > 0
    assert metrics.confidence.mean == pytest.approx(confidence.mean())
    assert arrays["fooling/images"].shape == (8, 8, 8, 1)
    again = evaluate_robustness(standard_model, *test_digits, make_suite(attacks={"fgsm": {}}, properties=FOOLING))
    np.testing.assert_allclose(again.arrays()["fooling/confidence"], confidence, rtol=1e-3)


def test_a_suite_without_them_says_nothing_of_them(
    dataset: Path, plain_checkpoint: Path, make_suite: MakeSuite, tmp_path: Path
) -> None:
    metrics: Any = run(
        dataset, plain_checkpoint, make_suite(attacks={"fgsm": {}}, properties={"weight_norms": True}), tmp_path / "out"
    )
    assert "fooling" not in metrics.as_json()
    assert "fooling_images" not in make_suite(properties={}).as_json()["properties"]
