"""The stage augment: every method makes its set, then manifest, metrics and record are written."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nofrost.augment.base import Method, Values, resolve_methods, spell_out, unused_settings
from nofrost.augment.originals import SMALL_PIXELS, Originals
from nofrost.augment.set_parts import Made, block_range, joined, part_of, read_made, read_parts, write_made, write_part
from nofrost.augment.sets import SetWork
from nofrost.config import AugmentationSpec
from nofrost.data import (
    AugmentationManifest,
    Photographs,
    Split,
    checksum,
    read_split,
    write_augmentation_manifest,
)
from nofrost.errors import UserError, remark, say
from nofrost.files import sha256_file
from nofrost.models.device import default_device, exact_float32, single_thread_if_small
from nofrost.results import AugmentationMetrics, Record, write_result
from nofrost.shard import TaskShard
from nofrost.stage import RECORD, UNFINISHED, stage_output
from nofrost.telemetry.metrics.exposition import exposed

STAGE = "augment"


def run(dataset: Path, config: AugmentationSpec, out: Path, shard: TaskShard | None = None) -> AugmentationMetrics:
    """Make the augmentation sets of `config` from the training images of `dataset` in the folder `out`.

    Each method writes ``out/<method>/images.npy``, uint8, row i made of training image i, or for photographs the same
    as shards. A killed run goes on where it was and ends with the same bytes.

    Args:
        shard: make only these images, for :func:`merge`; its ``shard.json`` says which, and what they are like.

    Returns:
        What ``out/metrics.json`` holds; of a shard the number of its images alone.

    Raises:
        UserError: `dataset` is no dataset, there is no such method or setting, or a file that one names is missing or
            does not fit.
    """
    work = _Augmentation.of(dataset, config, verify=True)
    work.say_what_has_no_effect()
    fingerprint = {**work.fingerprint, **({"shard": str(shard)} if shard else {})}
    output = stage_output(out, stage=STAGE, inputs=work.inputs_of_run, fingerprint=fingerprint, resumable=True)
    with exposed(STAGE), output as folder:
        made = {name: work.make(name, method, folder, shard) for name, method in work.selected.items()}
        if shard is None:
            return work.finish(folder, made)
        return work.finish_shard(folder, made, shard)


def merge(dataset: Path, config: AugmentationSpec, shards: Sequence[Path], out: Path) -> AugmentationMetrics:
    """Write to the folder `out` what :func:`run` would have without shards, byte for byte.

    Args:
        dataset, config: those of the shards.
        shards: output folders of all shards, in any order.

    Raises:
        UserError: as :func:`run`, or these are not all shards of this augmentation, each of them once and undamaged.
    """
    work = _Augmentation.of(dataset, config, verify=False)
    parts = read_parts(shards, work.identity, work.settings)
    inputs = [*work.inputs_of_run, *shards]
    output = stage_output(out, stage=STAGE, inputs=inputs, fingerprint=work.fingerprint, resumable=True)
    with exposed(STAGE), output as folder:
        made = {
            name: joined(name, parts, work.originals(method).blocks(), work.train, folder)
            for name, method in work.selected.items()
        }
        return work.finish(folder, made)


@dataclass(frozen=True)
class _Augmentation:
    """The methods of a configuration and the training images of a dataset."""

    dataset: Path
    config: AugmentationSpec
    methods: dict[str, Method]
    train: Split
    identity: str
    settings: dict[str, Any]
    inputs: dict[str, str]

    @classmethod
    def of(cls, dataset: Path, config: AugmentationSpec, *, verify: bool) -> "_Augmentation":
        methods = resolve_methods(config)
        identity = checksum(dataset)
        train = read_split(dataset, "train", verify=verify)
        settings, inputs = spell_out(config, methods), {"dataset": identity}
        for name, method in methods.items():
            for setting, path in method.files().items():
                # The result depends on the content of the file and not on its path.
                _replace(settings[name], setting, path.name)
                if name in config.methods:
                    inputs[f"{name} {setting}"] = _file_checksum(method, setting, path)
        work = cls(dataset, config, methods, train, identity, settings, inputs)
        for name, method in work.selected.items():
            if method.side() is not None and not isinstance(train.images, Photographs):
                raise UserError(
                    f"augmentation.{name}.shorter_side is for photographs, and {dataset} holds images of one size: "
                    "leave it out"
                )
        return work

    @property
    def selected(self) -> dict[str, Method]:
        return {name: self.methods[name] for name in self.config.methods}

    @property
    def fingerprint(self) -> dict[str, Any]:
        return {"config": self.settings, "inputs": self.inputs}

    @property
    def inputs_of_run(self) -> list[Path]:
        return [self.dataset, *(path for method in self.selected.values() for path in method.files().values())]

    def say_what_has_no_effect(self) -> None:
        if not self.selected:
            say("augment: augmentation.methods names no method: no sets are made")
        for name in unused_settings(self.config, self.methods):
            say(f"augment: the settings of {name} are not used, as augmentation.methods does not name it")

    def make(self, name: str, method: Method, folder: Path, shard: TaskShard | None) -> Made:
        """Make the images of one set, or a shard of them."""
        originals, device = self.originals(method), default_device()
        unfinished = folder / UNFINISHED
        if (made := read_made(unfinished / f"{name}.made.json")) is not None:
            return made
        blocks = block_range(len(originals.blocks()), shard)
        if shard and not blocks:
            remark(f"shard {shard} has no image of {name} to make, as there are fewer blocks: use fewer shards")
        with exact_float32(device), single_thread_if_small(device, originals.pixels, SMALL_PIXELS):
            augmenter = method.augmenter(originals, self.config.seed, folder / name, unfinished)
            saved = unfinished / f"{name}.json"
            work = SetWork(name, augmenter, originals, self.train.labels, blocks, folder / name, saved)
            files, values = work.run()
        made = Made(files, augmenter.facts, values)
        write_made(unfinished / f"{name}.made.json", made)
        return made

    def originals(self, method: Method) -> Originals:
        """Return the training images in the size in which a method augments them."""
        return Originals(self.train.images, method.side())

    def finish_shard(self, folder: Path, made: dict[str, Made], shard: TaskShard) -> AugmentationMetrics:
        """Write what :func:`merge` needs beside the images of a shard."""
        images = {}
        for name, method in self.selected.items():
            blocks = self.originals(method).blocks()
            part = part_of(blocks, shard)
            images[name] = sum(rows.stop - rows.start for rows in part)
        write_part(folder, shard, self.identity, self.settings, images, made)
        metrics = AugmentationMetrics(images=max(images.values(), default=0))
        self._write(folder, metrics, {**self.settings, "shard": str(shard)})
        return metrics

    def finish(self, folder: Path, made: dict[str, Made]) -> AugmentationMetrics:
        """Write manifest, metrics and record of all sets."""
        count, images = len(self.train), self.train.images
        measured = {
            name: self.methods[name].metrics(each.facts, _totals(each.values), count) for name, each in made.items()
        }
        photographs = images if isinstance(images, Photographs) else None
        manifest = AugmentationManifest(
            dataset=self.identity,
            count=count,
            sha256={name: each.files.sha256 for name, each in made.items()},
            shards={name: each.files.shards for name, each in made.items() if each.files.shards},
            view=photographs.view if photographs else None,
            channels=photographs.channels if photographs else None,
            provenance={name: method.provenance for name, method in self.selected.items()},
            config=self.settings,
        )
        write_augmentation_manifest(folder, manifest)
        metrics = AugmentationMetrics(images=count, **measured)
        self._write(folder, metrics, self.settings)
        return metrics

    def _write(self, folder: Path, metrics: AugmentationMetrics, settings: dict[str, Any]) -> None:
        write_result(folder / "metrics.json", metrics)
        seeds = {"augmentation": self.config.seed}
        record = Record.of(STAGE, config=settings, inputs=self.inputs, seeds=seeds, libraries=("numpy", "torch"))
        write_result(folder / RECORD, record)


def _totals(values: Sequence[Values]) -> Values:
    """Return the sums over all blocks; added one by one, in order, as the last bits depend on it."""
    totals: Values = {}
    for block in values:
        for key, value in block.items():
            totals[key] = totals.get(key, 0.0) + value
    return totals


def _replace(settings: dict[str, Any], key: str, value: str) -> None:
    """Replace the value of a setting, ``inner.key`` for one of a setting of settings."""
    *outer, last = key.split(".")
    for name in outer:
        settings = settings[name]
    settings[last] = value


def _file_checksum(method: Method, setting: str, path: Path) -> str:
    try:
        return sha256_file(path)
    except OSError as error:
        raise UserError(
            f"augmentation.{method.name}.{setting} {path} cannot be read ({error.strerror}): check the path, or leave "
            "the setting out"
        ) from None
