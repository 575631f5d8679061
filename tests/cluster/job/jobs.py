"""Specifications of training jobs for tests."""

from __future__ import annotations

from typing import Any

from nofrost.cluster.job.settings import JobSettings
from nofrost.cluster.job.spec import JobSpec, Owner, Training

IMAGE = f"registry.example/nofrost-train@sha256:{'0123456789abcdef' * 4}"
TRAINING = Training(
    recipe='{"model": "resnet26"}',
    recipe_id="trades-FAT_2",
    seed="3",
    dataset="data/dataset@0123456789abcdef0123456789abcdef.dir:10:2",
    augmentation="data/augmentation@0123456789abcdef0123456789abcdef.dir:10:2",
    store="s3://bucket/nofrost",
)


def job(
    *,
    training: Training = TRAINING,
    gpus: int = 8,
    nodes: int = 2,
    image: str = IMAGE,
    run: str = "run-1",
    owner: Owner | None = None,
    **settings: Any,
) -> JobSpec:
    """Return the specification of a job with these settings; the others are the defaults."""
    values = JobSettings.model_validate(settings)
    return JobSpec(training, image, gpus, nodes, values, namespace="research", run=run, owner=owner)
