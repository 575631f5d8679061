"""The protocol of an evaluation, which makes numbers comparable: images, attacks, precision, devices, versions."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from typing import Any

import torch

from nofrost.evaluate.measuring.sample import Sample
from nofrost.models.device import hardware_name, state_of_float32
from nofrost.results import Protocol

LIBRARIES = ("nofrost", "torch", "numpy")
MAY_DIFFER = ("devices", "reduced_batch_sizes")  # the only values in which shards of one evaluation may differ


def protocol(
    title: str,
    config: Mapping[str, Any],
    sample: Sample,
    device: torch.device,
    data_sha256: str,
    reduced: dict[str, int],
) -> Protocol:
    """Return the protocol; call inside ``exact_float32``, as it reports the state that torch is in.

    Args:
        title: what is measured, in words.
        config: what is measured, as JSON values; its seed, batch size and, where images are attacked, threat among it.
        sample: all images of the evaluation.
        data_sha256: of the dataset, or of the images and labels themselves.
        reduced: by measurement, the batch sizes that were reduced because memory ran out.
    """
    state = state_of_float32(device)
    return Protocol(
        suite=title,
        suite_sha256=hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest(),
        view=sample.view,
        batch_statistics=config.get("batch_statistics"),
        threat=config.get("threat"),
        samples=len(sample),
        indices_sha256=sample.indices_sha256(),
        data_sha256=data_sha256,
        seeds={"suite": config["seed"]},
        batch_size=config["batch_size"],
        reduced_batch_sizes=reduced,
        dtype="float32",
        tf32=state["tf32"],
        autocast=state["autocast"],
        deterministic=state["deterministic"],
        device=device.type,
        devices=(hardware_name(device),),
        versions={name: version(name) for name in LIBRARIES},
    )


def of_all_shards(whole: Protocol, shards: Iterable[Protocol]) -> Protocol:
    """Return the protocol of an evaluation that was measured in shards: it names every device that took part, and the
    smallest batches of any shard."""
    every = [whole, *shards]
    devices = {name for each in every for name in each.devices}
    reduced: dict[str, int] = {}
    for each in every:
        for name, size in each.reduced_batch_sizes.items():
            reduced[name] = min(size, reduced.get(name, size))
    update = {"devices": tuple(sorted(devices)), "reduced_batch_sizes": dict(sorted(reduced.items()))}
    return whole.model_copy(update=update)
