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
from nofrost.files import sha256_file, write_json
from nofrost.stage import record, stage_output

Method = Callable[[Split, AugmentationSpec, Path], dict[str, Any]]
METHODS: dict[str, tuple[Method, str]] = {
    "deepaugment": (deepaugment.make_deepaugment, deepaugment.PROVENANCE),
    "tda": (tda.make_tda, tda.PROVENANCE),
}


def run(dataset: Path, config: AugmentationSpec, out: Path) -> dict[str, Any]:
    """Make the augmentation sets of `config` from the training images of `dataset` in the folder `out`.

    Each method writes ``out/<method>/images.npy``, uint8, row i made of training image i.

    Returns:
        The metrics of each method by its name, and the number of images; the same as in ``out/metrics.json``.

    Raises:
        UserError: `dataset` is no dataset, or the weights that the configuration names do not fit it.
    """
    identity = checksum(dataset)
    train = read_split(dataset, "train")
    methods = tuple(dict.fromkeys(config.methods))
    settings, inputs = config.as_json(), {"dataset": identity}
    if config.deepaugment.weights is not None:
        weights = Path(config.deepaugment.weights)
        settings["deepaugment"]["weights"] = weights.name  # the place is no part of the result, the content is
        if "deepaugment" in methods:
            inputs["deepaugment weights"] = _weights_checksum(weights)
    metrics: dict[str, Any] = {"images": len(train)}
    with stage_output(out, fingerprint={"config": settings, "inputs": inputs}) as folder:
        for name in methods:
            metrics[name] = METHODS[name][0](train, config, folder / name)
        manifest = AugmentationManifest(
            dataset=identity,
            count=len(train),
            sha256={name: sha256_file(folder / name / "images.npy") for name in methods},
            provenance={name: METHODS[name][1] for name in methods},
            config=settings,
        )
        write_augmentation_manifest(folder, manifest)
        write_json(folder / "metrics.json", metrics)
        seeds = {"augmentation": config.seed}
        made = record("augment", config=settings, inputs=inputs, seeds=seeds, libraries=("numpy", "torch"))
        write_json(folder / "record.json", made)
    return metrics


def _weights_checksum(path: Path) -> str:
    try:
        return sha256_file(path)
    except OSError as error:
        raise UserError(
            f"augmentation.deepaugment.weights {path} cannot be read ({error.strerror}): name a safetensors file of an "
            "earlier network, or null to train one"
        ) from None
