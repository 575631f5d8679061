"""Exponential moving average of a model's weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from nofrost.config.optimisation import Averaging


class WeightAverage:
    """The average of a model's weights: average ← decay · average + (1 - decay) · weights, after each step.

    It begins as a copy of the weights at `start_epoch`. The statistics of batch norms are averaged alike, as they
    belong to the weights under which they were measured; whole numbers (counts of batches) are the latest ones.

    Args:
        model: whose weights are averaged, where it stands when asked; it keeps its own.
        spec: decay and first epoch.
    """

    def __init__(self, model: nn.Module, spec: Averaging) -> None:
        self._model, self._spec = model, spec
        self._average: dict[str, Tensor] = {}

    @torch.no_grad()
    def update(self, epochs_done: float) -> None:
        """Take in the weights as they are after an optimiser step that ended at `epochs_done`."""
        if epochs_done < self._spec.start_epoch:
            return
        current = self._model.state_dict()
        if not self._average:
            self._average = {name: tensor.clone() for name, tensor in current.items()}
            return
        real = [name for name, tensor in current.items() if tensor.is_floating_point()]
        averages = [self._average[name] for name in real]
        torch._foreach_lerp_(averages, [current[name] for name in real], 1 - self._spec.decay)
        for name in current.keys() - real:
            self._average[name].copy_(current[name])

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Let the model bear the average inside the block, and its own weights again after it; before `start_epoch`
        the two are the same."""
        own = {name: tensor.clone() for name, tensor in self._model.state_dict().items()} if self._average else {}
        try:
            _put(self._model, self._average)
            yield
        finally:
            _put(self._model, own)

    def state(self) -> dict[str, Tensor]:
        """Return the average by the names of the model's state; empty before `start_epoch`."""
        return dict(self._average)

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what :meth:`state` returned; tensors may lie on any device."""
        current = self._model.state_dict() if state else {}
        self._average = {name: state[name].to(tensor.device, copy=True) for name, tensor in current.items()}


@torch.no_grad()
def _put(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    if tensors:
        model.load_state_dict(tensors)
