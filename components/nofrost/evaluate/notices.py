"""Notices on standard error, of evaluations whose results hold no alarms."""

import numpy as np
from numpy.typing import NDArray

from nofrost.errors import remark
from nofrost.evaluate import alarms
from nofrost.evaluate.measuring.attacking import EvaluatedModel
from nofrost.evaluate.measuring.batch_effects import batch_effects
from nofrost.evaluate.measuring.engine import Engine

Classes = NDArray[np.int64]


def notice_batch_effects(engine: Engine, model: EvaluatedModel, predicted: Classes, name: str = "the model") -> None:
    """Print a line if the answers of the model depend on the batch; call inside ``engine.ready``.

    Args:
        predicted: [N], the classes that it predicted in the batches of the evaluation.
    """
    alarm = alarms.answers_ignore_the_batch(batch_effects(engine, model, predicted))
    if alarm is not None and alarm.status != "pass":
        remark(f"{name}: {alarm.reason}")
