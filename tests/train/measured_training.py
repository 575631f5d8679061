"""Train with an endpoint for Prometheus, and print what it serves at the end: python measured_training.py DATASET OUT

Process 1 of several takes 50 ms longer for each step.
"""

from __future__ import annotations

import os
import sys
import time
import urllib.request
from pathlib import Path

from nofrost import train
from nofrost.config import Recipe
from nofrost.telemetry.metrics.exposition import exposed
from nofrost.train import step_metrics
from nofrost.train.micro_batches import MicroBatches
from tests.train.several_processes import TINY


def main(dataset: Path, out: Path) -> None:
    step_metrics.INTERVAL_S = 0.0
    if os.environ["RANK"] == "1":
        backward = MicroBatches.backward

        def slow(*arguments: object) -> object:
            time.sleep(0.05)
            return backward(*arguments)  # type: ignore[arg-type]

        MicroBatches.backward = slow  # type: ignore[assignment, method-assign]
    # Around that of the stage, so that it is there when the training is done.
    with exposed("train", "tiny", "0"):
        train.run(dataset, None, Recipe.model_validate(TINY), "tiny", 0, out)
        if os.environ["LOCAL_RANK"] == "0":
            port = os.environ["NOFROST_METRICS_PORT"]
            print(urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics").read().decode())


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
