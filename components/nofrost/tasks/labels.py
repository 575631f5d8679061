"""Names of tasks in words, which people read in errors and logs: the component, then what distinguishes the task."""

import json
from collections.abc import Sequence

from nofrost.config.trainings import dataset_name
from nofrost.store import Output
from nofrost.tasks.ascii_text import from_ascii

CHAMPION = "champion"
"""The folder of the champion's checkpoint and evaluations in a workspace."""

UNFIT = "unfit: "
"""Begins what takes the place of the champion's checkpoint or of its evaluation where it cannot be evaluated: the store
no longer holds it, or it knows other images or classes."""

PROMOTION = "promote"
"""The name of the task that makes a model the champion."""


def prepare_label(name: str = "", **_: object) -> str:
    """Return the name of the task that makes a dataset: "prepare", of a further one such as "prepare svhn"."""
    return f"prepare {name}" if name else "prepare"


def augment_label(dataset: str, shard: str = "", shards: Sequence[str] = (), **_: object) -> str:
    """Return the name of an augmentation: "augment", "augment, shard 1/4", or "augment, merge" of the shards.

    That of a further dataset has the name of it, such as "augment svhn".
    """
    dataset_of = dataset_name(Output.parse(dataset).path)
    name = f"augment {dataset_of}" if dataset_of else "augment"
    if shard:
        return f"{name}, shard {shard}"
    return f"{name}, merge" if shards else name


def train_label(recipe_id: str, seed: str, **_: object) -> str:
    """Return the name of a training, such as "train sat, seed 0", from the arguments of the task."""
    return f"train {recipe_id}, seed {seed}"


def launch_label(recipe_id: str, seed: str, **_: object) -> str:
    """Return the name of the task that trains in a job, such as "launch sat, seed 0"."""
    return f"launch {recipe_id}, seed {seed}"


def test_sets_label(suite_id: str, **_: object) -> str:
    """Return the name of the task that makes test sets, such as "prepare-test-sets quick", from its arguments."""
    return f"prepare-test-sets {suite_id}"


def evaluation_label(
    suite: str, suite_id: str, checkpoint: str, shard: str = "", shards: Sequence[str] = (), **_: object
) -> str:
    """Return the name of an evaluation, such as "evaluate-ood sat, seed 0, quick, shard 1/4", from its arguments.

    That of the task that merges `shards` ends with "merge".
    """
    path = CHAMPION if not checkpoint or checkpoint.startswith(UNFIT) else Output.parse(checkpoint).path
    run = path.split("/")[1:3]
    model = CHAMPION if path.startswith(CHAMPION) else f"{run[0]}, {run[1].replace('-', ' ')}"
    name = f"evaluate-{json.loads(from_ascii(suite))['kind']} {model}, {suite_id}"
    if shard:
        return f"{name}, shard {shard}"
    return f"{name}, merge" if shards else name
