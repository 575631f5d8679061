"""Properties of each image equal their closed forms on linear models, and ask the model as attacks do."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nofrost import models
from nofrost.config import PixelFraction, Threat
from nofrost.config.properties import BoundaryThickness
from nofrost.errors import UserError
from nofrost.evaluate.properties import boundary_thickness, decision_margin, gradient_norm, model_smoothness

Grey = tuple[Tensor, Tensor]
STD = torch.tensor([0.2, 0.5])


def of_logits(logits: Tensor) -> Callable[[Tensor], Tensor]:
    """A model that gives these logits whatever the images are."""
    return lambda images: logits.to(images)[: len(images)]


def scaled(model: nn.Module) -> Tensor:
    """Weights of the first class less those of the second, by channel, height, width, in normalised units."""
    difference = model.matrix[0] - model.matrix[1]
    return difference.detach().view(2, 3, 4) * STD[:, None, None].double()


@pytest.mark.parametrize(
    ("probabilities", "label", "margin"),
    [((0.7, 0.2, 0.1), 0, 0.5), ((0.7, 0.2, 0.1), 1, -0.5), ((0.7, 0.2, 0.1), 2, -0.6), ((0.5, 0.5, 0.0), 0, 0.0)],
)
def test_the_margin_is_the_lead_of_the_true_class_in_probability(
    probabilities: tuple[float, ...], label: int, margin: float
) -> None:
    model = of_logits(torch.tensor([probabilities], dtype=torch.float64).log())  # the log of 0 is a ruled-out class
    found = decision_margin(model, torch.full((1, 1, 2, 2), 0.5), torch.tensor([label]))
    assert found.dtype == torch.float64
    assert found.item() == pytest.approx(margin, abs=1e-7)


def test_a_confident_margin_does_not_saturate() -> None:
    logits = torch.tensor([[20.0, 0.0], [30.0, 0.0]])
    images = torch.full((2, 1, 2, 2), 0.5)
    short_of_one = 1 - decision_margin(of_logits(logits), images, torch.zeros(2, dtype=torch.int64))
    assert short_of_one.tolist() == pytest.approx([2 * math.exp(-20), 2 * math.exp(-30)], rel=1e-2)


@pytest.mark.parametrize("normed", [(1.0, 0.0, 0.0), (3.0, -1.0, 2.0)])
def test_smoothness_is_the_divergence_of_the_two_answers(normed: tuple[float, ...]) -> None:
    clean, attacked = torch.full((1, 1, 2, 2), 0.25), torch.full((1, 1, 2, 2), 0.75)
    logits = torch.tensor(normed, dtype=torch.float64)
    p, q = logits.softmax(0), (-2 * logits).softmax(0)
    found = model_smoothness(
        lambda images: torch.where(images[:, 0, 0, :1] < 0.5, logits, -2 * logits), clean, attacked
    )
    assert found.item() == pytest.approx(float((p * (p / q).log()).sum()), rel=1e-6)
    assert found.dtype == torch.float64


@pytest.mark.parametrize("size", [1e2, 1e4])
def test_smoothness_of_confident_answers_is_neither_infinite_nor_nan(size: float) -> None:
    clean, attacked = torch.full((1, 1, 2, 2), 0.25), torch.full((1, 1, 2, 2), 0.75)
    logits = torch.tensor([size, 0.0])
    found = model_smoothness(lambda images: torch.where(images[:, 0, 0, :1] < 0.5, logits, -logits), clean, attacked)
    assert found.item() == pytest.approx(size)


def test_smoothness_knows_classes_that_the_model_rules_out() -> None:
    clean, attacked = torch.full((1, 1, 2, 2), 0.25), torch.full((1, 1, 2, 2), 0.75)
    logits = torch.tensor([1.0, 0.0, -torch.inf])
    assert model_smoothness(lambda images: logits.expand(len(images), 3), clean, attacked).item() == 0
    forgotten = torch.tensor([-torch.inf, 0.0, -torch.inf])
    model = lambda images: torch.where(images[:, 0, 0, :1] < 0.5, logits, forgotten)  # noqa: E731
    assert model_smoothness(model, clean, attacked).item() == math.inf


@pytest.mark.parametrize(("norm", "order"), [("l1", 1), ("l2", 2)])
@pytest.mark.parametrize("scale", [1.0, 50.0])
def test_the_gradient_of_a_linear_model_is_its_weights_times_the_error(
    two_classes: nn.Module, grey: Grey, norm: str, order: int, scale: float
) -> None:
    images, labels = grey
    two_classes.load_state_dict({name: scale * values for name, values in two_classes.state_dict().items()})
    error = 1 - two_classes(images).softmax(1).gather(1, labels[:, None]).squeeze(1)
    weights = torch.linalg.vector_norm(two_classes.matrix[0] - two_classes.matrix[1], ord=order)
    found = gradient_norm(two_classes, images, labels, norm)
    torch.testing.assert_close(found, (error * weights).detach(), rtol=1e-9, atol=1e-12)


def test_the_gradient_is_that_of_the_cross_entropy_for_several_classes(five_classes: nn.Module, grey: Grey) -> None:
    images, labels = grey[0].requires_grad_(), grey[1]
    loss = nn.functional.cross_entropy(five_classes(images), labels, reduction="sum")
    (slope,) = torch.autograd.grad(loss, images)
    found = gradient_norm(five_classes, images.detach(), labels, "l2")
    torch.testing.assert_close(found, slope.flatten(1).norm(dim=1), rtol=1e-9, atol=1e-12)


def test_the_gradient_of_a_confident_float32_model_is_not_zero(two_classes: nn.Module, grey: Grey) -> None:
    images, _ = grey
    confident = two_classes.float()
    confident.load_state_dict({name: 200 * values for name, values in confident.state_dict().items()})
    labels = confident(images.float()).argmax(1)
    assert (gradient_norm(confident, images.float(), labels, "l1") > 0).all()


def expected_thickness(lead: Tensor, fall: Tensor, length: float, alpha: float, beta: float) -> Tensor:
    """Of a segment along which the logits' difference falls from `lead` by `fall`: p_i - p_j = tanh(difference / 2)."""
    upper = torch.minimum(lead, torch.tensor(2 * math.atanh(beta)))
    lower = torch.maximum(lead - fall, torch.tensor(2 * math.atanh(alpha)))
    return (upper - lower).clamp(min=0) / fall * length


