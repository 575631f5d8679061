"""The stage prepare-test-sets: images of further sources, with the classes and the image size of a dataset."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from nofrost.config import DatasetSpec, TestSets, TestSetSpec
from nofrost.config.validation import sentence
from nofrost.data import Manifest, checksum, read_manifest, write_manifest, write_split
from nofrost.errors import UserError, say, shortened
from nofrost.files import make_folder
from nofrost.prepare.photo import refusing_giant_images
from nofrost.prepare.pixels import reported
from nofrost.prepare.shard_splits import CHANGED, list_changes, write_shard_split
from nofrost.prepare.sources import Part, Source, SourceData, open_source, resolve_source
from nofrost.prepare.splitting import rows_of_test_set
from nofrost.results import Record, TestSetsMetrics, write_result
from nofrost.stage import RECORD, UNFINISHED, check_output, stage_output
from nofrost.telemetry import Progress, progress
from nofrost.telemetry.metrics.exposition import exposed

STAGE = "prepare-test-sets"
SPLIT = "test"


@dataclass(frozen=True)
class _TestSet:
    """A test set whose source is open and fits the dataset; `part` has the labels of the dataset."""

    name: str
    source: Source
    data: SourceData
    part: Part
    rows: NDArray[np.int64]

    @property
    def settings(self) -> dict[str, Any]:
        """Its configuration without the path: the result depends on the content of the source."""
        return self.source.settings()


def run(config: TestSets, dataset: Path, out: Path) -> TestSetsMetrics:
    """Make the test sets of `config` in the folder `out`, each in a folder of its name, and return ``metrics.json``.

    Each is a dataset with a test split alone, whose classes, labels and image size are those of `dataset`, and so are
    `mean` and `std` of its manifest. The paths of the sources are not recorded, so equal content gives equal bytes.

    Args:
        dataset: output folder of prepare, which models are trained on.

    Raises:
        UserError: a source is missing or damaged, or its classes or images are not those of the dataset.
    """
    with exposed(STAGE), refusing_giant_images():
        manifest = read_manifest(dataset)
        sources = {name: resolve_test_set(name, spec, manifest) for name, spec in config.test_sets.items()}
        inputs = [dataset, *(path for source in sources.values() for path in source.inputs(out))]
        # before all images are looked through, which may take long
        check_output(out, stage=STAGE, inputs=inputs)
        test_sets = [_opened(name, source, manifest) for name, source in sources.items()]
        checksums = {f"{each.name}/{key}": value for each in test_sets for key, value in each.data.checksums.items()}
        checksums["dataset"] = checksum(dataset)
        settings = {each.name: each.settings for each in test_sets}
        libraries = sorted({library for source in sources.values() for library in source.libraries})
        # what an earlier run stored is kept, so it depends on these too
        versions = {name: version(name) for name in libraries}
        fingerprint = {"config": settings, "inputs": checksums, "libraries": versions}
        metrics = TestSetsMetrics(test_images={each.name: len(each.rows) for each in test_sets})
        resumable = manifest.view is not None
        with stage_output(out, stage=STAGE, inputs=inputs, fingerprint=fingerprint, resumable=resumable) as folder:
            with progress(STAGE, total=sum(metrics.test_images.values())) as bar:
                for each in test_sets:
                    with keys_of(each.name):
                        _write(each, manifest, folder, bar)
            write_result(folder / "metrics.json", metrics)
            record = Record.of(STAGE, config=settings, inputs=checksums, seeds={}, libraries=libraries)
            write_result(folder / RECORD, record)
    return metrics


def _opened(name: str, source: Source, manifest: Manifest) -> _TestSet:
    with keys_of(name):
        if manifest.view and not source.holds_photographs:
            raise UserError(
                f"dataset.source {source.source!r} has images of an array, and the dataset holds photographs: name a "
                "source of photographs, such as folder"
            )
        data = open_source(source)
        part = data.train if data.test is None else data.test
        classes = class_indices(data.classes, manifest.classes)
        _check_shape(part, manifest)
        rows = rows_of_test_set(part, data.classes, source.limit)
    for text in data.remarks:
        say(f"{STAGE}: {name}: {text}")
    return _TestSet(name, source, data, replace(part, labels=classes[part.labels]), rows)


def _write(test_set: _TestSet, manifest: Manifest, out: Path, bar: Progress) -> None:
    part, rows, data, folder = test_set.part, test_set.rows, test_set.data, out / test_set.name
    provenance = data.provenance
    if manifest.view:
        unfinished = out / UNFINISHED / test_set.name
        make_folder(unfinished)
        shorter_side, n_classes = test_set.source.shorter_side, len(manifest.classes)
        split, counts = write_shard_split(
            folder, SPLIT, part, rows, n_classes, shorter_side=shorter_side, view=None, bar=bar, unfinished=unfinished
        )
        if counts.changes:
            provenance[CHANGED] = list_changes(counts.changes)
    else:
        batches, labels, indices = reported(part.read(rows), bar), part.labels[rows], part.indices(rows)
        split = write_split(folder / SPLIT, batches, part.shape, labels, indices, len(manifest.classes))
    made = {
        "name": data.name,
        "splits": {SPLIT: split},
        "provenance": provenance,
        "licence": data.licence,
        "config": test_set.settings,
    }
    write_manifest(folder, manifest.model_copy(update=made))


def resolve_test_set(
    name: str,
    spec: TestSetSpec,
    manifest: Manifest | None = None,
    origin: str = "suites.ood",
    key: Sequence[str] = ("test_sets",),
    overrides: Sequence[str] = (),
) -> Source:
    """Return the source of a test set, with all of its options checked.

    Args:
        manifest: of the dataset, for the size of its images; None to check the options alone.
        origin, key, overrides: as of :func:`resolve_source`; the key is that of all test sets.

    Raises:
        UserError: there is no such source, or an option is unknown or of a wrong value.
    """
    values = spec.as_json()
    inherited: dict[str, Any] = {}
    if manifest is not None:
        # Stored and resized as the dataset's own images are, unless the suite says otherwise.
        if manifest.view:
            shorter_side = manifest.config.get("shorter_side")
            inherited = {"storage": "shards", "view": manifest.view.as_json(), "shorter_side": shorter_side}
        else:
            inherited = {"storage": "array", "image_size": manifest.config.get("image_size")}
            of_shards = [key for key in ("view", "shorter_side") if values.get(key) is not None]
            if of_shards and "storage" not in values:
                raise UserError(
                    f"{'.'.join((*key, name, of_shards[0]))} is for photographs in shards, and the dataset is an "
                    "array, as its test sets are: leave it out"
                )
    try:
        config = DatasetSpec.model_validate({**inherited, **values})
    except ValidationError as error:
        raise UserError(sentence(error, DatasetSpec, origin, overrides, (*key, name))) from None
    return resolve_source(config, origin, (*key, name), overrides)


def class_indices(names: Sequence[str], classes: Sequence[str]) -> NDArray[np.int64]:
    """Return for each class of a test set its index among the classes of the dataset, int64 [K].

    Classes are matched by name, or by position where those of the test set are numbered from 0.

    Raises:
        UserError: a class is missing, or unknown to the dataset.
    """
    index = {name: number for number, name in enumerate(classes)}
    is_numbered = list(names) == [str(number) for number in range(len(names))]
    if is_numbered and not index.keys() >= set(names):
        if len(names) != len(classes):
            raise UserError(
                f"dataset.path has {len(names)} numbered classes, the dataset {len(classes)}: a test set has the "
                "classes of the dataset, all of them"
            )
        return np.arange(len(classes), dtype=np.int64)
    for name in names:
        if name not in index:
            raise UserError(
                f"dataset.path has class {shortened(name)}, which the dataset does not have: name its classes as the "
                "dataset does, or number them from 0 in the dataset's order"
            )
    for name in classes:
        if name not in names:
            raise UserError(
                f"dataset.path has no class {shortened(name)}: a test set has the classes of the dataset, all of them"
            )
    return np.array([index[name] for name in names], dtype=np.int64)


def _check_shape(part: Part, manifest: Manifest) -> None:
    expected = (*manifest.image_size, manifest.channels)
    if part.shape != expected:
        raise UserError(
            f"dataset.path has images of {part.shape} (height, width, channels), the dataset of {expected}: give "
            "dataset.image_size, or make the images alike"
        )


@contextmanager
def keys_of(name: str) -> Iterator[None]:
    """Let the message of a UserError inside name the keys of the test set where it names those of a dataset."""
    try:
        yield
    except UserError as error:
        keys = "|".join(DatasetSpec.model_fields)
        raise type(error)(re.sub(rf"\bdataset\.({keys})\b", rf"test_sets.{name}.\1", str(error))) from None
