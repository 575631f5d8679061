"""What can go wrong while a model trains, in one sentence with its remedy."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager
from pathlib import Path

from nofrost.errors import UserError
from nofrost.models.device import raise_on_oom


def check_finite(loss: float, epoch: int, checkpoint: Path | None) -> None:
    """Check that the loss is still a number.

    Args:
        loss: mean over the epoch, or of a step.
        epoch: in which it was measured, from 1.
        checkpoint: the best one so far, which stays where it is; None while there is none.

    Raises:
        UserError: it is infinite or NaN.
    """
    if math.isfinite(loss):
        return
    kept = f"the best checkpoint until then is {checkpoint}" if checkpoint else "there is no checkpoint of it yet"
    raise UserError(
        f"the loss became {loss} in epoch {epoch}: lower optimiser.lr, lengthen schedule.lr_warmup_epochs, or set "
        f"optimiser.adaptive_clipping; {kept}"
    )


def memory_suffices(batch_size: int) -> AbstractContextManager[None]:
    """Turn the lack of memory inside the block, on the CPU or an accelerator, into a sentence.

    Args:
        batch_size: images that each process holds at once.

    Raises:
        UserError: memory did not suffice.
    """
    return raise_on_oom(
        f"memory does not hold a training step on {batch_size} images: lower schedule.batch_size, train on more "
        "devices, or take one with more memory"
    )
