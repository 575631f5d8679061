"""A batch in micro-batches: one update with the gradients, statistics, metrics and record of the whole batch."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch

from nofrost.errors import UserError
from nofrost.train.objectives import Batch, list_objectives
from nofrost.train.trainer import Trainer

Make = Callable[..., Trainer]
# Of the 20 images in a batch: two and four micro-batches have whole groups.
GROUP = 5
SMOOTH: dict[str, Any] = {
    "threat": {"norm": "l2", "eps": 0.5},
    "optimiser": {"lr": 0.05},
    "selection": {"attack": {"name": "pgd", "steps": 1}},
}


def trained(trainer: Trainer, steps: int = 2) -> list[dict[str, torch.Tensor]]:
    """Take the first steps of the training; return what they returned."""
    trainer.model.train()
    batches = trainer.phase.images.epoch(trainer.seed, 0, 0)
    results = []
    for _, batch in zip(range(steps), batches, strict=False):
        results.append(trainer.train_step(batch))
        trainer.state.step += 1
    return results


def compared(trainers: list[Trainer], tolerance: float = 1e-4) -> None:
    """Assert that two trainings take the same steps except for rounding; weights move by 1e-3 to 1e-2."""
    results = [trained(trainer) for trainer in trainers]
    for ours, theirs in zip(*results, strict=True):
        assert {name: float(value) for name, value in ours.items()} == pytest.approx(
            {name: float(value) for name, value in theirs.items()}, rel=tolerance
        )
    saved = [trainer.phase_state.state_dict() for trainer in trainers]
    torch.testing.assert_close(*saved, atol=tolerance, rtol=10 * tolerance)
    ours, theirs = (trainer.state.steps["train"].as_json() for trainer in trainers)
    assert ours == {**theirs, "accumulation": ours["accumulation"]}


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in list_objectives() if name != "nearest-centroid"])
def test_steps_of_every_objective(name: str, make_trainer: Make) -> None:
    normaliser = "mbn" if name == "mbnat" else "bn"
    views = {"multi-view": {"augmentation_sets": ["other"]}, "augmix": {"augmix": {}}}.get(name, {})
    changes = {**SMOOTH, "views": views}
    compared(
        [
            make_trainer(
                {"name": name},
                normaliser,
                GROUP,
                **changes,
                schedule={"epochs": 1, "batch_size": 20, "accumulation": count},
            )
            for count in (4, 1)
        ],
        # The attack of TRADES begins where the divergence is almost flat, and takes its step from what little there is.
        tolerance=5e-4 if "trades" in name else 1e-4,
    )


@pytest.mark.parametrize("normaliser", ["mbn", "bn", "gn", "in", "ln", "nf", "fixup", "none"])
def test_steps_with_every_normaliser(normaliser: str, make_trainer: Make) -> None:
    statistics = GROUP if normaliser in ("bn", "mbn") else "process"
    objective = {"name": "alp", "batching": "joint"}
    schedules = [{"epochs": 1, "batch_size": 20, "accumulation": count} for count in (2, 1)]
    compared([make_trainer(objective, normaliser, statistics, **SMOOTH, schedule=schedule) for schedule in schedules])


def test_a_share_of_the_clean_images_is_drawn_from_each_group(make_trainer: Make) -> None:
    objective = {"name": "sat", "clean_share": 0.4, "batching": "joint"}
    schedules = [{"epochs": 1, "batch_size": 20, "accumulation": count} for count in (2, 1)]
    trainers = [make_trainer(objective, "bn", GROUP, **SMOOTH, schedule=schedule) for schedule in schedules]
    compared(trainers)
    assert trainers[0].state.steps["train"].images == {"clean": 8, "adversarial": 20}


def test_running_statistics_of_a_micro_batch_do_not_reach_the_next(make_trainer: Make) -> None:
    """With statistics of a process, a micro-batch is what a process with as many images would be."""
    schedule = {"epochs": 1, "batch_size": 20, "accumulation": 2}
    ours, theirs = make_trainer({"name": "st"}, schedule=schedule), make_trainer({"name": "st"}, statistics=10)
    trained(ours)
    trained(theirs)
    for name, buffer in theirs.model.named_buffers():
        torch.testing.assert_close(ours.model.get_buffer(name), buffer, msg=name)


def test_what_an_objective_keeps_has_the_order_of_the_batch(make_trainer: Make) -> None:
    schedule = {"epochs": 1, "batch_size": 20, "accumulation": 4}
    trainer = make_trainer({"name": "free"}, "gn", **SMOOTH, schedule=schedule)
    trained(trainer, steps=1)
    saved = trainer.phase_state.state_dict()
    noise = saved["memory.free.noise"]
    assert noise.shape == (20, 1, 16, 16)
    assert torch.equal(noise, torch.cat([memory["free.noise"] for memory in trainer.phase_state.memory]))
    trainer.start_phase(saved)
    assert [len(memory["free.noise"]) for memory in trainer.phase_state.memory] == [5, 5, 5, 5]
    assert torch.equal(trainer.phase_state.state_dict()["memory.free.noise"], noise)


@pytest.mark.parametrize(("accumulation", "fitting"), [(3, 4), (8, 10), (21, 20)])
def test_micro_batches_that_are_not_equal_are_refused(accumulation: int, fitting: int, make_trainer: Make) -> None:
    message = (
        f"schedule.accumulation {accumulation} does not divide the 20 images of schedule.batch_size 20: set it to a "
        f"divisor, such as {fitting}$"
    )
    with pytest.raises(UserError, match=message):
        make_trainer({"name": "st"}, schedule={"epochs": 1, "batch_size": 20, "accumulation": accumulation})


def test_groups_larger_than_a_micro_batch_are_refused(make_trainer: Make) -> None:
    schedule = {"epochs": 1, "batch_size": 20, "accumulation": 5}
    with pytest.raises(UserError, match=r"model\.batch_statistics 10 .* 4 images .* \(20 by 5 micro-batches\)"):
        make_trainer({"name": "st"}, statistics=10, schedule=schedule)


@pytest.mark.parametrize(("objective", "kept"), [({"name": "sat"}, 1), ({"name": "free", "replays": 2}, 4)])
def test_the_images_of_a_micro_batch_are_kept_only_where_it_has_another_update(
    objective: dict[str, Any], kept: int, make_trainer: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    moves: list[weakref.ref[Batch]] = []
    most = []
    move = Batch.to

    def to(batch: Batch, device: torch.device) -> Batch:
        moved = move(batch, device)
        moves.append(weakref.ref(moved))
        most.append(sum(each() is not None for each in moves))
        return moved

    monkeypatch.setattr(Batch, "to", to)
    trained(make_trainer(objective, "gn", schedule={"epochs": 1, "batch_size": 20, "accumulation": 4}), steps=1)
    assert max(most) == kept
