"""The stage itself: every method makes its set, then manifest, metrics and record are written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nofrost.augment.base import Method, resolve_methods, spell_out
from nofrost.config import AugmentationSpec
from nofrost.data import AugmentationManifest, checksum, read_split, write_augmentation_manifest
from nofrost.errors import UserError
from nofrost.files import sha256_file, write_json
from nofrost.stage import record, stage_output


def run(dataset: Path, config: AugmentationSpec, out: Path) -> dict[str, Any]:
    """Make the augmentation sets of `config` from the training images of `dataset` in the folder `out`.

    Each method writes ``out/<method>/images.npy``, uint8, row i made of training image i.

    Returns:
        The metrics of each method by its name, and the number of images; the same as in ``out/metrics.json``.

    Raises:
        UserError: `dataset` is no dataset, there is no such method or setting, or a file that one names is missing or
            does not fit.
    """
    methods = resolve_methods(config)
    identity = checksum(dataset)
    train = read_split(dataset, "train")
    selected = {name: methods[name] for name in config.methods}
    settings, inputs = spell_out(config, methods), {"dataset": identity}
    for name, method in methods.items():
        for setting, path in method.files().items():
            # where the file lies is no part of the result, its content is
            settings[name][setting] = path.name
            if name in selected:
                inputs[f"{name} {setting}"] = _file_checksum(method, setting, path)
    metrics: dict[str, Any] = {"images": len(train)}
    with stage_output(out, fingerprint={"config": settings, "inputs": inputs}) as folder:
        for name, method in selected.items():
            metrics[name] = method.make(train, config.seed, folder / name)
        manifest = AugmentationManifest(
            dataset=identity,
            count=len(train),
            sha256={name: sha256_file(folder / name / "images.npy") for name in selected},
            provenance={name: method.provenance for name, method in selected.items()},
            config=settings,
        )
        write_augmentation_manifest(folder, manifest)
        write_json(folder / "metrics.json", metrics)
        seeds = {"augmentation": config.seed}
        provenance = record("augment", config=settings, inputs=inputs, seeds=seeds, libraries=("numpy", "torch"))
        write_json(folder / "record.json", provenance)
    return metrics


def _file_checksum(method: Method, setting: str, path: Path) -> str:
    try:
        return sha256_file(path)
    except OSError as error:
        raise UserError(
            f"augmentation.{method.name}.{setting} {path} cannot be read ({error.strerror}): check the path, or leave "
            "the setting out"
        ) from None
