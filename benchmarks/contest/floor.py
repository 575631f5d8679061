"""The least that an attack can take: the passes of the model that it needs, at the measured seconds of a pass."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from contest.images import Batch
from contest.peers import Task

Clock = Callable[[], float]
CLOCKS: dict[str, Clock] = {"wall": time.perf_counter, "processor": time.process_time}
"""Seconds that pass, or that all threads of this process compute: steadier beside other work, for one thread."""

_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
_REPEATS = 5


@dataclass(frozen=True)
class Passes:
    """Seconds of the passes of a model by the number of images: without a graph, with one, and back through it."""

    sizes: tuple[int, ...]
    plain: tuple[float, ...]
    graph: tuple[float, ...]
    backward: tuple[float, ...]

    @classmethod
    def measured(cls, model: nn.Module, images: Tensor, clock: Clock) -> Passes:
        """Return the medians of some passes at each size up to that of `images`."""
        sizes = tuple(dict.fromkeys([*(size for size in _SIZES if size < len(images)), len(images)]))
        rows = [_medians(model, images[:size], clock) for size in sizes]
        plain, graph, backward = zip(*rows, strict=True)
        return cls(sizes, plain, graph, backward)

    def seconds(self, calls: list[Call]) -> float:
        """Return how long these calls take at least."""
        counts = np.array([call.needed for call in calls])
        graph = np.array([call.graph for call in calls])
        backwards = np.array([call.backwards for call in calls])
        forward = np.where(graph, self._at(counts, self.graph), self._at(counts, self.plain))
        return float((forward + backwards * self._at(counts, self.backward)).sum())

    def _at(self, counts: np.ndarray, seconds: tuple[float, ...]) -> np.ndarray:
        return np.where(counts > 0, np.interp(counts, self.sizes, seconds), 0.0)


@dataclass
class Call:
    """One call of a model.

    Args:
        needed: how many of the points belong to images for which no adversarial point was known before.
        graph: whether a gradient could be asked for.
        backwards: how many were.
    """

    points: int
    needed: int
    graph: bool
    backwards: int = 0


class Traced(nn.Module):
    """A model that notes every call of an attack.

    Args:
        task: what the attack does; its model is called.
        batch: the clean images that are attacked, with labels. A point belongs to the nearest of them.
        stops: whether an image that has an adversarial point needs no more.
    """

    def __init__(self, task: Task, batch: Batch, stops: bool) -> None:
        super().__init__()
        self.model = task.model
        self.calls: list[Call] = []
        self._clean, self._labels = batch[0].flatten(1), batch[1]
        self._order = {"linf": torch.inf, "l2": 2}[task.norm]
        self._eps, self._stops = task.eps, stops
        self._done = torch.zeros(len(self._labels), dtype=torch.bool)

    def forward(self, points: Tensor) -> Tensor:
        logits: Tensor = self.model(points)
        with torch.no_grad():
            owners = torch.cdist(points.flatten(1), self._clean).argmin(1)
            call = Call(len(points), int((~self._done[owners]).sum()), logits.requires_grad)
            self.calls.append(call)
            if self._stops:
                change = torch.linalg.vector_norm(points.flatten(1) - self._clean[owners], self._order, dim=1)
                found = (change <= self._eps + 1e-6) & (logits.argmax(1) != self._labels[owners])
                self._done[owners[found]] = True
        if logits.requires_grad:
            logits.register_hook(lambda _: self._count(call))
        return logits

    @staticmethod
    def _count(call: Call) -> None:
        call.backwards += 1


def _medians(model: nn.Module, images: Tensor, clock: Clock) -> tuple[float, float, float]:
    rows = [_once(model, images, clock) for _ in range(_REPEATS)]
    plain, graph, backward = (statistics.median(column) for column in zip(*rows, strict=True))
    return plain, graph, backward


def _once(model: nn.Module, images: Tensor, clock: Clock) -> tuple[float, float, float]:
    with torch.no_grad():
        plain, _ = _timed(lambda: model(images), clock)
    points = images.clone().requires_grad_()
    graph, logits = _timed(lambda: model(points), clock)
    seed = torch.ones_like(logits)
    backward, _ = _timed(lambda: torch.autograd.grad(logits, points, seed)[0], clock)
    return plain, graph, backward


def _timed(work: Callable[[], Tensor], clock: Clock) -> tuple[float, Tensor]:
    begin = clock()
    result = work()
    return clock() - begin, result
