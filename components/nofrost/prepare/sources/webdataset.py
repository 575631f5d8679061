"""WebDataset shards of others: tars whose members `<key>.jpg` and `<key>.cls` (or .json) are a record."""

import re
from collections import Counter
from itertools import chain
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from nofrost.config.base import first_duplicate
from nofrost.errors import UserError
from nofrost.limits import regular_file
from nofrost.prepare.sources.base import UNKNOWN_LICENCE, Source, SourceData, explain_damage, register
from nofrost.prepare.sources.imagenet import wordnet_ids
from nofrost.prepare.sources.photograph_parts import common_shape, photograph_part
from nofrost.prepare.sources.streamed import numbered_classes
from nofrost.prepare.sources.webdataset_names import find_shards
from nofrost.prepare.sources.webdataset_records import Records
from nofrost.telemetry import progress

_OF_IMAGENET = "imagenet-1k"
_LARGEST_NAMES = 1 << 24  # bytes
_KINDS_NAMED = 8


@register("webdataset")
class WebDataset(Source):
    """Tars of records at `path`: a folder, one tar, or a pattern of them such as ``train-{000..146}.tar``.

    Attributes:
        splits: patterns, relative to the folder `path`, of the training and the test shards, or of the first alone,
            where the names of the tars do not say it.
        class_names: a file with the name of each class on a line of its own, in the order of the labels, or
            ``imagenet-1k`` for its WordNet ids; without it the classes are called 0, 1, ...
    """

    holds_photographs: ClassVar[bool] = True
    prefers_shards: ClassVar[bool] = True

    splits: tuple[str, ...] | None = Field(default=None, min_length=1, max_length=2)
    class_names: str | None = None

    def open(self) -> SourceData:
        """Return the images in the order of the shards' names and of the records in them.

        Each record has one image and its label: ``.cls``, a whole number in digits, or ``label`` (or ``cls``) of
        ``.json``. Members of other kinds are counted in a remark. Nothing is unpacked.

        Raises:
            UserError: a shard is missing, cut off or damaged, or holds a link, a path that leads out of it, a key twice
                or a record without image or label; the message names it.
        """
        path = Path(self.path)
        shards = find_shards(path, self.splits)
        left_out: Counter[str] = Counter()
        splits: list[Records] = []
        with progress("shards", total=sum(map(len, shards)), least_s=5) as bar:
            for files in shards:
                records = Records(files)
                for file in files:
                    records.read(file, left_out)
                    bar.advance()
                splits.append(records)
        images = [records.images() for records in splits]
        classes = self._classes([part.labels for part in images], splits)
        count = sum(map(len, images))
        shape = common_shape(self, chain.from_iterable(part.images() for part in images), count)
        train, *test = (photograph_part(self, part.labels, part.image, shape) for part in images)
        kinds = ", ".join(f"{n:,} {kind}" for kind, n in left_out.most_common(_KINDS_NAMED))
        return SourceData(
            name=re.sub(r"[^A-Za-z0-9]*(\{.*)?(\.tar)?$", "", path.resolve().name) or "webdataset",
            classes=classes,
            train=train,
            test=test[0] if test else None,
            origin="WebDataset shards: " + " and ".join(f"{files[0].name} ({len(files):,} in all)" for files in shards),
            licence=UNKNOWN_LICENCE,
            checksums={"keys, labels and sizes of all records": "sha256:" + "".join(r.checksum() for r in splits)},
            remarks=(f"{left_out.total():,} members of other kinds are left out: {kinds}",) if left_out else (),
        )

    def _classes(self, labels: list[NDArray[np.int64]], splits: list[Records]) -> tuple[str, ...]:
        if self.class_names is None:
            for part, records in zip(labels, splits, strict=True):
                # every class has an image
                records.check_labels(part, len(labels[0]), "all classes present, ")
            return numbered_classes(*labels)
        names = wordnet_ids() if self.class_names == _OF_IMAGENET else _read_names(Path(self.class_names))
        for part, records in zip(labels, splits, strict=True):
            records.check_labels(part, len(names), f"with the {len(names):,} names of {self.class_names}, ")
        return names


def _read_names(file: Path) -> tuple[str, ...]:
    remedy = "name a file of names in dataset.class_names"
    with explain_damage(file, "not a text in UTF-8", remedy), regular_file(file).open("rb") as stream:
        text = stream.read(_LARGEST_NAMES).decode()
    names = tuple(line.strip() for line in text.splitlines() if line.strip())
    if len(names) < 2 or (twice := first_duplicate(names)) is not None:
        fault = f"names {twice!r} twice" if len(names) > 1 else f"has {len(names)} lines"
        raise UserError(f"dataset.class_names {file} {fault}: it must be the name of each class on a line of its own")
    return names