@pytest.mark.parametrize("space", ["pixel", "normalised"])
@pytest.mark.parametrize(("alpha", "beta"), [(0.0, 0.75), (-0.5, 0.9)])
def test_the_thickness_of_a_linear_model_is_the_distance_of_two_planes(
    two_classes: nn.Module, grey: Grey, space: str, alpha: float, beta: float
) -> None:
    images, _ = grey
    logits = two_classes(images).detach()
    labels = logits.argmax(1)  # so that the search goes to the other class
    eps = 0.2 if space == "pixel" else 0.5
    spec = BoundaryThickness.model_validate(
        {"space": space, "eps": eps, "alpha": alpha, "beta": beta, "points": 1000, "against": "target"}
    )
    weights = scaled(two_classes) if space == "normalised" else two_classes.matrix[0] - two_classes.matrix[1]
    lead = (logits[:, 0] - logits[:, 1]).abs()
    expected = expected_thickness(lead, (weights.norm() * eps).detach().expand_as(lead), eps, alpha, beta)
    found = boundary_thickness(two_classes, images, labels, spec=spec, std=STD)
    torch.testing.assert_close(found, expected.double(), rtol=0, atol=2 * eps / 1000)
    assert expected.max() > expected.min() + 0.01


def test_where_the_search_does_not_leave_the_class_the_predicted_class_gives_no_thickness(
    two_classes: nn.Module, grey: Grey
) -> None:
    images, _ = grey
    logits = two_classes(images).detach()
    labels, lead = logits.argmax(1), (logits[:, 0] - logits[:, 1]).abs()
    near = 0.02
    crosses = lead < near * (two_classes.matrix[0] - two_classes.matrix[1]).norm()
    assert 0 < crosses.sum() < len(images)
    values = {"space": "pixel", "eps": near, "points": 100}
    predicted, target = (
        boundary_thickness(two_classes, images, labels, spec=BoundaryThickness.model_validate({**values, "against": j}))
        for j in ("predicted", "target")
    )
    assert (predicted[~crosses] == 0).all()
    assert (target[~crosses] > 0).any()
    assert torch.equal(predicted[crosses], target[crosses])


