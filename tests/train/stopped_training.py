"""Train until some steps are done, then be stopped: python stopped_training.py STEPS RECIPE DATASET OUT

Exit code 143 when it was stopped, 0 when the training came to its end before.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nofrost import train
from nofrost.config import load_recipe
from nofrost.errors import StoppedError
from nofrost.train import trainer


class _Stop:
    """A request to stop that comes in the given step of this run, counted from 1."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def is_set(self) -> bool:
        self.left -= 1
        return self.left <= 0


def main(steps: int, recipe: Path, dataset: Path, out: Path) -> None:
    @contextmanager
    def stop_requested() -> Iterator[_Stop]:
        yield _Stop(steps)

    trainer.stop_requested = stop_requested  # type: ignore[assignment]
    try:
        train.run(dataset, None, load_recipe(recipe), recipe.stem, 0, out)
    except StoppedError:
        sys.exit(StoppedError.exit_code)


if __name__ == "__main__":
    main(int(sys.argv[1]), *map(Path, sys.argv[2:]))
