"""The train stage: reads inputs, runs the trainer and writes the output folder."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch

from nofrost.config import Recipe
from nofrost.data import read_manifest, read_split
from nofrost.errors import remark
from nofrost.files import atomic_path, write_text
from nofrost.models import default_device, device_name, save_checkpoint
from nofrost.models.checkpoint import LAST
from nofrost.processes import ProcessGroup
from nofrost.results import PhaseMetrics, Selection, Timing, TrainMetrics, TrainRecord, write_result
from nofrost.stage import RECORD, UNFINISHED, stage_output
from nofrost.telemetry.metrics.exposition import exposed
from nofrost.train.decoding import decoders
from nofrost.train.failures import oom_message
from nofrost.train.overfitting import diagnose
from nofrost.train.records import as_csv
from nofrost.train.setup import (
    check_phases,
    check_selection,
    input_checksums,
    new_model,
    phases_of,
    trained_corruptions,
)
from nofrost.train.starts import read_start
from nofrost.train.trainer import Trainer

# Shards that a training shuffles together when it streams: 4 GiB of the size that `prepare` writes.
STREAM_WINDOW = 16
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
    window: int | None = None,
    start: Path | None = None,
) -> TrainMetrics:
    """Train one recipe with one seed and write checkpoints, curves and metrics to `out`.

    Killed at any moment and started again with the same arguments, it continues from the last save and, on the CPU,
    ends with the same bits. Started by torchrun, the processes share every batch and rank 0 writes.

    Args:
        dataset: output of prepare; trained on its train split, chosen on its selection split (where that is empty, the
            last epoch is kept), test left alone.
        augmentation: output of augment; needed when the recipe names augmentation sets.
        recipe: how to train.
        name: of the recipe, for the record.
        seed: of everything random.
        out: holds ``best.safetensors``, ``last.safetensors`` (each with a ``.json``), ``curves.json``, ``curves.csv``,
            ``metrics.json``, ``timing.json`` and ``record.json``. The best is that of the last phase. Both checkpoints
            hold the weight average where the recipe has one.
        weights: pre-trained ones, a file or the output of a training; by default what the recipe names as a path.
        window: shards of the training photographs whose rows are shuffled together, one such window after the other, so
            that a cache of a few windows suffices (:func:`nofrost.data.order.block_order`); None shuffles all rows.
        start: output of a training with the same seed that has done the first phases of the recipe, which are not
            trained again; the result is the same, bit for bit on the CPU. None trains all phases.

    Raises:
        UserError: recipe, dataset and weights do not fit, memory does not suffice, or the loss is not finite; an
            earlier checkpoint stays beside `out`.
        StoppedError: SIGTERM was received; the state is saved beside `out`.
        PeerLostError: another process of the training has ended.
    """
    weights = weights or (Path(recipe.model.weights) if recipe.model.weights else None)
    with (
        process_group() as group,
        exposed("train", name, str(seed)),
        _preserve_rng(),
        oom_message(recipe.schedule.batch_size),
    ):

        def set_up() -> tuple[dict[str, str], tuple[str, ...], Trainer]:
            manifest = read_manifest(dataset)
            inputs = input_checksums(recipe, dataset, manifest, augmentation, weights)
            first = read_start(start, recipe, seed, inputs, window) if start else None
            if first:
                inputs["start"] = first.sha256
            corruptions = trained_corruptions(recipe, augmentation)
            phases = phases_of(recipe, name, dataset, manifest, augmentation, group, window)
            model = new_model(recipe, manifest, weights, seed)
            check_phases(model, phases)
            selection = read_split(dataset, "selection", verify=True, manifest=manifest)
            check_selection(recipe, selection)
            trainer = Trainer(model, phases, seed, selection, group, first)
            if first and group.is_rank_zero:
                difference = first.made_otherwise(group.size, trainer.device.type, _decoders(trainer))
                if difference:
                    remark(difference)
            return inputs, corruptions, trainer

        inputs, corruptions, trainer = group.agree(set_up)
        fingerprint: dict[str, Any] = {"recipe": recipe.as_json(), "seed": seed, "inputs": inputs}
        if window is not None:
            # Another order of the images gives other bits.
            fingerprint["window"] = window
        paths = [path for path in (dataset, augmentation, weights, start) if path]
        with _output(out, paths, fingerprint, group) as folder:
            with group.report_local_error():
                trainer.fit(f"train {name}, seed {seed}", folder / UNFINISHED)
            metrics = _metrics(trainer, name)
            if group.is_rank_zero:
                record = TrainRecord.of(
                    "train",
                    config=recipe.as_json(),
                    inputs=inputs,
                    seeds={"seed": seed},
                    libraries=("torch", "torchvision", "timm", "numpy", *_image_libraries(trainer)),
                    device=trainer.device.type,
                    steps=trainer.state.steps,
                    window=window,
                    corruptions=corruptions,
                )
                _write(folder, trainer, metrics, record)
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


def _preserve_rng() -> AbstractContextManager[None]:
    """Return a context that restores torch's random number generators at its end."""
    return torch.random.fork_rng([torch.cuda.current_device()] if torch.cuda.is_available() else [])


