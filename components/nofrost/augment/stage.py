"""The stage itself: every method makes its set, then manifest, metrics and record are written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from nofrost.augment import tda
from nofrost.augment.deepaugment import method as deepaugment
from nofrost.config import AugmentationSpec
from nofrost.data import AugmentationManifest, Split, checksum, read_split, write_augmentation_manifest
from nofrost.errors import UserError
from nofrost.files import sha256_file
from nofrost.results import AugmentationMetrics, Record, write_result
from nofrost.stage import stage_output

Method = Callable[[Split, AugmentationSpec, Path], dict[str, Any]]
METHODS: dict[str, tuple[Method, str]] = {
    "deepaugment": (deepaugment.make_deepaugment, deepaugment.PROVENANCE),
    "tda": (tda.make_tda, tda.PROVENANCE),
}


def run(dataset: Path, config: AugmentationSpec, out: Path) -> AugmentationMetrics:
    """Make the augmentation sets of `config` from the training images of `dataset` in the folder `out`.

    Each method writes ``out/<method>/images.npy``, uint8, row i made of training image i.

    Returns:
        What ``out/metrics.json`` holds.

    Raises:
        UserError: `dataset` is no dataset, or the weights that the configuration names do not fit it.
    """
    identity = checksum(dataset)
    train = read_split(dataset, "train")
    methods = tuple(dict.fromkeys(config.methods))
    settings, inputs = config.as_json(), {"dataset": identity}
    if config.deepaugment.weights is not None:
        weights = Path(config.deepaugment.weights)
        # The result depends on what the file holds, not on where it lies.
        settings["deepaugment"]["weights"] = weights.name
        if "deepaugment" in methods:
            inputs["deepaugment weights"] = _weights_checksum(weights)
    with stage_output(out, fingerprint={"config": settings, "inputs": inputs}) as folder:
        measured = {name: METHODS[name][0](train, config, folder / name) for name in methods}
        metrics = AugmentationMetrics(images=len(train), **measured)
        manifest = AugmentationManifest(
            dataset=identity,
            count=len(train),
            sha256={name: sha256_file(folder / name / "images.npy") for name in methods},
            provenance={name: METHODS[name][1] for name in methods},
            config=settings,
        )
        write_augmentation_manifest(folder, manifest)
        write_result(folder / "metrics.json", metrics)
        seeds = {"augmentation": config.seed}
        record = Record.of("augment", config=settings, inputs=inputs, seeds=seeds, libraries=("numpy", "torch"))
        write_result(folder / "record.json", record)
    return metrics


def _weights_checksum(path: Path) -> str:
    try:
        return sha256_file(path)
    except OSError as error:
        raise UserError(
            f"augmentation.deepaugment.weights {path} cannot be read ({error.strerror}): name a safetensors file of an "
            "earlier network, or null to train one"
        ) from None
