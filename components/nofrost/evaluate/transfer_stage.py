"""The stage transfer: an attack on every model of some folders or functions, with all their answers on disk."""

from collections.abc import Mapping
from pathlib import Path

from torch import nn

from nofrost.attacks import attack_settings, check_attacks, create_attack
from nofrost.config import AttackSpec, Threat
from nofrost.config.suite import BATCH_SIZE
from nofrost.data.arrays import write_arrays
from nofrost.evaluate.images import read_images
from nofrost.evaluate.inputs import ModelSource, fingerprint, path_of, read_model, record
from nofrost.evaluate.measuring.cache import MeasurementCache
from nofrost.evaluate.measuring.engine import Engine
from nofrost.evaluate.sharding import CONDITIONS
from nofrost.evaluate.transferability import check_names, measure_transfer
from nofrost.models import default_device
from nofrost.results import TransferMetrics, write_result
from nofrost.stage import RECORD, UNFINISHED, stage_output
from nofrost.telemetry.metrics.exposition import exposed


def run_transfer(
    dataset: Path,
    models: Mapping[str, ModelSource],
    attack: AttackSpec,
    threat: Threat,
    out: Path,
    *,
    seed: int = 0,
    max_images: int | None = None,
    batch_size: int = BATCH_SIZE,
) -> TransferMetrics:
    """Run an attack on every model, and let all models classify the result; write their answers to the folder `out`.

    Writes ``metrics.json`` (returned), ``flags.npz`` and ``record.json``. A killed run goes on from its last batch. A
    gradient attack does not stop at the first point that fools its source, as one further on transfers better.

    Args:
        dataset: output folder of prepare; its test split is used.
        models: by name; at least one.
        max_images: how many images, evenly spaced; default: all.
        batch_size: how many images at once.

    Raises:
        UserError: an input is missing or damaged, they do not fit each other, or there is no such attack or setting.
    """
    check_attacks(attack, f"attack {attack.name!r}")
    settings = attack.settings()
    if "early_stop" in attack_settings(attack.name):
        settings["early_stop"] = False
    created = create_attack(attack.name, norm=threat.norm, eps=threat.eps, seed=seed, **settings)
    check_names(models)
    images = read_images(dataset, max_images)
    networks: dict[str, nn.Module] = {}
    checksums = {"dataset": images.checksum}
    for name, source in models.items():
        networks[name], files = read_model(source, images)
        checksums |= {f"{name}/{file}": sha256 for file, sha256 in files.items()}
    config = {
        "attack": attack.as_json(),
        "threat": threat.as_json(),
        "models": list(models),
        "seed": seed,
        "max_images": max_images,
        "batch_size": batch_size,
    }
    device = default_device()
    output = stage_output(
        out,
        stage="transfer",
        inputs=[dataset, *map(path_of, models.values())],
        fingerprint=fingerprint(config, checksums, device),
        resumable=True,
    )
    with exposed("transfer"), output as partial:
        engine = Engine(images.sample, batch_size, device, MeasurementCache(partial / UNFINISHED / CONDITIONS))
        result = measure_transfer(networks, created, engine, show_progress=True)
        write_arrays(partial / "flags.npz", result.arrays())
        reduced = engine.cache.reduced_batch_sizes
        title = f"Transfer of {attack.name}"
        write_result(partial / RECORD, record("transfer", title, config, checksums, images.sample, device, reduced))
        write_result(partial / "metrics.json", result.metrics)
    return result.metrics