@contextmanager
def _output(out: Path, inputs: Sequence[Path], fingerprint: Mapping[str, Any], group: ProcessGroup) -> Iterator[Path]:
    """Yield, in all processes, the output folder that rank 0 creates and locks; the others only read it."""
    with ExitStack() as stack:
        output = stage_output(out, stage="train", inputs=inputs, fingerprint=fingerprint, resumable=True)
        folder = group.broadcast(group.agree(lambda: stack.enter_context(output) if group.is_rank_zero else None))
        assert folder is not None
        yield folder


def _image_libraries(trainer: Trainer) -> tuple[str, ...]:
    """Return the libraries that decoded what the training has read, and of RandAugment's operations."""
    return _decoders(trainer) or (
        ("pillow",) if any(phase.images.views.randaugment for phase in trainer.phases) else ()
    )


def _decoders(trainer: Trainer) -> tuple[str, ...]:
    """Return the libraries that decode the photographs of a training, if its images are photographs."""
    return decoders() if any(phase.images.has_photographs for phase in trainer.phases) else ()


def _metrics(trainer: Trainer, name: str) -> TrainMetrics:
    state, best = trainer.state, trainer.state.best
    return TrainMetrics(
        recipe=name,
        seed=trainer.seed,
        parameters=sum(parameter.numel() for parameter in trainer.model.parameters()),
        trained_parameters=trainer.phase_state.partial.trained,
        phases={
            phase: PhaseMetrics(
                epochs=sum(row.phase == phase for row in state.curves), trained_parameters=step.trained_parameters
            )
            for phase, step in state.steps.items()
        },
        epochs=state.epochs,
        best_epoch=best["epoch"],
        selection=Selection(**{key: best[key] for key in Selection.model_fields}),
        training_images=len(trainer.phases[0].images.split),
        overfitting=diagnose(state.curves, len(trainer.selection)),
        stopped_early=trainer.stopped_early(),
    )


def _write(folder: Path, trainer: Trainer, metrics: TrainMetrics, record: TrainRecord) -> None:
    """Write the output, for which the saved state stays as it is: after a kill another call writes it again."""
    state = trainer.state
    save_checkpoint(folder / LAST, trainer.result, {"seed": trainer.seed, "epoch": state.epochs})
    for suffix in ("safetensors", "json"):
        best = (trainer.folder / str(state.best_checkpoint)).with_suffix(f".{suffix}")
        with atomic_path(folder / f"best.{suffix}") as temporary:
            shutil.copyfile(best, temporary)
    epoch_images = {phase.name: phase.images.steps * phase.images.batch_size for phase in trainer.phases}
    images = sum(epoch_images[row.phase] for row in state.curves[trainer.started_at :])
    timing = Timing(
        seconds=state.seconds,
        images_per_second=images / state.seconds,
        data_wait=state.wait_seconds / state.step_seconds if state.step_seconds else 0.0,
        device=device_name(trainer.device),
    )
    write_result(folder / "metrics.json", metrics)
    write_result(folder / "timing.json", timing)
    write_result(folder / "curves.json", state.curves)
    write_text(folder / "curves.csv", as_csv(state.curves))
    write_result(folder / RECORD, record)
