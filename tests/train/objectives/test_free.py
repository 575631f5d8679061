"""Free adversarial training: whose noise it is, and how large it may grow."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from nofrost.config import AttackSpec
from nofrost.models import Classifier
from nofrost.train.objectives import Adversary, Batch, Losses, create_objective
from nofrost.train.objectives.single_step import _stepped

Make = Callable[..., Classifier]
Descend = Callable[..., list[Losses]]
SPEC = AttackSpec(name="pgd", steps=1)


def test_the_first_update_is_on_clean_images(small: Make, batch: Batch, descend: Descend) -> None:
    first = descend(small("bn"), Adversary(SPEC, "linf", 0.1, 0), "free", replays=1)[0]
    clean = create_objective("st").loss(small("bn"), batch, Adversary(SPEC, "linf", 0.1, 0))
    assert first.loss.item() == clean.loss.item()


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_noise_belongs_to_the_row_of_the_batch_and_stays_inside_the_budget(
    norm: str, small: Make, batch: Batch, descend: Descend
) -> None:
    model, memory = small("bn"), dict[str, Tensor]()
    other = Batch(batch.images.flip(0), batch.labels.flip(0), batch.indices.flip(0))
    sizes = []
    for part in (batch, other, batch):
        before = memory.get("free.noise")
        descend(model, Adversary(SPEC, norm, 0.1, 0), "free", batch=part, memory=memory, replays=2)
        noise = memory["free.noise"]
        assert noise.shape == batch.images.shape
        assert before is None or not torch.equal(noise, before)
        sizes.append(noise.abs().max() if norm == "linf" else noise.flatten(1).norm(dim=1).max())
    assert all(float(size) == pytest.approx(0.1) for size in sizes)


def test_training_continues_from_saved_noise(small: Make, batch: Batch, descend: Descend) -> None:
    adversary, memory = Adversary(SPEC, "linf", 0.1, 0), dict[str, Tensor]()
    model = small("bn")
    descend(model, adversary, "free", memory=memory, replays=2)
    weights, saved = {k: v.clone() for k, v in model.state_dict().items()}, {k: v.clone() for k, v in memory.items()}
    expected = [losses.loss.item() for losses in descend(model, adversary, "free", memory=memory, replays=2)]
    again = small("bn")
    again.load_state_dict(weights)
    assert [each.loss.item() for each in descend(again, adversary, "free", memory=saved, replays=2)] == expected


def test_noise_restarts_at_zero_with_images_of_another_size(small: Make, batch: Batch, descend: Descend) -> None:
    memory = {"free.noise": torch.full((12, 1, 8, 8), 0.1, dtype=torch.float64)}
    adversary = Adversary(SPEC, "linf", 0.1, 0)
    losses = descend(small("bn"), adversary, "free", memory=memory, replays=1)
    assert losses[0].loss.item() == descend(small("bn"), adversary, "free", replays=1)[0].loss.item()
    assert memory["free.noise"].shape == batch.images.shape


def test_an_update_without_its_backward_pass_is_an_error(small: Make, batch: Batch) -> None:
    updates = create_objective("free").updates(small("bn"), batch, Adversary(SPEC, "linf", 0.1, 0), {})
    next(updates)
    with pytest.raises(RuntimeError, match="backward pass of each update"):
        next(updates)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_a_gradient_that_overflows_leaves_the_noise_finite(norm: str) -> None:
    noise = torch.full((3, 1, 2, 2), 0.05, requires_grad=True)
    noise.grad = torch.ones_like(noise)
    noise.grad[0] = torch.nan
    noise.grad[1] = torch.inf
    stepped = _stepped(noise, Adversary(SPEC, norm, 0.1, 0))  # type: ignore[arg-type]
    assert stepped.isfinite().all()
    # The weights take no step either.
    torch.testing.assert_close(stepped[:2], noise[:2].detach())
    assert (stepped[2] != noise[2]).all()
