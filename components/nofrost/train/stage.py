"""The train stage: inputs, fingerprint and output folder around the loop."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch

from nofrost.config import Recipe
from nofrost.data import read_split
from nofrost.files import write_json, write_text
from nofrost.models import default_device, device_name, save_checkpoint
from nofrost.processes import ProcessGroup
from nofrost.stage import record, stage_output
from nofrost.train import curves
from nofrost.train.failures import memory_suffices
from nofrost.train.loop import Training
from nofrost.train.overfitting import diagnose
from nofrost.train.setup import check_phases, input_checksums, new_model, phases_of
from nofrost.train.state import State, remove_state

PEER_LOST = (
    "another process of this training has failed (its own error says why): start again, and it continues from the last "
    "save"
)


def run(
    dataset: Path,
    augmentation: Path | None,
    recipe: Recipe,
    name: str,
    seed: int,
    out: Path,
    weights: Path | None = None,
) -> dict[str, Any]:
    """Train one recipe with one seed and write checkpoints, curves and metrics to `out`.

    Killed at any moment and started again with the same arguments, it goes on from the last save and, on the CPU,
    ends with the same bits. Started by torchrun, the processes share every batch and the first one writes.

    Args:
        dataset: output of prepare; trained on its train split, chosen on its selection split, test left alone.
        augmentation: output of augment; needed when the recipe names augmentation sets.
        recipe: how to train.
        name: of the recipe, for the record.
        seed: of everything random.
        out: holds ``best.safetensors``, ``last.safetensors`` (each with a ``.json``), ``curves.json``, ``curves.csv``,
            ``metrics.json``, ``timing.json`` and ``record.json``. The best is that of the last phase. Both checkpoints
            hold the weight average where the recipe has one.
        weights: pre-trained ones, a file or the output of a training; by default what the recipe names as a path.

    Raises:
        UserError: recipe, dataset and weights do not fit, memory does not suffice, or the loss is no longer a number;
            a checkpoint from before stays beside `out`.
        StoppedError: SIGTERM came; the state is saved beside `out`.
        RunFailedError: another process of the training has ended.
    """
    source = weights or (Path(recipe.model.weights) if recipe.model.weights else None)
    with process_group() as world, _own_random_numbers(), memory_suffices(recipe.schedule.batch_size):

        def prepared() -> tuple[dict[str, str], Training]:
            inputs = input_checksums(recipe, dataset, augmentation, source)
            phases = phases_of(recipe, name, dataset, augmentation, world)
            model = new_model(recipe, dataset, source, seed)
            check_phases(model, phases, seed, world)
            selection = read_split(dataset, "selection", verify=True)
            return inputs, Training(model, phases, seed, selection, world)

        inputs, training = world.agree(prepared)
        fingerprint = {"recipe": recipe.as_json(), "seed": seed, "inputs": inputs}
        with _output(out, fingerprint, world) as folder:
            with world.report_local_error():
                state = training.run(f"train {name}, seed {seed}", folder)
            metrics = _metrics(training, state, name)
            if world.is_rank_zero:
                _write(folder, training, state, metrics)
                made = record(
                    "train",
                    config=recipe.as_json(),
                    inputs=inputs,
                    seeds={"seed": seed},
                    libraries=("torch", "torchvision", "timm", "numpy"),
                )
                write_json(folder / "record.json", {**made, "device": training.device.type, "steps": state.steps})
                remove_state(folder)
            return metrics


@contextmanager
def process_group() -> Iterator[ProcessGroup]:
    """Yield the processes that torchrun started, each with a GPU of its own where there are GPUs; one without torchrun.

    GPU tensors travel by NCCL, and CPU tensors by gloo. The timeout leaves rank 0 time to validate and save while the
    others wait.

    Raises:
        UserError: there are fewer GPUs than processes.
    """
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    with ProcessGroup.joined(PEER_LOST, backend=backend, timeout=timedelta(hours=2)) as group:
        device = group.agree(default_device)
        if device.index is not None:
            torch.cuda.set_device(device)
        yield group


@contextmanager
def _own_random_numbers() -> Iterator[None]:
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices):
        yield


@contextmanager
def _output(out: Path, fingerprint: Mapping[str, Any], world: ProcessGroup) -> Iterator[Path]:
    """Yield the folder that the first process makes, in all of them: the others read there."""
    with ExitStack() as stack:
        output = stage_output(out, fingerprint=fingerprint, resumable=True)
        folder = world.broadcast(world.agree(lambda: stack.enter_context(output) if world.is_rank_zero else None))
        assert folder is not None
        yield folder


def _metrics(training: Training, state: State, name: str) -> dict[str, Any]:
    best, trained = state.best, {phase: step["trained_parameters"] for phase, step in state.steps.items()}
    return {
        "recipe": name,
        "seed": training.seed,
        "parameters": sum(parameter.numel() for parameter in training.model.parameters()),
        "trained_parameters": training.optimisation.partial.trained,
        "phases": {
            phase: {"epochs": sum(row["phase"] == phase for row in state.curves), "trained_parameters": count}
            for phase, count in trained.items()
        },
        "epochs": state.epochs,
        "best_epoch": best["epoch"],
        "selection": {key: best[key] for key in ("clean", "attacked", "score")},
        "training_images": len(training.phases[0].images.split),
        "overfitting": diagnose(state.curves, len(training.selection)),
        "stopped_early": training.stopped_early(state),
    }


def _write(folder: Path, training: Training, state: State, metrics: dict[str, Any]) -> None:
    with training.optimisation.deployed():
        save_checkpoint(folder / "last.safetensors", training.model, {"seed": training.seed, "epoch": state.epochs})
    for suffix in ("safetensors", "json"):
        chosen = (folder / str(state.best_checkpoint)).with_suffix(f".{suffix}")
        if chosen.exists():  # not so when a kill came after this line of an earlier run
            chosen.replace(folder / f"best.{suffix}")
    epoch_images = {phase.name: phase.images.steps * phase.images.batch_size for phase in training.phases}
    images = sum(epoch_images[row["phase"]] for row in state.curves)
    timing = {
        "seconds": state.seconds,
        "images_per_second": images / state.seconds,
        "device": device_name(training.device),
    }
    write_json(folder / "metrics.json", metrics)
    write_json(folder / "timing.json", timing)
    write_json(folder / "curves.json", state.curves)
    write_text(folder / "curves.csv", curves.as_csv(state.curves))
