"""How processes share a batch: equally, in whole micro-batches and in whole groups for batch statistics."""

import numpy as np
from numpy.typing import NDArray

from nofrost.config.model import Statistics
from nofrost.config.optimisation import BatchSize
from nofrost.config.recipe import Recipe
from nofrost.errors import UserError
from nofrost.processes import ProcessGroup
from nofrost.train.batch_statistics import check_groups


def check_shares(batch_size: int, accumulation: int, statistics: Statistics, processes: int) -> None:
    """Check that the processes share a batch equally, in whole micro-batches and in whole groups for batch statistics.

    Args:
        accumulation: micro-batches of a batch.

    Raises:
        UserError: they cannot.
    """
    if batch_size % processes:
        per_process = max(1, batch_size // processes)
        raise UserError(
            f"schedule.batch_size {batch_size} cannot be shared equally by {processes} processes: set it to a "
            f"multiple, such as {per_process * processes}, or change the number of processes"
        )
    images = batch_size // processes
    if images % accumulation:
        fitting = next(number for number in (*range(accumulation, images), images) if images % number == 0)
        of_each = f" that each of {processes} processes has" if processes > 1 else ""
        raise UserError(
            f"schedule.accumulation {accumulation} does not divide the {images} images{of_each} of "
            f"schedule.batch_size {batch_size}: set it to a divisor, such as {fitting}"
        )
    check_groups(statistics, images // accumulation, accumulation, processes)


def images_of_batch(batch_size: BatchSize, training_images: int, accumulation: int, processes: int) -> int:
    """Return how many images a batch has; of all of them, as many as can be shared equally."""
    if batch_size != "all":
        return batch_size
    parts = accumulation * processes
    return max(1, training_images // parts) * parts


def check_batches(recipe: Recipe, processes: int) -> None:
    """Check that the processes share the batches of each phase of a recipe equally, unless they have all images.

    Raises:
        UserError: they cannot.
    """
    for name, phase in recipe.in_phases().items():
        schedule = phase.schedule
        if schedule.batch_size == "all":
            continue
        try:
            check_shares(schedule.batch_size, schedule.accumulation, recipe.model.batch_statistics, processes)
        except UserError as error:
            if not recipe.phases:
                raise
            raise UserError(f"phases.{name}: {error}") from None


def rows_of_process(batch_size: int, accumulation: int, group: ProcessGroup) -> NDArray[np.int64]:
    """Return the positions in a batch of the rows that this process has, one micro-batch after the other.

    Each micro-batch is shared by the processes in the order of their ranks, so that the images that share a
    micro-batch do not depend on their number.
    """
    rows = np.arange(batch_size).reshape(accumulation, group.size, -1)
    return rows[:, group.rank].ravel()
