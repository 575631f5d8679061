"""How both branches of a mixture answer together (wang2022 App. A): in the logits, in all layers, in a random share."""

from __future__ import annotations

import dataclasses
import json
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor

from nofrost.models import (
    Branch,
    Classifier,
    Mixture,
    MixtureBatchNorm,
    branch,
    create_model,
    load_model,
    save_checkpoint,
)
from nofrost.models.architectures.blocks import BasicBlock
from nofrost.models.mixture import Selector

IMAGES = torch.rand(5, 1, 16, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
INFERENCES = [Mixture(0.3, "logits"), Mixture(0.3, "all"), *(Mixture(0.3, "random", share) for share in (0, 0.4, 1))]


@pytest.fixture
def model(mixture: Classifier) -> Classifier:
    """The mixture in float64, where formulas can be told apart."""
    return mixture.double()


def logits(model: Classifier, value: Branch) -> Tensor:
    with torch.no_grad(), branch(model, value):
        return model(IMAGES)  # type: ignore[no-any-return]


class TwoStreams:
    """The forward pass of a small residual network written for two streams, averaging in the layers of `places`."""

    def __init__(self, model: Classifier, weight: float, places: frozenset[int]) -> None:
        self.model, self.weight, self.places = model, weight, places

    def norm(self, layer: MixtureBatchNorm, clean: Tensor, adversarial: Tensor) -> tuple[Tensor, Tensor]:
        clean, adversarial = layer.clean(clean), layer.adversarial(adversarial)
        if layer.index in self.places:
            clean = adversarial = (1 - self.weight) * clean + self.weight * adversarial
        return clean, adversarial

    def block(self, block: BasicBlock, clean: Tensor, adversarial: Tensor) -> tuple[Tensor, Tensor]:
        inside = self.norm(block.bn1, block.conv1(clean), block.conv1(adversarial))
        inside = self.norm(block.bn2, *(block.conv2(torch.relu(stream)) for stream in inside))
        shortcut = clean, adversarial
        if isinstance(block.shortcut, torch.nn.Sequential):
            convolution, norm = block.shortcut
            shortcut = self.norm(norm, convolution(clean), convolution(adversarial))
        return torch.relu(inside[0] + shortcut[0]), torch.relu(inside[1] + shortcut[1])

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        network = self.model.network
        first = network.conv1((images - self.model.mean) / self.model.std)
        clean, adversarial = map(torch.relu, self.norm(network.bn1, first, first))
        for block in network.stages:
            clean, adversarial = self.block(block, clean, adversarial)
        clean, adversarial = (network.fc(stream.mean((2, 3))) for stream in (clean, adversarial))
        return (1 - self.weight) * clean + self.weight * adversarial


@pytest.mark.parametrize("share", [0.0, 0.25, 0.6, 1.0])
@pytest.mark.parametrize("seed", [0, 1])
def test_random_inference_averages_where_it_was_drawn_and_keeps_two_outputs_elsewhere(
    model: Classifier, share: float, seed: int
) -> None:
    value = Mixture(0.3, "random", share, seed)
    expected = TwoStreams(model, 0.3, value.averaging(9))(IMAGES)
    torch.testing.assert_close(logits(model, value), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("share", "other"), [(0, "logits"), (1, "all")])
def test_random_inference_of_no_layer_is_that_of_the_logits_and_of_every_layer_that_of_all(
    model: Classifier, share: float, other: str
) -> None:
    same = logits(model, Mixture(0.3, other))  # type: ignore[arg-type]
    torch.testing.assert_close(logits(model, Mixture(0.3, "random", share)), same, rtol=1e-10, atol=1e-12)


def test_the_three_inferences_answer_differently(model: Classifier) -> None:
    answers = [logits(model, Mixture(0.3, inference)) for inference in ("logits", "all", "random")]
    assert not torch.allclose(answers[0], answers[1])
    assert not torch.allclose(answers[0], answers[2])
    assert not torch.allclose(answers[1], answers[2])


@pytest.mark.parametrize(("weight", "branch"), [(0, "clean"), (1.0, "adversarial")])
@pytest.mark.parametrize("value", INFERENCES)
def test_a_weight_at_an_end_is_one_branch_exactly(
    model: Classifier, value: Mixture, weight: float, branch: Branch
) -> None:
    assert torch.equal(logits(model, dataclasses.replace(value, weight=weight)), logits(model, branch))


def test_a_layer_mixes_linearly_in_the_weight(model: Classifier) -> None:
    layer = model.network.bn1
    features = torch.randn(3, 16, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    outputs = {}
    for weight in (0.0, 0.3, 1.0):
        with torch.no_grad(), branch(model, Mixture(weight, "all")):
            outputs[weight] = layer(features)
    torch.testing.assert_close(outputs[0.3], 0.7 * outputs[0.0] + 0.3 * outputs[1.0], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("value", INFERENCES)
def test_the_gradient_of_a_mixture_is_that_of_its_logits(model: Classifier, value: Mixture) -> None:
    direction = torch.randn(IMAGES.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    images = IMAGES.clone().requires_grad_()
    with branch(model, value):
        (gradient,) = torch.autograd.grad(model(images).square().sum(), images)
        with torch.no_grad():
            ahead, behind = (model(IMAGES + step * direction).square().sum() for step in (1e-7, -1e-7))
    assert (gradient * direction).sum().item() == pytest.approx(((ahead - behind) / 2e-7).item(), rel=1e-4)


@pytest.mark.parametrize(("inference", "share"), [("logits", 0.5), ("all", 0.5), ("random", 0.3)])
def test_a_loaded_model_answers_as_the_saved_one_and_a_number_means_its_own_inference(
    tmp_path: Path, inference: str, share: float
) -> None:
    saved = create_model(
        "resnet8",
        normaliser="mbn",
        num_classes=4,
        image_size=16,
        channels=1,
        mixture_weight=0.3,
        mixture_inference=inference,  # type: ignore[arg-type]
        mixture_share=share,
    )
    with torch.no_grad(), branch(saved, "adversarial"):
        saved(IMAGES.float())  # the branches part
    save_checkpoint(tmp_path / "best.safetensors", saved, {})
    loaded = load_model(tmp_path)
    value = Mixture(0.3, inference, share)  # type: ignore[arg-type]
    assert loaded.selector.branch == value
    assert loaded.selector.averaging == saved.selector.averaging
    with torch.no_grad():
        assert torch.equal(loaded(IMAGES.float()), saved.eval()(IMAGES.float()))
    with branch(loaded, 0.8):
        assert loaded.selector.branch == dataclasses.replace(value, weight=0.8)


def test_a_checkpoint_from_before_there_were_inferences_mixes_the_logits(tmp_path: Path, mixture: Classifier) -> None:
    save_checkpoint(tmp_path / "best.safetensors", mixture, {})
    beside = json.loads((tmp_path / "best.json").read_text())
    for name in ("affine", "normaliser_eps", "groups", "mixture_inference", "mixture_share"):
        del beside["signature"][name]
    (tmp_path / "best.json").write_text(json.dumps(beside))
    assert load_model(tmp_path).selector.branch == Mixture(0.25, "logits")


def test_the_layers_that_average_are_drawn_once_for_all_time() -> None:
    """Models that were published answer as they did: these numbers may not change."""
    assert Mixture(0.5, "random", 0.5).averaging(9) == {3, 4, 7, 8}
    assert Mixture(0.5, "random", 0.5, seed=1).averaging(9) == {4, 6, 7, 8}


def test_a_larger_share_averages_where_a_smaller_one_does_and_in_more_layers() -> None:
    drawn = [Mixture(0.5, "random", share).averaging(20) for share in (0, 0.1, 0.5, 0.9, 1)]
    assert [len(places) for places in drawn] == [0, 2, 10, 18, 20]
    assert all(fewer < more for fewer, more in pairwise(drawn))


@pytest.mark.parametrize(
    ("settings", "word"),
    [({"weight": 1.2}, "weight"), ({"weight": 0.5, "share": -1}, "share"), ({"weight": 0, "inference": "x"}, "'x'")],
)
def test_a_mixture_out_of_its_range_is_refused(settings: dict[str, object], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        Mixture(**settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [0.3, Mixture(0.3, "random")])
def test_two_passes_are_made_by_the_classifier_alone(model: Classifier, value: Branch) -> None:
    with pytest.raises(RuntimeError, match="call the model"), branch(model, value):
        model.network(IMAGES)


def test_a_mixture_of_vectors_mixes_as_one_of_maps() -> None:
    selector = Selector(0.5)
    layer = MixtureBatchNorm(torch.nn.BatchNorm1d(3), torch.nn.BatchNorm1d(3), selector)
    selector.choose(Mixture(0.5, "all"))
    vectors = torch.randn(4, 3)
    torch.testing.assert_close(layer(vectors), torch.nn.BatchNorm1d(3)(vectors))
