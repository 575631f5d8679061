"""The network computes in half precision; images, perturbations and what is learnt stay in float32."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nofrost.attacks import create_attack
from nofrost.models import Classifier, create_model, precision

IMAGES = 0.25 + torch.rand(4, 1, 16, 16, generator=torch.Generator().manual_seed(0)) / 2
LABELS = torch.arange(4)
HALF_A_PIXEL = 0.5 / 255


def small(normaliser: str = "bn") -> Classifier:
    torch.manual_seed(0)
    return create_model("resnet8", normaliser=normaliser, num_classes=4, image_size=16, channels=1)


@contextmanager
def seen(model: Classifier) -> Iterator[dict[str, set[torch.dtype]]]:
    """Note what comes into the network and what its first convolution gives."""
    dtypes: dict[str, set[torch.dtype]] = {"input": set(), "convolution": set()}

    def note(layer: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        dtypes["input"].add(inputs[0].dtype)
        dtypes["convolution"].add(output.dtype)

    hook = model.network.conv1.register_forward_hook(note)
    yield dtypes
    hook.remove()


@pytest.mark.parametrize("normaliser", ["bn", "mbn", "gn", "in", "ln", "nf"])
def test_the_network_computes_in_half_precision_and_all_else_stays_in_full(normaliser: str) -> None:
    model = small(normaliser)
    images = IMAGES.clone().requires_grad_()
    with precision(model, torch.bfloat16), seen(model) as dtypes:
        logits = model(images)
        F.cross_entropy(logits, LABELS).backward()
    assert dtypes == {"input": {torch.float32}, "convolution": {torch.bfloat16}}
    assert logits.dtype == images.grad.dtype == torch.float32  # type: ignore[union-attr]
    assert {value.dtype for value in model.state_dict().values()} <= {torch.float32, torch.int64}
    for parameter in model.parameters():
        assert parameter.grad is not None
        assert parameter.grad.dtype == torch.float32
        assert parameter.grad.isfinite().all()


def test_half_precision_answers_nearly_as_full_precision_does() -> None:
    model = small().eval()
    with torch.no_grad():
        exact = model(IMAGES)
        with precision(model, torch.bfloat16):
            rounded = model(IMAGES)
    assert not torch.equal(rounded, exact)
    torch.testing.assert_close(rounded, exact, rtol=0.05, atol=0.01)


def test_a_step_of_half_a_pixel_stays_one_which_images_in_half_precision_could_not_take() -> None:
    model = small("nf")
    attack = create_attack("fgsm", norm="linf", eps=HALF_A_PIXEL)
    with precision(model, torch.bfloat16):
        adversarial = attack(model, IMAGES, LABELS)
    assert adversarial.dtype == torch.float32
    moved = (adversarial - IMAGES).abs()
    torch.testing.assert_close(moved[moved > 0], torch.full_like(moved[moved > 0], HALF_A_PIXEL), rtol=1e-3, atol=0)
    assert (moved > 0).float().mean() > 0.99
    bright = IMAGES[IMAGES > 0.5].bfloat16()
    assert set(((bright + HALF_A_PIXEL) - bright).tolist()) == {2**-8}  # a whole pixel


def test_an_attack_switches_off_the_autocast_of_its_caller_but_not_that_of_the_model() -> None:
    model = small()
    attack = create_attack("pgd", norm="linf", eps=8 / 255, steps=2)
    with torch.autocast("cpu", torch.bfloat16), seen(model) as dtypes:
        attack(model, IMAGES, LABELS)
    assert dtypes["convolution"] == {torch.float32}
    with precision(model, torch.bfloat16), seen(model) as dtypes:
        attack(model, IMAGES, LABELS)
    assert dtypes["convolution"] == {torch.bfloat16}


def test_float32_means_without_autocast() -> None:
    model = small()
    with precision(model, torch.bfloat16), precision(model, torch.float32), seen(model) as dtypes:
        model(IMAGES)
    assert dtypes["convolution"] == {torch.float32}


def test_the_precision_before_the_block_comes_back_after_an_error() -> None:
    model = small()
    with precision(model, torch.bfloat16):
        with pytest.raises(ZeroDivisionError), precision(model, torch.float32):
            raise ZeroDivisionError
        assert model.compute_dtype == torch.bfloat16
    assert model.compute_dtype is None


def test_weights_that_moved_are_cast_anew_inside_an_autocast_block_of_the_caller() -> None:
    model = small("nf").eval()
    with torch.autocast("cpu", enabled=False), precision(model, torch.bfloat16):
        before = model(IMAGES)
        with torch.no_grad():
            model.network.fc.weight.mul_(2)
        after = model(IMAGES)
    torch.testing.assert_close(after, 2 * before)


def test_wrapped_models_are_looked_through_and_a_model_of_others_is_refused() -> None:
    model = small()
    with precision(nn.Sequential(model), torch.bfloat16), seen(model) as dtypes:
        model(IMAGES)
    assert dtypes["convolution"] == {torch.bfloat16}
    with (
        pytest.raises(ValueError, match=r"Linear holds no nofrost\.models\.Classifier"),
        precision(nn.Linear(2, 2), torch.bfloat16),
    ):
        pass
