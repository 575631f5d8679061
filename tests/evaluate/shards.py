"""The shards of an evaluation, each run by itself, and what a folder holds."""

from __future__ import annotations

from pathlib import Path

from nofrost.config import AdversarialSuite, OodSuite
from nofrost.evaluate import Shard, run


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def run_shards(dataset: Path, checkpoint: Path, suite: AdversarialSuite | OodSuite, count: int, to: Path) -> list[Path]:
    """Evaluate every shard by itself."""
    for index in range(count):
        run(dataset, checkpoint, suite, to / f"{index}-{count}", Shard(index, count))
    return [to / f"{index}-{count}" for index in range(count)]
