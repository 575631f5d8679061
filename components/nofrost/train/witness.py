"""What one step of a training does, as seen from outside: for the record, and for whoever doubts it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from nofrost.models import MixtureBatchNorm
from nofrost.models.layers import BatchNorm
from nofrost.train.objectives import Batch, Losses


class Witness:
    """Counts of one step, by hooks on the model that only look; see :func:`witnessing`.

    Attributes:
        images: how many images of each kind the losses of the step were computed on.
        forward_train, forward_eval: passes of the model in training and in evaluation mode.
        backward: passes back through the model, for weights or for images.
        batch_norm_updates: how often running statistics moved, by kind of branch.
        updates: losses that were descended on.
    """

    def __init__(self) -> None:
        self.images: Counter[str] = Counter()
        self.forward_train = self.forward_eval = self.backward = self.updates = 0
        self.batch_norm_updates: dict[str, int] = {}
        self._passes: list[tuple[Tensor, Tensor]] = []

    def updates_of(self, updates: Iterator[Losses], batch: Batch) -> Iterator[Losses]:
        """Yield from `updates`, the losses of an objective on `batch`, and count what each was computed on."""
        views = {"clean": batch.images, **batch.augmented}
        for losses in updates:
            self.updates += 1
            self.images.update(self._composition(losses, views))
            self._passes.clear()
            yield losses

    def passes(self) -> dict[str, Any]:
        """Return all counts but those of the images, as the record holds them."""
        return {
            "forward_train": self.forward_train,
            "forward_eval": self.forward_eval,
            "backward": self.backward,
            "batch_norm_updates": self.batch_norm_updates,
            "updates": self.updates,
        }

    def see(self, model: nn.Module, inputs: tuple[Tensor, ...], logits: Tensor) -> None:
        """Count one forward pass, as a forward hook of the model."""
        if not model.training:
            self.forward_eval += 1
        else:
            self.forward_train += 1
            self._passes.append((inputs[0].detach(), logits))
        if logits.requires_grad:
            logits.register_hook(self._count_backward)  # type: ignore[no-untyped-call]

    def _count_backward(self, gradient: Tensor) -> None:
        self.backward += 1

    def _composition(self, losses: Losses, views: Mapping[str, Tensor]) -> Counter[str]:
        """Return how many images of each kind lie behind the loss. The objective names the kinds; where there are
        several, an image belongs to the view in which it is found unchanged, and else is adversarial."""
        found: Counter[str] = Counter()
        unseen = {kind: Counter(_rows(images)) for kind, images in views.items()}
        behind = _nodes_behind(losses.loss)
        for images, logits in self._passes:
            if logits.grad_fn not in behind:
                continue  # such as a pass in which an attack in training mode found its direction
            if len(losses.correct) == 1:
                found[next(iter(losses.correct))] += len(images)
                continue
            for row in _rows(images):
                kind = next((kind for kind, left in unseen.items() if left[row]), "adversarial")
                unseen.get(kind, Counter())[row] -= 1
                found[kind] += 1
        return found


@contextmanager
def witnessing(model: nn.Module) -> Iterator[Witness]:
    """Yield the witness of the step inside the block. The step computes what it would have without."""
    witness = Witness()
    before = _batches_tracked(model)
    hook = model.register_forward_hook(witness.see)
    try:
        yield witness
    finally:
        hook.remove()
    for kind, counts in _batches_tracked(model).items():
        pairs = zip(counts, before[kind], strict=True)
        witness.batch_norm_updates[kind] = max(after - earlier for after, earlier in pairs)


def _rows(images: Tensor) -> list[bytes]:
    return [row.tobytes() for row in images.detach().cpu().contiguous().numpy()]


def _nodes_behind(loss: Tensor) -> set[Any]:
    """Return the nodes of the graph that `loss` was computed by."""
    seen: set[Any] = set()
    waiting: list[Any] = [loss.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            seen.add(node)
            waiting.extend(following for following, _ in node.next_functions)
    return seen


def _batches_tracked(model: nn.Module) -> dict[str, list[int]]:
    """Return, by kind of branch, how many batches each batch norm has seen in training mode."""
    kinds = {
        id(branch): kind
        for module in model.modules()
        if isinstance(module, MixtureBatchNorm)
        for kind, branch in (("clean", module.clean), ("adversarial", module.adversarial))
    }
    counts: dict[str, list[int]] = {}
    for module in model.modules():
        if isinstance(module, BatchNorm) and module.num_batches_tracked is not None:
            counts.setdefault(kinds.get(id(module), "bn"), []).append(int(module.num_batches_tracked))
    return counts
