"""Transfer between trained models as a folder: metrics, flags and how they were made."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from nofrost.attacks import attack_settings, check_attacks, create_attack
from nofrost.config import AdversarialSuite, AttackSpec, Threat
from nofrost.data.arrays import write_arrays
from nofrost.errors import UserError
from nofrost.evaluate.stage_files import CONDITIONS, Source, read_inputs
from nofrost.evaluate.transfer import common_batch_size, measure_transfer
from nofrost.files import write_json
from nofrost.stage import RECORD, stage_output


def run_transfer(
    dataset: Path,
    sources: Mapping[str, Source],
    attack: AttackSpec,
    threat: Threat,
    out: Path,
    *,
    seed: int = 0,
    max_images: int | None = None,
) -> dict[str, Any]:
    """Let an attack loose on every model, ask all models about the result, and write the answers to the folder `out`.

    Writes ``metrics.json`` (returned), ``flags.npz`` and ``record.json``. A killed run goes on from its last batch. A
    gradient attack does not stop at the first point that fools its source, as one further on transfers better.

    Args:
        dataset: output folder of prepare; its test split is used.
        sources: of the models, by name; at least one.
        max_images: how many images, evenly spaced; default: all.

    Raises:
        UserError: an input is missing or damaged, they do not fit each other, or there is no such attack or setting.
    """
    check_attacks(attack, f"attack {attack.name!r}")
    settings = attack.settings()
    if "early_stop" in attack_settings(attack.name):
        settings["early_stop"] = False
    made = create_attack(attack.name, norm=threat.norm, eps=threat.eps, seed=seed, **settings)
    if not sources:
        raise UserError("there is no model to make images against: name at least one")
    suite = AdversarialSuite(
        kind="adversarial",
        title=f"Transfer of {attack.name}",
        citation="own",
        protocol="quick",
        threat=threat,
        attacks={attack.name: attack},
        seed=seed,
        max_images=max_images,
    )
    inputs = {name: read_inputs(dataset, source, suite) for name, source in sources.items()}
    first, trained = next(iter(inputs.values())), {name: each.model for name, each in inputs.items()}
    of_models = {f"{name}/{file}": sha for name, each in inputs.items() for file, sha in each.checksums.items()}
    whole = replace(first, checksums={"dataset": first.checksums["dataset"], **of_models})
    batch_size = common_batch_size(trained, whole.sample, whole.device, None)
    fingerprint = {**whole.fingerprint(suite, batch_size), "models": list(sources)}
    with stage_output(out, fingerprint=fingerprint, resumable=True) as partial:
        result = measure_transfer(
            trained, whole.sample, made, whole.device, batch_size, partial / CONDITIONS, show_progress=True
        )
        metrics = result.metrics()
        write_arrays(partial / "flags.npz", result.arrays())
        write_json(partial / RECORD, whole.record("transfer", suite, batch_size))
        write_json(partial / "metrics.json", metrics)
        shutil.rmtree(partial / CONDITIONS)
    return metrics
