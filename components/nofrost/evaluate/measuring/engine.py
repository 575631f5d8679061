"""The engine that measures values for each image batch by batch; after a kill, at most one batch is repeated."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import DTypeLike, NDArray
from torch import Tensor, nn

from nofrost.config.image_subset import ImageSubset
from nofrost.errors import UserError
from nofrost.evaluate.measuring.cache import MeasurementCache
from nofrost.evaluate.measuring.sample import Rows, Sample, batches
from nofrost.models.device import exact_float32, on_device, out_of_memory, raise_on_oom
from nofrost.models.modes import eval_mode
from nofrost.statistics import Flags
from nofrost.telemetry import Progress, progress
from nofrost.telemetry.metrics.exposition import count, measure
from nofrost.telemetry.metrics.table import EVALUATION_ACCURACY, EVALUATION_IMAGES

# Batches whose remaining images are packed together into full ones. A shard has all batches of a group or none, so that
# larger groups would leave fewer to deal; an evaluation of up to four batches is packed as a whole
GROUP = 4
MIN_SECONDS = 1.0  # shorter measurements print no line in logs

Compute = Callable[[Tensor, Tensor, Tensor, int], Tensor]
"""From images [n, C, H, W], labels [n] and indices [n], all on the device, to values [n, ...]. The last argument is how
many images the model may be called with at once, at least n."""


@dataclass(frozen=True)
class Measurement:
    """A value that is measured for each image.

    Args:
        name: key in the cache and file name. Measurements with equal names are the same.
        title: what is measured, in words.
        compute: measures a batch.
        dtype: of the values. Booleans say whether the model is right; int64 are the classes that it predicts.
        shape: of the value of one image.
        among: only images on which at least one of these measurements is right are computed; the value of the others
            is 0 or false. Empty: all images are computed.
        repacked: whether these images are packed into full batches anew, as few of a batch may be left; see `GROUP`.
        classes: from the values [N, ...] to the predicted classes [N], where the values are more than these.
        sample: the images that it is measured on; None: those of the engine.
    """

    name: str
    title: str
    compute: Compute
    dtype: DTypeLike = np.bool_
    shape: tuple[int, ...] = ()
    among: tuple[Measurement, ...] = ()
    repacked: bool = False
    classes: Callable[[NDArray[Any]], NDArray[np.int64]] | None = None
    sample: Sample | None = None

    @property
    def is_accuracy(self) -> bool:
        """Whether it says for each image if the model is right."""
        return self.classes is not None or (self.shape == () and np.dtype(self.dtype).kind in "bi")

    def on(self, subset: ImageSubset, sample: Sample) -> Measurement:
        """Return this measurement, and those that it depends on, on a subset of the images of `sample` alone.

        Raises:
            UserError: the subset is empty.
        """
        if subset.is_whole:
            return self
        return replace(
            self,
            name=f"{self.name}-on-{subset.text}",
            title=f"{self.title}, {subset.text.replace('-', ' ')}",
            sample=sample.select(sample.rows_of(subset)),
            among=tuple(each.on(subset, sample) for each in self.among),
        )

    def in_order(self) -> Iterator[Measurement]:
        """Yield every measurement that this one depends on, each after those that it depends on, and this one."""
        for measurement in self.among:
            yield from measurement.in_order()
        yield self


@dataclass(frozen=True)
class Engine:
    """Measures values for each image of a sample. Call its methods inside :meth:`ready`.

    The values of a batch are in the cache before the next batch begins.

    Args:
        sample: N images.
        batch_size: how many images are computed at once. Batches are cut from all N images, and what is left of `GROUP`
            batches is packed again only where the measurement says so, so which images share a batch does not depend
            on the order of measurements, on a kill or on a shard.
        device: where models compute.
        cache: of this sample, suite and model only.
    """

    sample: Sample
    batch_size: int
    device: torch.device
    cache: MeasurementCache

    def within_memory(self, size: int) -> int:
        """Return `size`, or the smallest size that memory has reduced a batch to so far if that is less."""
        return min([size, *self.cache.reduced_batch_sizes.values()])

    @contextmanager
    def ready(self, *models: nn.Module) -> Iterator[None]:
        """Put torch and the models into the state in which numbers are measured; restore both at the end.

        Raises:
            UserError: inside, the device's memory did not hold a batch.
        """
        with ExitStack() as stack:
            stack.enter_context(torch.inference_mode(False))
            stack.enter_context(torch.enable_grad())
            stack.enter_context(exact_float32(self.device))
            for model in models:
                stack.enter_context(eval_mode(model))
                stack.enter_context(on_device(model, self.device))
            stack.enter_context(
                raise_on_oom(
                    f"the memory of {self.device} does not hold {self.batch_size} images: lower the suite's batch_size"
                )
            )
            yield

    def run(self, measurements: Sequence[Measurement], title: str | None = None) -> None:
        """Measure everything that is not in the cache yet, in order.

        Args:
            title: of the work as a whole; shows the progress on standard error. None: show nothing.
        """
        for number, measurement in enumerate(measurements, start=1):
            heading = None if title is None else f"{title} {number}/{len(measurements)}: {measurement.title}"
            self.values(measurement, heading)
            if measurement.is_accuracy and len(self.sample_of(measurement)):
                measure(EVALUATION_ACCURACY, float(self.right(measurement).mean()), measurement.title)

    def values(self, measurement: Measurement, heading: str | None = None) -> NDArray[Any]:
        """Return the values [N, ...] of a measurement, from the cache if it was measured before.

        Raises:
            UserError: memory does not hold a single image.
        """
        if measurement.name not in self.cache:
            self.cache[measurement.name] = self._measure(measurement, heading)
        return self.cache[measurement.name]

    def right(self, measurement: Measurement) -> Flags:
        """Return whether the model is right on each image [N]: the measured flags, or those of predicted classes."""
        values = self.values(measurement)
        if values.dtype == np.bool_:
            return values
        classes = values if measurement.classes is None else measurement.classes(values)
        return np.equal(classes, self.sample_of(measurement).labels)

    def sample_of(self, measurement: Measurement) -> Sample:
        """Return the images that a measurement is made on."""
        return self.sample if measurement.sample is None else measurement.sample

    def _measure(self, measurement: Measurement, heading: str | None) -> NDArray[Any]:
        total = len(self.sample_of(measurement))
        values: NDArray[Any] = np.zeros((total, *measurement.shape), measurement.dtype)
        selected = np.ones(total, dtype=np.bool_)
        if measurement.among:
            selected = np.logical_or.reduce([self.right(each) for each in measurement.among])
        pending: list[tuple[int, Rows]] = []
        for number, rows in self._batches(selected, measurement.repacked):
            earlier = self.cache.read_batch(measurement.name, number, rows, values)
            if earlier is None:
                pending.append((number, rows))
            else:
                values[rows] = earlier
        if pending:
            total_left, left = int(selected.sum()), sum(len(rows) for _, rows in pending)
            with _shown(heading, total_left, total_left - left) as shown:
                for number, rows, computed in self._computed(measurement, pending, shown):
                    self.cache.write_batch(measurement.name, number, rows, computed)
                    values[rows] = computed
        return values

    def _batches(self, selected: Flags, repacked: bool) -> Iterator[tuple[int, Rows]]:
        """Yield number and rows of each batch of the selected images [N]."""
        group = GROUP if repacked else 1
        for first, rows in enumerate(batches(np.arange(len(selected)), group * self.batch_size)):
            left = rows[selected[rows]]
            yield from enumerate(batches(left, self.batch_size), start=first * group)

    def _computed(
        self, measurement: Measurement, pending: Sequence[tuple[int, Rows]], shown: Progress
    ) -> Iterator[tuple[int, Rows, NDArray[Any]]]:
        """Yield number, rows and values of each pending batch."""
        sample = self.sample_of(measurement)
        halving = Halving(
            self.device,
            measurement.title,
            self.batch_size,
            lambda size: self.cache.note_reduced(measurement.name, size),
        )

        def values_of(rows: Rows, batch_size: int) -> NDArray[Any]:
            computed = measurement.compute(*sample.batch(rows, self.device), batch_size)
            return computed.detach().cpu().numpy().astype(measurement.dtype, copy=False)

        for number, rows in pending:
            yield number, rows, halving.compute(values_of, rows)
            count(EVALUATION_IMAGES, len(rows))
            shown.advance(len(rows), halving.note)


class Halving:
    """Computes batches; after one that does not fit into memory, computes it and all later ones with fewer at once.

    The batch size is halved until it fits. Values that are computed in parts may differ in the last bits.

    Args:
        device: where the work is done.
        title: the work in words, for the error.
        batch_size: how many images are computed at once at first.
        reduced: is called with every new size.
    """

    def __init__(self, device: torch.device, title: str, batch_size: int, reduced: Callable[[int], None]) -> None:
        self._device, self._title, self._reduced = device, title, reduced
        self._whole = self._size = batch_size

    @property
    def note(self) -> str:
        """The reduced size in words; empty while batches are whole."""
        return "" if self._size == self._whole else f"batch size reduced to {self._size} (out of memory)"

    def compute(self, values_of: Callable[[Rows, int], NDArray[Any]], rows: Rows) -> NDArray[Any]:
        """Return the values of these rows, at least one.

        Args:
            values_of: computes rows, at most as many as its second argument, the number of images at once. It may use
                that whole number for fewer rows, so that this is what is halved.

        Raises:
            UserError: memory does not hold a single image.
        """
        while True:
            try:
                return np.concatenate([values_of(part, self._size) for part in batches(rows, self._size)])
            except Exception as error:
                if not out_of_memory(error):
                    raise
            # Not inside the except block: there the traceback still references the tensors of its frames, so that
            # their memory is not free yet.
            self._halve()

    def _halve(self) -> None:
        if self._size == 1:
            raise UserError(
                f"the memory of {self._device} does not hold a single image under {self._title}: "
                "free some of it, or use a device with more"
            )
        self._size //= 2
        self._reduced(self._size)
        if self._device.type == "cuda":
            torch.cuda.empty_cache()


def _shown(heading: str | None, total: int, done: int) -> AbstractContextManager[Progress]:
    if heading is None:
        return nullcontext(Progress(total, done))
    return progress(heading, total, done, least_s=MIN_SECONDS)
