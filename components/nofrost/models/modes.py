"""Training and evaluation mode of a model, module by module, and whose statistics its batch norms normalise by."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from nofrost.models.layers import BatchNorm


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Put every module of `model` in evaluation mode; give each its own mode back, also after an exception.

    A batch norm that was frozen in evaluation mode inside a model in training mode stays frozen.
    """
    modes = [(module, module.training) for module in model.modules()]
    try:
        for module, _ in modes:
            # set, not called: some classes give train() and eval() a meaning of their own, or forbid them
            module.training = False
        yield
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def batch_statistics(model: nn.Module) -> Iterator[None]:
    """Let every batch norm of `model` normalise by the images of a call, also in evaluation mode, inside the block.

    Their running statistics are out of sight meanwhile, and as they were afterwards.
    """
    before: list[tuple[nn.Module, dict[str, Tensor | None]]] = []
    try:
        for module in model.modules():
            if isinstance(module, BatchNorm):
                before.append((module, {name: getattr(module, name) for name in ("running_mean", "running_var")}))
                # torch takes the statistics of the batch where there are no others
                module.running_mean = module.running_var = None
        yield
    finally:
        for module, statistics in before:
            for name, values in statistics.items():
                setattr(module, name, values)
