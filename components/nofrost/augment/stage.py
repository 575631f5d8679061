"""The stage augment: every method writes its set, then manifest, metrics and record are written."""

from pathlib import Path

from nofrost.augment.base import Method, resolve_methods, spell_out, unused_settings
from nofrost.config import AugmentationSpec
from nofrost.data import AugmentationManifest, checksum, read_split, write_augmentation_manifest
from nofrost.errors import UserError, say
from nofrost.files import sha256_file
from nofrost.results import AugmentationMetrics, Record, write_result
from nofrost.stage import RECORD, stage_output
from nofrost.telemetry.metrics.exposition import exposed


def run(dataset: Path, config: AugmentationSpec, out: Path) -> AugmentationMetrics:
    """Make the augmentation sets of `config` from the training images of `dataset` in the folder `out`.

    Each method writes ``out/<method>/images.npy``, uint8, row i made of training image i.

    Returns:
        What ``out/metrics.json`` holds.

    Raises:
        UserError: `dataset` is no dataset, there is no such method or setting, or a file that one names is missing or
            does not fit.
    """
    methods = resolve_methods(config)
    identity = checksum(dataset)
    train = read_split(dataset, "train", verify=True)
    selected = {name: methods[name] for name in config.methods}
    settings, inputs = spell_out(config, methods), {"dataset": identity}
    for name, method in methods.items():
        for setting, path in method.files().items():
            # The result depends on the content of the file and not on its path.
            settings[name][setting] = path.name
            if name in selected:
                inputs[f"{name} {setting}"] = _file_checksum(method, setting, path)
    files = [path for method in selected.values() for path in method.files().values()]
    fingerprint = {"config": settings, "inputs": inputs}
    if not selected:
        say("augment: augmentation.methods names no method: no sets are made")
    for name in unused_settings(config, methods):
        say(f"augment: the settings of {name} are not used, as augmentation.methods does not name it")
    output = stage_output(out, stage="augment", inputs=[dataset, *files], fingerprint=fingerprint)
    with exposed("augment"), output as folder:
        measured = {name: method.make(train, config.seed, folder / name) for name, method in selected.items()}
        metrics = AugmentationMetrics(images=len(train), **measured)
        manifest = AugmentationManifest(
            dataset=identity,
            count=len(train),
            sha256={name: sha256_file(folder / name / "images.npy") for name in selected},
            provenance={name: method.provenance for name, method in selected.items()},
            config=settings,
        )
        write_augmentation_manifest(folder, manifest)
        write_result(folder / "metrics.json", metrics)
        seeds = {"augmentation": config.seed}
        record = Record.of("augment", config=settings, inputs=inputs, seeds=seeds, libraries=("numpy", "torch"))
        write_result(folder / RECORD, record)
    return metrics


def _file_checksum(method: Method, setting: str, path: Path) -> str:
    try:
        return sha256_file(path)
    except OSError as error:
        raise UserError(
            f"augmentation.{method.name}.{setting} {path} cannot be read ({error.strerror}): check the path, or leave "
            "the setting out"
        ) from None
