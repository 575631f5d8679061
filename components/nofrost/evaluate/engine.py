"""Measuring something of each image, batch by batch, so that a kill repeats at most the batch it was in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import DTypeLike, NDArray
from torch import nn

from nofrost.evaluate.memory import Pieces
from nofrost.evaluate.sample import Flags, Rows, Sample, batches
from nofrost.evaluate.store import ConditionStore
from nofrost.models.device import exact_float32, on_device, raise_on_oom
from nofrost.models.modes import eval_mode
from nofrost.telemetry import Progress, progress

LEAST_S = 1.0  # a measurement that took less is not worth a line of its own

Compute = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
Display = Callable[[str, str, int, int], AbstractContextManager[Progress]]
"""Shows the progress of one measurement: its name, its title, how many images there are, how many are done."""


class _Unseen:
    def advance(self, units: int = 1, note: str = "") -> None:
        """Do nothing."""


def unseen(name: str, title: str, total: int, done: int) -> AbstractContextManager[Progress]:
    """Show nothing."""
    return nullcontext(_Unseen())


@dataclass
class Engine:
    """A model, the images that it is asked about, and what has been found so far. Work inside :meth:`ready`.

    What was found of a batch is in the store before the next one begins.

    Args:
        model: maps images to logits.
        sample: N images.
        batch_size: how many images are read at once; what else is in a batch depends on that batch alone.
        device: where the model is asked.
        store: keeps what is found; it must belong to this work alone.
        display: shows how far each measurement is.
    """

    model: nn.Module
    sample: Sample
    batch_size: int
    device: torch.device
    store: ConditionStore
    display: Display = unseen

    @contextmanager
    def ready(self) -> Iterator[None]:
        """Put torch and the model in the state in which numbers are measured; put both back after.

        Raises:
            UserError: inside, the device's memory did not hold a batch.
        """
        with (
            torch.inference_mode(False),
            torch.enable_grad(),
            exact_float32(self.device),
            eval_mode(self.model),
            on_device(self.model, self.device),
            raise_on_oom(
                f"the memory of {self.device} does not hold {self.batch_size} images: lower the suite's batch_size"
            ),
        ):
            yield

    def per_image(
        self,
        name: str,
        compute: Compute,
        *,
        dtype: DTypeLike,
        start: NDArray[Any] | None = None,
        rows: NDArray[Any] | None = None,
        title: str | None = None,
    ) -> NDArray[Any]:
        """Return a value for each image, [N] of `dtype`, from the store where an earlier call or run has found it.

        Call inside :meth:`ready`. A killed run repeats at most the batch that it was in. A batch that memory does not
        hold is computed in halves (whose last bits may then differ).

        Args:
            name: what the values are stored under; a file name.
            compute: maps images [n, C, H, W], labels [n] and indices [n], all on the device, to values [n].
            start: [N], the values of the images that are not computed. Default: 0, or false.
            rows: which images are computed, as rows or as a mask [N]. Default: all.
            title: the measurement in words. Default: its name.

        Raises:
            UserError: memory does not hold a single image.
        """
        if name in self.store:
            return self.store[name]
        values: NDArray[Any] = np.zeros(len(self.sample), dtype) if start is None else np.array(start, dtype)
        left = np.zeros(len(values), dtype=np.bool_)
        left[slice(None) if rows is None else rows] = True
        total, what = int(left.sum()), title or name
        with self.store.journal(name, values.dtype) as journal:
            for done, found in journal.found:
                values[done], left[done] = found, False
            if left.any():
                with self.display(name, what, total, total - int(left.sum())) as shown:
                    for part, found in self._batch_by_batch(left, compute, what, shown):
                        journal.add(part, found)
                        values[part] = found
        self.store[name] = values
        return values

    def _batch_by_batch(
        self, left: Flags, compute: Compute, what: str, shown: Progress
    ) -> Iterator[tuple[Rows, NDArray[Any]]]:
        pieces = Pieces(self.device, what)

        def values_of(rows: Rows) -> NDArray[Any]:
            return compute(*self.sample.batch(rows, self.device)).detach().cpu().numpy()

        for batch in batches(np.arange(len(left)), self.batch_size):
            part = batch[left[batch]]
            if len(part):
                yield part, pieces.compute(values_of, part)
                shown.advance(len(part), pieces.note)


def show(engine: Engine, names: Iterable[str], title: str) -> None:
    """From now on show the progress of every measurement, with its place among those that are to be made."""
    wanted = list(names)
    places = {name: f" {place}/{len(wanted)}" for place, name in enumerate(wanted, start=1)}

    def display(name: str, what: str, total: int, done: int) -> AbstractContextManager[Progress]:
        return progress(f"{title}{places.get(name, '')}: {what}", total, done, least_s=LEAST_S)

    engine.display = display
