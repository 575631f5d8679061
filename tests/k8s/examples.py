"""The training jobs in k8s/examples, as a launcher makes them on the cluster of the overlay `gpu`.

`python -m tests.k8s.examples` writes them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from nofrost.cluster.job.pytorchjob import as_pytorchjob
from nofrost.cluster.job.spec import JobSpec, Training
from nofrost.cluster.job.trainjob import as_trainjob
from nofrost.config import recipe_of
from pipelines.cluster_settings import load_cluster
from tests.k8s.rendering import FOLDER

EXAMPLES = FOLDER / "examples"
_REF = f"{'0' * 32}.dir:10:2"


def examples() -> dict[Path, dict[str, Any]]:
    """Return the objects by their files."""
    training = Training(
        recipe=json.dumps(recipe_of(None, "sat", ()).as_json()),
        recipe_id="sat",
        seed="0",
        dataset=f"data/dataset@{_REF}",
        augmentation=f"data/augmentation@{_REF}",
        store="s3://my-bucket/nofrost",
    )
    settings = load_cluster(FOLDER / "overlays" / "gpu" / "cluster.yaml").job_settings()
    image = f"registry.example/nofrost-train@sha256:{'0' * 64}"
    spec = JobSpec(training, image, gpus=8, nodes=2, settings=settings, namespace="nofrost")
    return {EXAMPLES / "pytorchjob.yaml": as_pytorchjob(spec), EXAMPLES / "trainjob.yaml": as_trainjob(spec)}


def text_of(example: dict[str, Any]) -> str:
    """Return an example as its file has it."""
    return yaml.safe_dump(example, sort_keys=False, width=110)


if __name__ == "__main__":
    for path, example in examples().items():
        path.write_text(text_of(example), encoding="utf-8")
