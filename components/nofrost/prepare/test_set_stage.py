"""The stage prepare-test-sets: images of further sources for the models of a dataset, with its image size."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from nofrost.config import DatasetSpec, TestSets, TestSetSpec
from nofrost.config.evaluation_view import whole_view
from nofrost.config.validation import sentence
from nofrost.data import (
    Manifest,
    SplitManifest,
    TestSetManifest,
    checksum,
    read_manifest,
    write_manifest,
    write_split,
)
from nofrost.data.dataset_card import is_cropped
from nofrost.errors import UserError, say
from nofrost.files import make_folder
from nofrost.prepare.photo import refusing_giant_images
from nofrost.prepare.pixels import reported
from nofrost.prepare.shard_splits import CHANGED, list_changes, write_shard_split
from nofrost.prepare.sources import Part, Source, SourceData, open_source, resolve_source
from nofrost.prepare.sources.base import AbsentSourceError
from nofrost.prepare.sources.chosen import relabelled
from nofrost.prepare.sources.published_source import Published
from nofrost.prepare.splitting import rows_of_test_set
from nofrost.prepare.test_set_classes import match_classes
from nofrost.results import Record, TestSetsMetrics, write_result
from nofrost.stage import RECORD, UNFINISHED, check_output, stage_output
from nofrost.telemetry import Progress, progress
from nofrost.telemetry.metrics.exposition import exposed

STAGE = "prepare-test-sets"
SPLIT = "test"


@dataclass(frozen=True)
class _TestSet:
    """A test set whose source is open and fits the dataset.

    Attributes:
        parts: by the name of its split, with the labels of the test set.
        rows: that are kept of each part.
        classes: None if they are those of the dataset.
    """

    name: str
    spec: TestSetSpec
    source: Source
    data: SourceData
    parts: Mapping[str, Part]
    rows: NDArray[np.int64]
    classes: TestSetManifest | None

    @property
    def settings(self) -> dict[str, Any]:
        """Its configuration without the path: the result depends on the content of the source."""
        return {**self.source.settings(), **self.spec.of_kind()}

    @property
    def count(self) -> int:
        """The number of images in all of its splits."""
        return len(self.parts) * len(self.rows)


def run(config: TestSets, dataset: Path, out: Path) -> TestSetsMetrics:
    """Make the test sets of `config` in the folder `out`, each in a folder of its name, and return ``metrics.json``.

    Each is a dataset with a test split alone, or with one for each corruption and severity, whose image size is that of
    `dataset`, and so are `mean` and `std` of its manifest. Its classes and labels are those of `dataset` too, unless
    its manifest has `test_set`. The paths of the sources are not recorded, so equal content gives equal bytes. Optional
    ones whose source is not there are left out.

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
        opened = {name: _there(name, config.test_sets[name], source, manifest) for name, source in sources.items()}
        test_sets = [each for each in opened.values() if each is not None]
        checksums = {f"{each.name}/{key}": value for each in test_sets for key, value in each.data.checksums.items()}
        checksums["dataset"] = checksum(dataset)
        settings = {each.name: each.settings for each in test_sets}
        libraries = sorted({library for source in sources.values() for library in source.libraries})
        # what an earlier run stored is kept, so it depends on these too
        versions = {name: version(name) for name in libraries}
        fingerprint = {"config": settings, "inputs": checksums, "libraries": versions}
        metrics = TestSetsMetrics(
            test_images={each.name: each.count for each in test_sets},
            left_out=tuple(name for name, each in opened.items() if each is None),
        )
        resumable = manifest.view is not None
        with stage_output(out, stage=STAGE, inputs=inputs, fingerprint=fingerprint, resumable=resumable) as folder:
            with progress(STAGE, total=sum(metrics.test_images.values())) as bar:
                for each in test_sets:
                    with keys_of(each.name, each.source):
                        _write(each, manifest, folder, bar)
            write_result(folder / "metrics.json", metrics)
            record = Record.of(STAGE, config=settings, inputs=checksums, seeds={}, libraries=libraries)
            write_result(folder / RECORD, record)
    return metrics


def _there(name: str, spec: TestSetSpec, source: Source, manifest: Manifest) -> _TestSet | None:
    """Return a test set, or None for an optional one whose source is not there."""
    try:
        return _opened(name, spec, source, manifest)
    except AbsentSourceError as error:
        if not spec.optional:
            raise
        files = source.files() if isinstance(source, Published) else ()
        published = ", ".join(f"{file.name} from {file.url} ({':'.join(file.checksum or ())})" for file in files)
        say(f"{STAGE}: {name} is left out, as it is optional: {error}" + (f"; published is {published}" * bool(files)))
        return None


