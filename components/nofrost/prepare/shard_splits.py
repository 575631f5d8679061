"""Splits of photographs in shards: written in parallel, flat in memory, and gone on with where a run was killed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nofrost.config.evaluation_view import EvaluationView
from nofrost.data import SplitManifest
from nofrost.data.arrays import read_arrays, write_arrays
from nofrost.data.manifest import ShardManifest
from nofrost.data.parallel import threaded_map
from nofrost.data.shards.writer import SHARD_BYTES, Photograph, ShardWriter
from nofrost.data.split import write_numbers
from nofrost.errors import UserError
from nofrost.files import read_json, sha256_file, write_json
from nofrost.prepare.sources import Part
from nofrost.prepare.storing import StoredForm, stored_form
from nofrost.stage import UNFINISHED
from nofrost.telemetry import Progress

_TOGETHER = 4  # photographs that a thread takes at a time: thumbnails are decoded in a fraction of a millisecond
CHANGED = "stored anew as JPEG"
"""Key of the manifest's provenance under which :func:`list_changes` stands."""


@dataclass
class StoredCounts:
    """What is known of the photographs that were written.

    Attributes:
        histograms: of the levels in their views, int64 [C, 256].
        count: how many were written.
        changes: how many were stored as other bytes than the source has, by kind.
    """

    histograms: NDArray[np.int64]
    count: int = 0
    changes: Counter[str] = field(default_factory=Counter)

    def add(self, form: StoredForm) -> None:
        """Count one more photograph."""
        self.count += 1
        if form.change:
            self.changes[form.change] += 1
        if form.histograms is not None:
            self.histograms += form.histograms

    def save(self, path: Path) -> None:
        """Write it for the next run."""
        names = sorted(self.changes)
        changes = np.array([self.changes[name] for name in names], dtype=np.int64)
        values = {"histograms": self.histograms, "count": np.array(self.count)}
        write_arrays(path, {**values, "names": np.array(names, "U16"), "changes": changes})

    @classmethod
    def load(cls, path: Path, channels: int) -> StoredCounts:
        """Return what an earlier run saved; an empty one if there is nothing."""
        try:
            saved = read_arrays(path)
            changes = Counter(dict(zip(saved["names"].tolist(), saved["changes"].tolist(), strict=True)))
            return cls(saved["histograms"], int(saved["count"]), changes)
        except (UserError, KeyError):
            return cls(np.zeros((channels, 256), dtype=np.int64))


def list_changes(changes: Counter[str]) -> str:
    """Return how many photographs were changed, by kind, in words."""
    return ", ".join(f"{count:,} {kind}" for kind, count in sorted(changes.items()))


def write_shard_split(
    folder: Path,
    name: str,
    part: Part,
    rows: NDArray[np.int64],
    n_classes: int,
    *,
    shorter_side: int | None,
    view: EvaluationView | None,
    bar: Progress,
    unfinished: Path | None = None,
    optional: Mapping[str, NDArray[np.int64]] | None = None,
    lossless: bool = False,
) -> tuple[SplitManifest, StoredCounts]:
    """Write the photographs `rows` of `part` as the split `name` of the dataset in `folder`.

    Work of an earlier run that was killed goes on after its last whole shard. The bytes written do not depend on the
    number of threads or on kills.

    Args:
        rows: int64 [N].
        shorter_side: larger photographs are reduced to it, in pixels; None stores them as they are.
        view: whose levels are counted, of training photographs.
        bar: advanced by the photographs written, and at once by those of an earlier run.
        unfinished: where it is kept how far an unfinished run has come; None for the place that a stage has for it.
        optional: as of :func:`write_split`.
        lossless: as of :func:`stored_form`.

    Raises:
        UserError: a photograph is damaged.
    """
    state = unfinished or folder / UNFINISHED
    finished, saved = state / f"{name}.json", state / f"{name}-counts.npz"
    channels = part.shape[2]
    if finished.is_file():
        bar.advance(len(rows))
        return SplitManifest.model_validate(read_json(finished)), StoredCounts.load(saved, channels)
    writer = ShardWriter(folder / name, name, shard_bytes=SHARD_BYTES)
    assert part.images is not None
    images = part.images

    def stored(start: int) -> Iterator[StoredForm]:
        def form(row: int) -> StoredForm:
            return stored_form(images(row), channels, shorter_side, view, lossless=lossless)

        return threaded_map(form, map(int, rows[start:]), together=_TOGETHER)

    counts = _write_photographs(writer, stored, part.labels[rows], saved, bar, channels)
    _, shards = writer.finish()
    numbers = {"labels": part.labels[rows], "indices": part.indices(rows), **(optional or {})}
    manifest = _split_manifest(folder / name, numbers, n_classes, shards)
    write_json(finished, manifest.as_json())
    return manifest, counts


def _write_photographs(
    writer: ShardWriter,
    stored: Callable[[int], Iterator[StoredForm]],
    labels: NDArray[np.int64],
    saved: Path,
    bar: Progress,
    channels: int,
) -> StoredCounts:
    """Write the photographs that an earlier run has not written; return what is known of all.

    Args:
        stored: returns the photographs from a position on.
        labels: of all.
        saved: file of the counts of an earlier run, brought up to date after each shard.
    """
    counts = StoredCounts.load(saved, channels)
    if counts.count > writer.count:
        counts = StoredCounts(np.zeros_like(counts.histograms))
    bar.advance(writer.count)
    forms = stored(counts.count)
    # a shard that was finished just before a kill is not in the saved counts
    for _ in range(writer.count - counts.count):
        counts.add(next(forms))
    for _ in writer.write(_counted(forms, labels[writer.count :], counts, bar)):
        counts.save(saved)
    return counts


def _split_manifest(
    folder: Path, numbers: Mapping[str, NDArray[np.int64]], n_classes: int, shards: tuple[ShardManifest, ...]
) -> SplitManifest:
    """Write the arrays `numbers`, labels and indices among them, beside the shards of a split; return its manifest."""
    write_numbers(folder, numbers)
    labels = numbers["labels"]
    return SplitManifest(
        count=len(labels),
        class_counts=tuple(np.bincount(labels, minlength=n_classes).tolist()),
        sha256={key: sha256_file(folder / f"{key}.npy") for key in ("index", *numbers)},
        shards=shards,
    )


def _counted(
    forms: Iterable[StoredForm], labels: NDArray[np.int64], counts: StoredCounts, bar: Progress
) -> Iterator[Photograph]:
    for form, label in zip(forms, labels.tolist(), strict=True):
        counts.add(form)
        bar.advance()
        yield Photograph(form.content, label, form.size)
