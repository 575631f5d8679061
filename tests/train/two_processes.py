"""What two processes do together in test_distributed.py: python two_processes.py FOLDER DATASET

Each case of CASES that holds leaves an empty file FOLDER/NAME.RANK, any other a traceback in it. Then every recipe in
FOLDER/recipes is trained to FOLDER/two/NAME.
"""

from __future__ import annotations

import copy
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from nofrost import processes, train
from nofrost.config import AttackSpec, load_recipe
from nofrost.errors import UserError
from nofrost.models import create_model
from nofrost.processes import ProcessGroup
from nofrost.train.batch_statistics import BatchStatistics
from nofrost.train.objectives import Adversary, Batch, create_objective
from nofrost.train.stage import process_group

CASES: list[Callable[[ProcessGroup], None]] = []


def case(function: Callable[[ProcessGroup], None]) -> Callable[[ProcessGroup], None]:
    CASES.append(function)
    return function


def of_rank(rank: int, *shape: int) -> Tensor:
    """The input of the process of this rank, which every process can compute."""
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(rank))


@case
def gradients_are_means_over_processes(world: ProcessGroup) -> None:
    shapes = ((3, 2), (5,), (), (2, 3, 4, 4))
    parameters = [nn.Parameter(torch.zeros(shape, dtype=torch.float64)) for shape in shapes]
    for number, parameter in enumerate(parameters):
        parameter.grad = of_rank(10 * number + world.rank, *parameter.shape)
    parameters[3].grad = parameters[3].grad.to(memory_format=torch.channels_last)
    world.average_gradients(parameters)
    for number, parameter in enumerate(parameters):
        mean = sum(of_rank(10 * number + rank, *parameter.shape) for rank in range(world.size)) / world.size
        assert torch.equal(parameter.grad, mean)


@case
def many_small_buckets_do_the_same_as_one(world: ProcessGroup) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(processes, "BUCKET_BYTES", 100)
        gradients_are_means_over_processes(world)


@case
def gradients_of_several_types_are_averaged_each_in_its_own(world: ProcessGroup) -> None:
    parameters = [nn.Parameter(torch.zeros(2, dtype=dtype)) for dtype in (torch.float32, torch.bfloat16, torch.float32)]
    for parameter in parameters:
        parameter.grad = torch.full_like(parameter, world.rank + 1)
    world.average_gradients(parameters)
    assert all(torch.equal(parameter.grad, torch.full_like(parameter, 1.5)) for parameter in parameters)


@case
def a_parameter_that_one_process_did_not_reach_counts_as_zero_there(world: ProcessGroup) -> None:
    some, none, frozen = (nn.Parameter(torch.zeros(2)) for _ in range(3))
    frozen.requires_grad_(False)
    if world.rank == 1:
        some.grad = torch.ones(2)
    world.average_gradients([some, none, frozen])
    assert torch.equal(some.grad, torch.full((2,), 0.5))
    assert none.grad is None
    assert frozen.grad is None


@case
def statistics_are_means_and_counts_those_of_the_first(world: ProcessGroup) -> None:
    model = nn.Sequential(nn.BatchNorm2d(3), nn.BatchNorm2d(2)).double()
    model.register_buffer("shared", torch.tensor([0.1, 1 / 3, 1e-30]))
    for number, norm in enumerate(model):
        norm.running_mean.copy_(of_rank(10 * number + world.rank, len(norm.running_mean)))
        norm.num_batches_tracked.fill_(5 + world.rank)
    world.average_buffers(model)
    for number, norm in enumerate(model):
        mean = sum(of_rank(10 * number + rank, len(norm.running_mean)) for rank in range(world.size)) / world.size
        assert torch.equal(norm.running_mean, mean)
        assert int(norm.num_batches_tracked) == 5
    assert torch.equal(model.shared, torch.tensor([0.1, 1 / 3, 1e-30])), "what is equal stays as it is, to the bit"


@case
def totals_are_exact(world: ProcessGroup) -> None:
    counts = torch.tensor([2**40 + world.rank, 3])
    totals = world.total({"counts": counts, "loss": torch.tensor(0.5 + world.rank), "none": torch.zeros(0)})
    assert torch.equal(totals["counts"], torch.tensor([2**41 + 1, 6]))
    assert totals["counts"].dtype == torch.int64
    assert float(totals["loss"]) == 2.0
    assert torch.equal(counts, torch.tensor([2**40 + world.rank, 3])), "the input is unchanged"
    assert world.total({}) == {}


@case
def one_flag_is_enough(world: ProcessGroup) -> None:
    assert world.any(world.rank == 1)
    assert not world.any(False)
    world.barrier()


@case
def an_error_of_one_is_the_error_of_all(world: ProcessGroup) -> None:
    def make() -> int:
        if world.rank == 1:
            raise UserError("of the second alone")
        return 3

    with pytest.raises(UserError, match="of the second alone"):
        world.agree(make)
    assert world.agree(lambda: world.rank) == world.rank


