"""Models whose answer for an image depends on the rest of its batch, or on earlier calls, raise an alarm."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nofrost import models
from nofrost.attacks import create_attack
from nofrost.config import AdversarialSuite, OodSuite
from nofrost.evaluate import evaluate_robustness, run, transfer
from nofrost.evaluate.alarms import answers_ignore_the_batch
from nofrost.evaluate.measuring.attacking import EvaluatedModel
from nofrost.evaluate.measuring.batch_effects import BatchEffect, batch_effects
from nofrost.evaluate.measuring.cache import MeasurementCache
from nofrost.evaluate.measuring.engine import Engine
from nofrost.evaluate.measuring.sample import sample_of_tensors
from nofrost.models.reference import Reference
from nofrost.results import Alarm

Digits = tuple[Tensor, Tensor]
MakeSuite = Callable[..., AdversarialSuite]
NAME = "answers-ignore-the-batch"


class Around(nn.Module):
    """A network with something done to its images or answers; `calls` counts its forward passes."""

    def __init__(self, network: nn.Module, change: Callable[[Around, Tensor], Tensor]) -> None:
        super().__init__()
        self.network, self.change, self.calls = network, change, 0
        self.memory = 0.3
        self.generator = torch.Generator().manual_seed(0)
        self.largest = 0

    def forward(self, images: Tensor) -> Tensor:
        self.calls += 1
        self.largest = max(self.largest, len(images))
        return self.change(self, images)


def normalised_by_batch(model: Around, images: Tensor) -> Tensor:
    return model.network((images - images.mean((0, 2, 3), keepdim=True)) / images.std() * 0.4 + 0.3)  # type: ignore[no-any-return]


def quantised_by_batch(model: Around, images: Tensor) -> Tensor:
    scale = images.abs().amax() / 7
    return model.network((images / scale * (1 - 0.1 * images.mean())).round() * scale)  # type: ignore[no-any-return]


def first_of_batch_differs(model: Around, images: Tensor) -> Tensor:
    mask = torch.zeros(len(images), 1).index_fill(0, torch.tensor(0), 1.0)
    return model.network(images) + mask * torch.arange(10.0)  # type: ignore[no-any-return]


def adapted(model: Around, images: Tensor) -> Tensor:
    mean = images.mean((0, 2, 3)).detach()
    return model.network(F.batch_norm(images, mean.clone(), torch.ones_like(mean), training=True, momentum=0.5))  # type: ignore[no-any-return]


DEPENDENT: dict[str, Callable[[Around, Tensor], Tensor]] = {
    "batch statistics": adapted,
    "preprocessing by the batch": normalised_by_batch,
    "dynamic quantisation": quantised_by_batch,
    "size of the batch": lambda model, images: model.network(images) * (1 + len(images) / 100),
    "larger batches only": lambda model, images: model.network(images if len(images) < 16 else images.flip(3)),
    "single images only": lambda model, images: model.network(images if len(images) > 1 else images.flip(3)),
    "neighbour": lambda model, images: model.network(0.9 * images + 0.1 * images.roll(1, 0)),
    "first of the batch": first_of_batch_differs,
    "brightest of the batch": lambda model, images: model.network(images * images.mean((1, 2, 3)).amax()),
}


def remembered(momentum: float, least: int = 1) -> Callable[[Around, Tensor], Tensor]:
    """Subtract a running mean of the images of batches of at least `least`, which is no buffer of the model."""

    def change(model: Around, images: Tensor) -> Tensor:
        mean = model.memory
        if len(images) >= least:
            model.memory = mean + momentum * (float(images.mean()) - mean)
        return model.network(images - model.memory + 0.3)  # type: ignore[no-any-return]

    return change


def by_turns(period: int) -> Callable[[Around, Tensor], Tensor]:
    return lambda model, images: model.network(images.flip(3) if model.calls % period == 0 else images)


def with_own_noise(model: Around, images: Tensor) -> Tensor:
    noise = torch.randn(images.shape, generator=model.generator)
    return model.network(images + 0.1 * noise)  # type: ignore[no-any-return]


# Of these the state changes from call to call
REMEMBERING: dict[str, Callable[[Around, Tensor], Tensor]] = {
    **{f"by turns of {period}": by_turns(period) for period in (2, 3, 5)},
    **{f"running mean, {momentum}": remembered(momentum) for momentum in (0.01, 0.1, 0.5)},
    "running mean of larger batches": remembered(0.1, least=16),
    "the batch before": remembered(1.0),
}
INDEPENDENT: dict[str, Callable[[Around, Tensor], Tensor]] = {
    "as it is": lambda model, images: model.network(images),
    "rounding": lambda model, images: model.network((images * 15).round() / 15),
    "far from zero": lambda model, images: model.network(images) + 1000,
    "one class ruled out": lambda model, images: model.network(images).index_fill(1, torch.tensor([9]), -torch.inf),
    "hardly any logits": lambda model, images: 1e-20 * model.network(images),
    "noise": lambda model, images: model.network(images + 0.1 * torch.randn_like(images)),
    "noise of its own generator": with_own_noise,
    "a coin for each batch": lambda model, images: model.network(images.flip(3) if torch.rand(()) < 0.5 else images),
    "statistics of each image": lambda model, images: model.network(images - images.mean((2, 3), keepdim=True) + 0.3),
}


def alarm_of(
    model: nn.Module, images: Tensor, labels: Tensor, batch_size: int = 16, then: Callable[[], None] = lambda: None
) -> Alarm | None:
    """Return the alarm about a model; `then` is called between the first predictions and the probe."""
    sample = sample_of_tensors(images, labels, None, None)
    engine = Engine(sample, batch_size, torch.device("cpu"), MeasurementCache(None))
    evaluated = EvaluatedModel(model, sample.labels, engine.device)
    with engine.ready(model):
        predicted = engine.values(evaluated.clean())
        then()
        return answers_ignore_the_batch(batch_effects(engine, evaluated, predicted))


@pytest.mark.parametrize("batch_size", [1, 16, 256])
@pytest.mark.parametrize("what", DEPENDENT)
def test_an_answer_that_depends_on_the_batch_fails_whatever_the_batch_size(
    standard_model: nn.Module, test_digits: Digits, what: str, batch_size: int
) -> None:
    found = alarm_of(Around(standard_model, DEPENDENT[what]), *test_digits, batch_size)
    assert found is not None
    assert found.status == "fail", found.reason


@pytest.mark.parametrize("batch_size", [1, 7, 16, 48, 256])
@pytest.mark.parametrize("what", REMEMBERING)
def test_an_answer_that_depends_on_earlier_calls_fails_whatever_the_batch_size(
    standard_model: nn.Module, test_digits: Digits, what: str, batch_size: int
) -> None:
    found = alarm_of(Around(standard_model, REMEMBERING[what]), *test_digits, batch_size)
    assert found is not None
    assert found.status == "fail", found.reason


@pytest.mark.parametrize(
    ("batch_size", "status"), [(1, "pass"), (16, "pass"), (49, "pass"), (50, "fail"), (256, "fail")]
)
def test_what_only_large_batches_show_matters_where_the_evaluation_has_such(
    standard_model: nn.Module, test_digits: Digits, batch_size: int, status: str
) -> None:
    def change(model: Around, images: Tensor) -> Tensor:
        logits: Tensor = model.network(images)
        return logits if len(images) < 50 else 1.1 * logits  # the classes stay the same

    found = alarm_of(Around(standard_model, change), *test_digits, batch_size)
    assert found is not None
    assert found.status == status, found.reason


@pytest.mark.parametrize(("batch_size", "largest"), [(1, 16), (16, 16), (40, 40), (256, 120)])
def test_no_batch_is_larger_than_a_small_one_or_than_those_of_the_evaluation(
    standard_model: nn.Module, test_digits: Digits, batch_size: int, largest: int
) -> None:
    model = Around(standard_model, INDEPENDENT["as it is"])
    alarm_of(model, *test_digits, batch_size)
    assert model.largest == largest


def test_images_of_one_range_do_not_hide_a_model_that_divides_by_the_range_of_the_batch(
    standard_model: nn.Module, test_digits: Digits
) -> None:
    images, labels = test_digits
    whole = (images.amax((1, 2, 3)) == 1) & (images.amin((1, 2, 3)) == 0)
    model = Around(standard_model, lambda around, batch: around.network(batch / batch.amax()))
    found = alarm_of(model, images[whole], labels[whole])
    assert found is not None
    assert found.status == "fail", found.reason


@pytest.mark.parametrize("batch_size", [1, 16, 256])
@pytest.mark.parametrize("what", INDEPENDENT)
def test_an_answer_that_depends_on_the_image_alone_passes(
    standard_model: nn.Module, test_digits: Digits, what: str, batch_size: int
) -> None:
    found = alarm_of(Around(standard_model, INDEPENDENT[what]), *test_digits, batch_size)
    assert found is not None
    assert found.status == "pass", found.reason


@pytest.mark.parametrize("batch_size", [1, 16, 256])
def test_a_model_that_answers_otherwise_at_the_end_of_the_evaluation_fails(
    standard_model: nn.Module, test_digits: Digits, batch_size: int
) -> None:
    model = Around(standard_model, lambda model, images: model.network(images.flip(3) if model.calls > 500 else images))

    def later() -> None:
        model.calls = 1000

    found = alarm_of(model, *test_digits, batch_size, then=later)
    assert found is not None
    assert found.status == "fail", found.reason


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_images_are_enough(standard_model: nn.Module, test_digits: Digits, count: int) -> None:
    images, labels = test_digits[0][:count], test_digits[1][:count]
    for change, status in ((DEPENDENT["batch statistics"], "fail"), (INDEPENDENT["as it is"], "pass")):
        found = alarm_of(Around(standard_model, change), images, labels)
        assert found is not None
        assert found.status == status


# With the size of their images: the larger networks get smaller ones, where they can.
ARCHITECTURES = [
    ("resnet8", "mbn", 32), ("resnet8", "none", 32), ("linear", "none", 32), ("mlp-2-384", "bn", 32),
    *(
        pytest.param(*network, marks=pytest.mark.slow)
        for network in (
            ("resnet26", "bn", 16), ("resnet8", "gn", 32), ("cifar-resnet18-w8", "fixup", 32), ("bagnet9", "ln", 16),
            ("mobilenetv3_small_050", "bn", 32), ("convnext_atto", "none", 32), ("vit_tiny_patch16_224", "none", 32),
            ("nf_resnet26", "nf", 16), ("cifar-vgg11", "bn", 32),
        )
    ),
]  # fmt: skip


@pytest.mark.parametrize(("arch", "normaliser", "size"), ARCHITECTURES)
def test_no_architecture_raises_it_by_the_last_bits_of_its_kernels(arch: str, normaliser: str, size: int) -> None:
    torch.manual_seed(0)
    model = models.create_model(arch, normaliser=normaliser, num_classes=10, image_size=size)
    images = torch.rand(32, 3, size, size)
    with torch.no_grad():
        model.train()(images)  # running statistics of such images
    found = alarm_of(model.eval(), images, torch.zeros(32, dtype=torch.int64))
    assert found is not None
    assert found.status == "pass", found.reason


def test_a_model_that_takes_batches_of_one_size_only_is_not_compared(
    standard_model: nn.Module, test_digits: Digits
) -> None:
    def fixed(model: Around, images: Tensor) -> Tensor:
        if len(images) != 1:
            raise ValueError("exported for one image")
        return model.network(images)  # type: ignore[no-any-return]

    assert alarm_of(Around(standard_model, fixed), *test_digits, batch_size=1) is None


def test_a_batch_that_memory_does_not_hold_is_compared_in_smaller_ones(
    standard_model: nn.Module, test_digits: Digits
) -> None:
    def small(model: Around, images: Tensor) -> Tensor:
        if len(images) > 8:
            raise torch.OutOfMemoryError
        return DEPENDENT["batch statistics"](model, images)

    found = alarm_of(Around(standard_model, small), *test_digits, batch_size=8)
    assert found is not None
    assert found.status == "fail"


def test_a_card_of_such_a_model_is_unreliable(
    standard_model: nn.Module, test_digits: Digits, make_suite: MakeSuite
) -> None:
    about: dict[str, Any] = {"name": "A model", "authors": "A. One"}
    suite = make_suite(max_images=20)
    result = evaluate_robustness(Around(standard_model, DEPENDENT["batch statistics"]), *test_digits, suite)
    card = result.card(**about)
    assert card["unreliable"]
    assert NAME in {alarm["name"] for alarm in card["nofrost"]["alarms"]}
    assert not evaluate_robustness(standard_model, *test_digits, suite).card(**about)["unreliable"]


def test_evaluations_without_alarms_say_it_on_standard_error(
    dataset: Path,
    standard_model: nn.Module,
    test_digits: Digits,
    make_ood_suite: Callable[..., OodSuite],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dependent = Around(standard_model, DEPENDENT["batch statistics"])
    monkeypatch.setattr(Reference, "load", lambda _: dependent)
    monkeypatch.setattr(Reference, "code_sha256", lambda _: "0" * 64)
    run(dataset, Reference("nets:net"), make_ood_suite(max_images=20), tmp_path / "out")
    transfer({"a": dependent, "b": standard_model}, *test_digits, create_attack("fgsm", eps=0.1))
    lines = [line for line in capsys.readouterr().err.splitlines() if "depends on the batch" in line]
    assert [line.split(": the answer")[0] for line in lines] == ["nofrost: the model", "nofrost: model a"]


@pytest.mark.parametrize(("changed", "status"), [(0, "pass"), (1, "warn"), (3, "warn"), (4, "fail"), (32, "fail")])
def test_a_few_images_are_a_warning(changed: int, status: str) -> None:
    found = answers_ignore_the_batch([BatchEffect("alone", 0, 8), BatchEffect("in another order", changed, 32)])
    assert found is not None
    assert found.status == status
    assert answers_ignore_the_batch([]) is None
