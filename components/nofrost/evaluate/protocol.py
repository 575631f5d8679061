"""Everything that makes a number comparable: on which images, by which attacks, computed how and by what."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from importlib.metadata import version
from typing import Any

import torch

from nofrost.config import AdversarialSuite, Suite
from nofrost.evaluate.sample import Sample
from nofrost.models.device import hardware_name, state_of_float32

LIBRARIES = ("nofrost", "torch", "numpy")
DEVICES = "devices"  # the key of the only value that shards of one evaluation may differ in


def protocol(suite: Suite, sample: Sample, device: torch.device, batch_size: int, data_sha256: str) -> dict[str, Any]:
    """Return the record, as JSON values; call inside ``exact_float32``, as it tells the state that torch is in.

    It holds no time, host name or path, so that equal work on equal machines has equal records.

    Args:
        sample: all images of the evaluation.
        batch_size: how many are measured at once.
        data_sha256: of the dataset, or of the images and labels themselves.
    """
    return {
        "suite": suite.title,
        "suite_sha256": hashlib.sha256(json.dumps(suite.as_json(), sort_keys=True).encode()).hexdigest(),
        "threat": suite.threat.as_json() if isinstance(suite, AdversarialSuite) else None,
        "samples": len(sample),
        "indices_sha256": sample.indices_sha256(),
        "data_sha256": data_sha256,
        "seeds": {"suite": suite.seed},
        "batch_size": batch_size,
        "dtype": "float32",
        **state_of_float32(device),
        "device": device.type,
        DEVICES: [hardware_name(device)],
        "versions": {name: version(name) for name in LIBRARIES},
    }


def of_all_shards(record: dict[str, Any], shards: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Return the record of an evaluation that was measured in shards: it names every device that took part."""
    names = {name for each in (record, *shards) for name in each[DEVICES]}
    return {**record, DEVICES: sorted(names)}
