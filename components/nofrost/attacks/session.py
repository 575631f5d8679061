"""The session of an attack: a checked batch, and the state in which a model is attacked and torch computes.

`attack_session` checks the batch, puts the model in eval mode and yields a `CheckedModel`; at the end it restores the
state of the model and of torch. Other measurements that need the same care (properties, probes) use it too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.utils.weak import WeakIdKeyDictionary

from nofrost.attacks.batch import check_batch
from nofrost.attacks.model import CheckedModel, Model, without_wrapper
from nofrost.models.contents import check_contents
from nofrost.models.modes import eval_mode

# "noFrost" in ASCII. It is mixed into the seed of torch's generators, because the caller may evaluate the model with
# the bare seed and must not meet the same draws
_SEED_MASK = 0x6E6F46726F7374
# Models whose contents have been checked
_WITH_CONTENTS = WeakIdKeyDictionary()


@contextmanager
def attack_session(
    model: Model,
    images: Tensor,
    labels: Tensor | None = None,
    indices: Tensor | None = None,
    *,
    seed: int = 0,
    fits: Callable[[int], None] | None = None,
    batch_size: int = 1,
) -> Iterator[CheckedModel]:
    """Yield the checked model for work on one batch; restore the state of the model and of torch at the end.

    Args:
        model: maps images to logits [N, C], its input normaliser inside. A wrapper DistributedDataParallel is removed.
        images: floats [N, C, H, W] in [0, 1].
        labels: int64 [N], the true classes, where they are needed.
        indices: int64 [N], the images' positions in their dataset; checked but not used.
        seed: of torch's generators inside the block, for models that draw random numbers.
        fits: is called with the model's number of classes, once it is known; raises where they are too few.
        batch_size: how many images attempts at several classes may fill a batch with; 1: run them one after the other.

    Raises:
        UserError: the batch has the wrong form or range, a label is not a class of the model, or, at the end, the model
            has returned NaN or +infinity.
    """
    classes = torch.zeros(len(images), dtype=torch.int64, device=images.device) if labels is None else labels
    check_batch(images, classes, indices)
    with isolated_torch(images.device, seed), attack_mode(model):
        checked = CheckedModel(without_wrapper(model), classes, fits, batch_size)
        yield checked
        checked.check_finite()


def to_search_dtype(images: Tensor) -> Tensor:
    """Return clean `images` in the form in which a search starts: float32 (float64 is kept), clipped to [0, 1]."""
    return images.detach().to(torch.promote_types(images.dtype, torch.float32)).clamp(0, 1)


@contextmanager
def attack_mode(model: Model) -> Iterator[None]:
    """Put every module of `model` in eval mode and freeze its parameters; undo both at the end.

    Each module gets its own mode back, also after an exception: a batch norm that was frozen in eval mode inside a
    model in train mode stays frozen. A callable that is not a module is not changed.

    Raises:
        UserError: a parameter or buffer of the model has no values, or no gradient can pass it.
    """
    if not isinstance(model, nn.Module):
        yield
        return
    # Once only, as it takes longer than a step of an attack on a small model
    if model not in _WITH_CONTENTS:
        check_contents(model)
        _WITH_CONTENTS[model] = True
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
def isolated_torch(device: torch.device, seed: int) -> Iterator[None]:
    """Run the block with gradients, in full precision and with its own random numbers, whatever the caller has set.

    Autocast is off: in half precision the gradient of a confident model vanishes much sooner and small steps round
    away, which makes a model look more robust than it is. The generators of the CPU and of `device` start from `seed`,
    for models that draw random numbers, and are restored afterwards.
    """
    generators = [torch.default_generator]
    if device.type == "cuda":
        # a device has no index only if no tensor has been created on it
        generators.append(torch.cuda.default_generators[device.index or 0])
    states = [generator.get_state() for generator in generators]
    try:
        for generator in generators:
            generator.manual_seed(seed ^ _SEED_MASK)
        with torch.inference_mode(False), torch.enable_grad(), torch.autocast(device.type, enabled=False):
            yield
    finally:
        for generator, state in zip(generators, states, strict=True):
            generator.set_state(state)