@pytest.mark.parametrize(("norm", "order"), [("linf", 1), ("l2", 2)])
def test_within_the_threat_the_search_is_in_pixels_and_the_length_in_the_space(
    two_classes: nn.Module, grey: Grey, norm: str, order: int
) -> None:
    images, _ = grey
    logits = two_classes(images).detach()
    labels, lead = logits.argmax(1), (logits[:, 0] - logits[:, 1]).abs()
    threat = Threat.model_validate({"norm": norm, "eps": "8/255"})
    eps = 8 / 255
    weights = (two_classes.matrix[0] - two_classes.matrix[1]).detach()
    step = eps * (weights.sign() if norm == "linf" else weights / weights.norm())
    length = float((step.view(2, 3, 4) / STD[:, None, None]).norm())
    spec = BoundaryThickness(eps=None, points=500, against="predicted")
    found = boundary_thickness(two_classes, images, labels, spec=spec, std=STD, threat=threat)
    fall = eps * torch.linalg.vector_norm(weights, ord=order).expand_as(lead)
    crosses = fall > lead
    expected = torch.where(crosses, expected_thickness(lead, fall, length, 0.0, 0.75), 0)
    torch.testing.assert_close(found, expected.double(), rtol=0, atol=2 * length / 500)
    assert crosses.sum() > 0


def test_thickness_is_bounded_by_the_radius_and_zero_without_a_ball(five_classes: nn.Module, grey: Grey) -> None:
    images, labels = grey
    found = boundary_thickness(five_classes, images, labels, spec=BoundaryThickness(), std=STD)
    assert (found >= 0).all()
    assert (found <= 5 + 1e-6).all()
    assert found.max() > 0
    nowhere = Threat(eps=PixelFraction("0"))
    within = BoundaryThickness(eps=None)
    assert (boundary_thickness(five_classes, images, labels, spec=within, std=STD, threat=nowhere) == 0).all()


def test_the_normalised_space_is_the_models_own(grey: Grey) -> None:
    images, labels = grey[0][:5].float().repeat(1, 1, 3, 2), grey[1][:5]  # 9 x 8
    arguments = {"num_classes": 5, "image_size": (9, 8), "channels": 2, "mean": (0.5, 0.4)}
    torch.manual_seed(0)
    model = models.create_model("resnet8", std=tuple(STD.tolist()), **arguments)
    told = boundary_thickness(model, images, labels, std=STD)
    assert torch.equal(boundary_thickness(model, images, labels), told)
    assert not torch.equal(boundary_thickness(model, images, labels, spec=BoundaryThickness(space="pixel")), told)


def test_a_model_that_does_not_say_what_it_divides_by_is_refused(two_classes: nn.Module, grey: Grey) -> None:
    with pytest.raises(UserError, match="which only models of this package have: write space: pixel"):
        boundary_thickness(two_classes, *grey)


Measure = Callable[[nn.Module, Tensor, Tensor], Tensor]
PROPERTIES: dict[str, Measure] = {
    "margin": decision_margin,
    "thickness": lambda model, images, labels: boundary_thickness(
        model, images, labels, std=STD, indices=(images[:, 0, 0, 0] * 1e6).long()
    ),
    "smoothness": lambda model, images, labels: model_smoothness(model, images, 1 - images),
    "gradient": lambda model, images, labels: gradient_norm(model, images, labels, "l1"),
}


@pytest.mark.parametrize("measure", PROPERTIES.values(), ids=PROPERTIES)
def test_a_property_of_an_image_does_not_depend_on_the_others(
    measure: Measure, five_classes: nn.Module, grey: Grey
) -> None:
    images, labels = grey
    whole = measure(five_classes, images, labels)
    parts = torch.cat([measure(five_classes, images[rows], labels[rows]) for rows in torch.arange(40).split(7)])
    np.testing.assert_allclose(parts, whole, rtol=1e-12)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(1))
    np.testing.assert_allclose(measure(five_classes, images[order], labels[order]), whole[order], rtol=1e-12)


@pytest.mark.parametrize("measure", PROPERTIES.values(), ids=PROPERTIES)
def test_a_model_in_training_mode_is_measured_in_evaluation_mode_and_restored(measure: Measure, grey: Grey) -> None:
    torch.manual_seed(0)
    layers = [nn.BatchNorm2d(2), nn.Dropout(0.5), nn.Flatten(), nn.Linear(24, 3)]
    model = nn.Sequential(*layers).double().train()
    before = {name: values.clone() for name, values in model.state_dict().items()}
    found = measure(model, *grey)
    assert torch.equal(found, measure(model.eval(), *grey))
    model.train()
    assert all(torch.equal(values, before[name]) for name, values in model.state_dict().items())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("measure", PROPERTIES.values(), ids=PROPERTIES)
def test_a_model_without_sense_is_refused(measure: Measure, grey: Grey) -> None:
    images, labels = grey
    with pytest.raises(UserError, match="NaN"):
        measure(lambda x: x.flatten(1) * torch.nan, images, labels)
    with pytest.raises(UserError, match="logits"):
        measure(lambda x: x, images, labels)
