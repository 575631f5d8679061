"""What a pass through a network takes on this machine, and its floating-point operations."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from nofrost.models import Classifier, branch, single_thread_if_small
from nofrost.study_cost.passes import Passes

# Pixels of the images of a pass that is timed, and the seconds that it is repeated for.
_PIXELS, _TIMED_S = 64 * 32 * 32, 0.5


@dataclass(frozen=True)
class Speed:
    """Seconds of a pass of one image on this machine, and its floating-point operations."""

    forward_s: float
    backward_s: float
    forward_flop: float

    def seconds(self, passes: Passes) -> float:
        """Return the seconds of these passes."""
        return passes.forward * self.forward_s + passes.backward * self.backward_s

    def flop(self, passes: Passes) -> float:
        """Return the operations of these passes; back, each layer computes two gradients."""
        return self.forward_flop * (passes.forward + 2 * passes.backward)


def measured_speed(model: Classifier) -> Speed:
    """Return the speed of a model at its image size, of one branch where it has mixture BN."""
    height, width = model.signature.image_size
    count = max(1, _PIXELS // (height * width))
    images = torch.rand(count, model.signature.channels, height, width, device=model.mean.device)
    model.eval()
    # Passes are counted through one branch of mixture BN; what mixes two of them counts as two passes.
    with branch(model, "clean"), single_thread_if_small(model.mean.device, count * height * width):
        forward = _timed(lambda: model(images), count)

        def both() -> None:
            pixels = images.clone().requires_grad_()
            model(pixels).sum().backward()

        with_gradient = _timed(both, count, grad=True)
    with branch(model, "clean"), FlopCounterMode(display=False) as counter, torch.no_grad():
        model(images[:1])
    return Speed(forward, max(with_gradient - forward, 0.0), float(counter.get_total_flops()))


def _timed(call: Callable[[], object], count: int, grad: bool = False) -> float:
    """Return the seconds of a call for each of its `count` images, without those of its first time."""
    with torch.set_grad_enabled(grad):
        call()
        began, calls = time.perf_counter(), 0
        while not calls or time.perf_counter() - began < _TIMED_S:
            call()
            calls += 1
        if torch.cuda.is_available():
            torch.cuda.synchronize()
    return (time.perf_counter() - began) / (calls * count)
