"""Reasons for ending a training early: a loss that is not finite, lack of memory."""

import math
from contextlib import AbstractContextManager
from pathlib import Path

from nofrost.config.optimisation import BatchSize
from nofrost.errors import UserError
from nofrost.models.device import raise_on_oom


def check_finite(loss: float, epoch: int, checkpoint: Path | None) -> None:
    """Check that the loss is a finite number.

    Args:
        loss: mean over the epoch, or of a step.
        epoch: in which it was measured, from 1.
        checkpoint: the best one so far, which is kept; None while there is none.

    Raises:
        UserError: it is infinite or NaN.
    """
    if math.isfinite(loss):
        return
    best = f"the best checkpoint until then is {checkpoint}" if checkpoint else "there is no checkpoint of it yet"
    raise UserError(
        f"the loss became {loss} in epoch {epoch}: lower optimiser.lr, lengthen schedule.lr_warmup_epochs, or set "
        f"optimiser.adaptive_clipping; {best}"
    )


def oom_message(batch_size: BatchSize) -> AbstractContextManager[None]:
    """Turn an out-of-memory error of the CPU or an accelerator inside the block into a UserError.

    Args:
        batch_size: images that each process holds at once, or ``all``.

    Raises:
        UserError: there was not enough memory.
    """
    return raise_on_oom(
        f"memory does not hold a training step on {batch_size} images: lower schedule.batch_size, raise "
        "schedule.accumulation, train on more devices, or use one with more memory"
    )
