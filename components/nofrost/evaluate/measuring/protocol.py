"""Everything that makes a number comparable: on which images, by which attacks, computed how and by what."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from typing import Any

import torch

from nofrost.config import AdversarialSuite, Suite
from nofrost.evaluate.measuring.sample import Sample
from nofrost.models.device import hardware_name, state_of_float32

LIBRARIES = ("nofrost", "torch", "numpy")
# The keys of the only values in which shards of one evaluation may differ
DEVICES = "devices"
REDUCED = "reduced_batch_sizes"


def protocol(
    suite: Suite, sample: Sample, device: torch.device, data_sha256: str, reduced: Mapping[str, int]
) -> dict[str, Any]:
    """Return the record, as JSON values; call inside ``exact_float32``, as it reports the state that torch is in.

    It holds no time, host name or path, so that equal work on equal machines has equal records.

    Args:
        sample: all images of the evaluation.
        data_sha256: of the dataset, or of the images and labels themselves.
        reduced: by measurement, the batch sizes that were reduced because memory ran out.
    """
    return {
        "suite": suite.title,
        "suite_sha256": hashlib.sha256(json.dumps(suite.as_json(), sort_keys=True).encode()).hexdigest(),
        "threat": suite.threat.as_json() if isinstance(suite, AdversarialSuite) else None,
        "samples": len(sample),
        "indices_sha256": sample.indices_sha256(),
        "data_sha256": data_sha256,
        "seeds": {"suite": suite.seed},
        "batch_size": suite.batch_size,
        REDUCED: dict(reduced),
        "dtype": "float32",
        **state_of_float32(device),
        "device": device.type,
        DEVICES: [hardware_name(device)],
        "versions": {name: version(name) for name in LIBRARIES},
    }


def of_all_shards(record: dict[str, Any], shards: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Return the protocol of an evaluation that was measured in shards: it names every device that took part, and the
    smallest batches of any shard."""
    every = [record, *shards]
    devices = {name for each in every for name in each[DEVICES]}
    reduced: dict[str, int] = {}
    for each in every:
        for name, size in each[REDUCED].items():
            reduced[name] = min(size, reduced.get(name, size))
    return {**record, DEVICES: sorted(devices), REDUCED: dict(sorted(reduced.items()))}
