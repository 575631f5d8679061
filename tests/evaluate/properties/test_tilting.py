"""The tilting angle, and what galloway2019 uses it for: batch norm tilts a linear decision boundary (Fig. 1)."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from nofrost.errors import UserError
from nofrost.evaluate.properties import tilting_angle

COVARIANCE = torch.tensor([[1, 0.05], [0.05, 0.01]], dtype=torch.float64)
MEANS = torch.tensor([[-5, 0], [5, 0]], dtype=torch.float64)
CENTROIDS = MEANS[0] - MEANS[1]
BAYES = math.degrees(math.atan(5))  # of the inverse covariance times the difference of the means: 78.69 degrees


@pytest.mark.parametrize(
    ("weight", "reference", "degrees"),
    [
        ((1, 0), (2, 0), 0),
        ((1, 0), (-3, 0), 0),
        ((1, 1), (1, 0), 45),
        ((-1, 1), (1, 0), 45),
        ((0, 1), (1, 0), 90),
        ((1, 1e-7), (1, 0), math.degrees(1e-7)),
        ((1e30, 1e30), (1e-30, 0), 45),
    ],
)
def test_the_angle_is_that_of_two_planes(
    weight: tuple[float, ...], reference: tuple[float, ...], degrees: float
) -> None:
    first, second = torch.tensor(weight, dtype=torch.float64), torch.tensor(reference, dtype=torch.float64)
    assert tilting_angle(first, second) == pytest.approx(degrees, rel=1e-9, abs=1e-12)
    assert tilting_angle(second, first) == pytest.approx(degrees, rel=1e-9, abs=1e-12)


def test_weights_of_any_shape_are_compared() -> None:
    weights = torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    assert tilting_angle(weights, weights.flatten()) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("other", [torch.ones(3), torch.zeros(2), torch.tensor([math.nan, 1.0])])
def test_weights_without_an_angle_are_refused(other: Tensor) -> None:
    with pytest.raises(UserError, match="a tilting angle needs"):
        tilting_angle(torch.ones(2), other)


def trained(features: Tensor, labels: Tensor, squared: bool, steps: int, rate: float) -> Tensor:
    """Weights after full-batch gradient descent from zero, on the logistic or the squared loss."""
    weight, bias = torch.zeros(2, dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    for _ in range(steps):
        answers = features @ weight + bias
        error = answers - (2 * labels - 1) if squared else answers.sigmoid() - labels
        weight = weight - rate * features.T @ error / len(labels)
        bias = bias - rate * error.mean()
    return weight


@pytest.fixture(scope="module")
def toy() -> tuple[Tensor, Tensor]:
    """The two Gaussians of galloway2019: 5,000 points moved and scaled so that their moments are the paper's."""
    noise = torch.randn(5000, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    labels = (torch.arange(5000) % 2).double()
    for label in (0, 1):
        part = noise[labels == label]
        part = part - part.mean(0)
        root = torch.linalg.cholesky(part.T @ part / len(part))
        noise[labels == label] = torch.linalg.solve_triangular(root, part.T, upper=False).T
    return noise @ torch.linalg.cholesky(COVARIANCE).T + MEANS[labels.long()], labels


def test_gradient_descent_stays_at_the_nearest_centroid_and_batch_norm_tilts_it(toy: tuple[Tensor, Tensor]) -> None:
    points, labels = toy
    plain = trained(points, labels, squared=False, steps=1000, rate=0.1)
    deviation = (points.var(0, correction=0) + 1e-5).sqrt()
    normalised = trained((points - points.mean(0)) / deviation, labels, squared=False, steps=1000, rate=0.1)
    assert tilting_angle(plain, CENTROIDS) < 1
    # behind the batch norm the weights themselves look harmless; in the space of the images they do not
    assert tilting_angle(normalised, CENTROIDS) < 10
    assert 60 < tilting_angle(normalised / deviation, CENTROIDS) < BAYES


def test_behind_batch_norm_the_squared_loss_ends_at_the_bayes_solution(toy: tuple[Tensor, Tensor]) -> None:
    points, labels = toy
    deviation = (points.var(0, correction=0)).sqrt()
    normalised = trained((points - points.mean(0)) / deviation, labels, squared=True, steps=3000, rate=0.5)
    assert tilting_angle(normalised / deviation, CENTROIDS) == pytest.approx(BAYES, abs=1e-6)
    bayes = torch.linalg.solve(COVARIANCE, CENTROIDS)
    assert tilting_angle(normalised / deviation, bayes) == pytest.approx(0, abs=1e-6)