def _opened(name: str, spec: TestSetSpec, source: Source, manifest: Manifest) -> _TestSet:
    with keys_of(name, source):
        if manifest.view and not source.holds_photographs:
            raise UserError(
                f"dataset.source {source.source!r} has images of an array, and the dataset holds photographs: name a "
                "source of photographs, such as folder"
            )
        data = open_source(source, least_classes=1 if spec.outliers else 2)
        match = match_classes(data, spec, manifest.classes, dataset=manifest.name)
        parts = data.conditions or {SPLIT: data.train if data.test is None else data.test}
        parts = {split: relabelled(part, match.labels) for split, part in parts.items()}
        first = next(iter(parts.values()))
        _check_shape(first, manifest)
        classes = match.test_set.classes if match.test_set else manifest.classes
        rows = rows_of_test_set(first, classes, source.limit)
    for text in (*data.remarks, *([match.remark] if match.remark else [])):
        say(f"{STAGE}: {name}: {text}")
    return _TestSet(name, spec, source, data, parts, rows, match.test_set)


def _write(test_set: _TestSet, manifest: Manifest, out: Path, bar: Progress) -> None:
    data, folder = test_set.data, out / test_set.name
    provenance, changes = data.provenance, Counter[str]()
    splits = {}
    for split, part in test_set.parts.items():
        splits[split], changed = _write_split(test_set, split, part, manifest, out, bar)
        changes += changed
    if changes:
        provenance[CHANGED] = list_changes(changes)
    made: dict[str, Any] = {
        "name": data.name,
        "splits": splits,
        "provenance": provenance,
        "licence": data.licence,
        "config": test_set.settings,
        "test_set": test_set.classes,
    }
    if manifest.view:
        made["view"] = test_set.source.shard_view()
    write_manifest(folder, manifest.model_copy(update=made))


def _write_split(
    test_set: _TestSet, split: str, part: Part, manifest: Manifest, out: Path, bar: Progress
) -> tuple[SplitManifest, Counter[str]]:
    """Write a split of a test set and return its manifest, and how many photographs were stored anew, by kind."""
    rows, folder = test_set.rows, out / test_set.name
    n_classes = len(test_set.classes.classes if test_set.classes else manifest.classes)
    optional = {
        key: values[rows]
        for key, values in (("accepted", part.accepted), ("textures", part.textures))
        if values is not None
    }
    if manifest.view:
        unfinished = out / UNFINISHED / test_set.name
        make_folder(unfinished)
        written, counts = write_shard_split(
            folder,
            split,
            part,
            rows,
            n_classes,
            shorter_side=test_set.source.shorter_side,
            view=None,
            bar=bar,
            unfinished=unfinished,
            optional=optional,
            lossless=True,
        )
        return written, counts.changes
    batches, labels, indices = reported(part.read(rows), bar), part.labels[rows], part.indices(rows)
    return write_split(folder / split, batches, part.shape, labels, indices, n_classes, optional), Counter()


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
    values = spec.of_source()
    inherited: dict[str, Any] = {}
    if manifest is not None:
        # Stored and resized as the dataset's own images are, unless the suite says otherwise.
        if manifest.view:
            shorter_side = manifest.config.get("shorter_side")
            view = whole_view(manifest.view) if is_cropped(spec.source) else manifest.view
            inherited = {"storage": "shards", "view": view.as_json(), "shorter_side": shorter_side}
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
    return resolve_source(config, origin, (*key, name), overrides, is_test_set=True)


def _check_shape(part: Part, manifest: Manifest) -> None:
    expected = (*manifest.image_size, manifest.channels)
    if part.shape != expected:
        raise UserError(
            f"dataset.path has images of {part.shape} (height, width, channels), the dataset of {expected}: give "
            "dataset.image_size, or make the images alike"
        )


@contextmanager
def keys_of(name: str, source: Source) -> Iterator[None]:
    """Let the message of a UserError inside name the keys of the test set where it names those of a dataset."""
    try:
        yield
    except UserError as error:
        keys = "|".join(type(source).model_fields)
        message = re.sub(rf"\bdataset\.({keys})\b", rf"test_sets.{name}.\1", str(error))
        raise type(error)(re.sub(rf"--set ('?)({keys})=", rf"--set \1test_sets.{name}.\2=", message)) from None
