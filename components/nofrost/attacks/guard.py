"""What an attack must leave as it was: the model, torch's modes and torch's random numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from nofrost.models.modes import eval_mode

Model = nn.Module | Callable[[Tensor], Tensor]
"""What can be attacked: maps images [N, C, H, W] in [0, 1] to logits [N, classes], with its input normaliser inside."""


@contextmanager
def attack_mode(model: Model) -> Iterator[None]:
    """Put every module of `model` in eval mode and its parameters out of reach of gradients; undo both at the end.

    Each module gets its own mode back, also after an exception: a batch norm that was frozen in eval mode inside a
    model in train mode stays frozen. A callable that is no module has nothing to put back.
    """
    if not isinstance(model, nn.Module):
        yield
        return
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    with eval_mode(model):
        try:
            for parameter in trainable:
                parameter.requires_grad_(False)
            yield
        finally:
            for parameter in trainable:
                parameter.requires_grad_(True)


@contextmanager
def plain_torch(device: torch.device, seed: int) -> Iterator[None]:
    """Give the block gradients, full precision and random numbers of its own, whatever the caller had switched.

    Autocast is off: in half precision the gradient of a confident model vanishes much sooner and small steps round
    away, which makes a model look more robust than it is. The generators of the CPU and of `device` start from `seed`,
    for models that draw random numbers, and go on afterwards as if nothing had been drawn.
    """
    generators = [torch.default_generator]
    if device.type == "cuda":
        # an index is missing only where no tensor lives yet
        generators.append(torch.cuda.default_generators[device.index or 0])
    states = [generator.get_state() for generator in generators]
    try:
        for generator in generators:
            # not the bare seed: the caller may evaluate the model with it, and must not meet the same draws
            generator.manual_seed(seed ^ 0x6E6F46726F7374)
        with torch.inference_mode(False), torch.enable_grad(), torch.autocast(device.type, enabled=False):
            yield
    finally:
        for generator, state in zip(generators, states, strict=True):
            generator.set_state(state)