@case
def a_step_of_mixture_batch_norm_has_the_mean_of_the_gradients_of_the_parts(world: ProcessGroup) -> None:
    """Batch statistics are those of each process's rows; joint batching, so that one pass holds both views."""
    torch.manual_seed(0)
    model = create_model(
        "resnet8", normaliser="mbn", num_classes=4, image_size=(8, 8), channels=1, mean=(0.5,), std=(0.5,)
    ).double()
    objective = create_objective("mbnat", batching="joint")
    adversary = Adversary(AttackSpec(name="pgd", steps=2), "l2", 0.5, seed=1)
    generator = torch.Generator().manual_seed(1)
    images, labels = torch.rand(8, 1, 8, 8, dtype=torch.float64, generator=generator), torch.arange(8) % 4

    def backward(net: nn.Module, rank: int) -> nn.Module:
        part = slice(4 * rank, 4 * rank + 4)
        batch = Batch(images[part], labels[part], torch.arange(8)[part])
        objective.loss(net.train(), batch, adversary).loss.backward()
        return net

    parts = [backward(copy.deepcopy(model), rank) for rank in range(world.size)]
    ours = backward(model, world.rank)
    world.average_gradients(ours.parameters())
    world.average_buffers(ours)
    moved = 0
    for parameter, *others in zip(ours.parameters(), *(part.parameters() for part in parts), strict=True):
        torch.testing.assert_close(parameter.grad, sum(other.grad for other in others) / world.size)
        moved += 1
    for buffer, *others in zip(ours.buffers(), *(part.buffers() for part in parts), strict=True):
        mean = sum(other.double() for other in others) / world.size
        torch.testing.assert_close(buffer.double(), mean)
        moved += not torch.equal(others[0], others[1])
    assert moved > 60, "parameters, and statistics that differ between the parts"


@case
def statistics_of_all_processes_are_those_of_one_process_with_all_rows(world: ProcessGroup) -> None:
    """In float64; as many images in a group as both processes have are the same, by another name."""
    generator = torch.Generator().manual_seed(1)
    images, labels = torch.rand(8, 1, 8, 8, dtype=torch.float64, generator=generator), torch.arange(8) % 4
    batch = Batch(images, labels, torch.arange(8), {"augmented": images.flip(3)})
    adversary = Adversary(AttackSpec(name="pgd", steps=2), "l2", 0.5, seed=1)
    for name, normaliser, affine, settings in (
        ("sat", "bn", True, {"batching": "separate"}),
        ("alp", "bn", False, {"batching": "joint"}),
        ("mbnat", "mbn", True, {"batching": "joint"}),
        ("fast", "bn", True, {}),
        ("free", "bn", True, {"replays": 2}),
        ("multi-view", "bn", True, {"batching": "joint"}),
    ):
        torch.manual_seed(0)
        shape = {"num_classes": 4, "image_size": (8, 8), "channels": 1, "mean": (0.5,), "std": (0.5,)}
        model = create_model("resnet8", normaliser=normaliser, affine=affine, **shape).double().train()
        objective = create_objective(name, **settings)

        def updated(net: nn.Module, part: Batch, group: ProcessGroup) -> nn.Module:
            for losses in objective.updates(net, part, adversary, {}):  # noqa: B023
                losses.loss.backward()
                group.average_gradients(net.parameters())
                with torch.no_grad():
                    for parameter in net.parameters():
                        parameter -= 0.05 * parameter.grad
                        parameter.grad = None
            return net

        one = updated(copy.deepcopy(model), batch, ProcessGroup())
        for statistics in ("all", 8):
            with BatchStatistics.of(statistics, 4, world).normalise():
                two = updated(copy.deepcopy(model), batch.parts(2, groups=1)[world.rank], world)
            torch.testing.assert_close(dict(two.named_parameters()), dict(one.named_parameters()))
            torch.testing.assert_close(dict(two.named_buffers()), dict(one.named_buffers()))


@case
def subgroups_are_summed(world: ProcessGroup) -> None:
    for size, expected in ((1, world.rank + 1.0), (2, 3.0)):
        number = torch.tensor([world.rank + 1.0])
        world.subgroup_all_reduce(size)(number)
        assert number.item() == expected


@case
def tensors_come_from_the_first(world: ProcessGroup) -> None:
    sent = {"a": of_rank(world.rank, 3, 2), "b": torch.tensor(world.rank), "c": torch.ones(2, 3)[:, world.rank]}
    received = world.broadcast_tensors(sent if world.is_rank_zero else {})
    assert received.keys() == sent.keys()
    torch.testing.assert_close(received, {"a": of_rank(0, 3, 2), "b": torch.tensor(0), "c": torch.ones(2)})


def main(folder: Path, dataset: Path) -> None:
    with process_group() as world:
        for check in CASES:
            result = folder / f"{check.__name__}.{world.rank}"
            try:
                check(world)
                result.touch()
            except Exception:
                result.write_text(traceback.format_exc())
        for path in sorted((folder / "recipes").glob("*.yaml")):
            train.run(dataset, None, load_recipe(path), path.stem, 0, folder / "two" / path.stem)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
