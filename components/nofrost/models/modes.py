"""Training and evaluation mode of a model, module by module."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


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
