"""Parts of augmentation sets: what one of several tasks made, and joining them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from nofrost.augment.base import Values
from nofrost.augment.sets import ARRAY, SetFiles
from nofrost.config.base import Schema
from nofrost.config.validation import sentence
from nofrost.data import Photographs, ShardManifest, Split, write_images
from nofrost.data.arrays import read_array
from nofrost.data.shards import index
from nofrost.data.shards.writer import Photograph, ShardWriter
from nofrost.data.split import read_photographs
from nofrost.errors import UserError
from nofrost.files import read_checked_json, sha256_file, write_bytes, write_checked_json
from nofrost.shard import TaskShard, folders_by_index

SHARD_FILE = "shard.json"
_ROWS = 1024  # of an array that are copied at once
_AGAIN = "make this shard again with `nofrost augment --shard`"


class SetPart(Schema):
    """Some of the images of a set: how many, shards of photographs, the SHA-256 of all other files, and measurements.

    `facts` and `values` are those of the augmenter of the images: measured once, and of each block.
    """

    images: int
    shards: tuple[ShardManifest, ...]
    sha256: dict[str, str]
    facts: Values
    values: tuple[Values, ...]


class AugmentationPart(Schema):
    """``shard.json``: which part of which augmentation a folder holds."""

    format: Literal[1] = 1
    shard: str
    dataset: str
    config: dict[str, Any]
    sets: dict[str, SetPart]


@dataclass(frozen=True)
class Made:
    """A set, or a part of it, that was made: its files, what was measured once, and what of each block."""

    files: SetFiles
    facts: Values
    values: Sequence[Values]


def write_made(path: Path, made: Made) -> None:
    """Write to `path` that a set, or a part of one, is complete, for a run that goes on."""
    shards = [shard.as_json() for shard in made.files.shards]
    content = {"sha256": made.files.sha256, "shards": shards, "facts": made.facts, "values": list(made.values)}
    write_checked_json(path, content)


def read_made(path: Path) -> Made | None:
    """Return what :func:`write_made` wrote; None if nothing did, or not all of it is there."""
    try:
        content = read_checked_json(path)
    except UserError:
        return None
    shards = tuple(ShardManifest.model_validate(shard) for shard in content["shards"])
    return Made(SetFiles(content["sha256"], shards), content["facts"], content["values"])


def block_range(count: int, shard: TaskShard | None) -> range:
    """Return which of `count` blocks a shard makes: consecutive ones, as many as the others or one more."""
    if shard is None:
        return range(count)
    return range(count * shard.index // shard.count, count * (shard.index + 1) // shard.count)


def part_of(blocks: Sequence[slice], shard: TaskShard) -> Sequence[slice]:
    """Return the blocks that a shard makes, of their rows."""
    numbers = block_range(len(blocks), shard)
    return blocks[numbers.start : numbers.stop]


def write_part(
    folder: Path,
    shard: TaskShard,
    dataset: str,
    config: dict[str, Any],
    images: Mapping[str, int],
    made: Mapping[str, Made],
) -> None:
    """Write the ``shard.json`` of a part into its folder; `images` are the numbers of images of each set."""
    sets = {
        name: SetPart(
            images=images[name],
            shards=each.files.shards,
            sha256={path.name: sha256_file(path) for path in _files(folder / name, each.files.shards)},
            facts=each.facts,
            values=tuple(each.values),
        )
        for name, each in made.items()
    }
    part = AugmentationPart(shard=str(shard), dataset=dataset, config=config, sets=sets)
    write_checked_json(folder / SHARD_FILE, part.as_json())


def read_parts(folders: Sequence[Path], dataset: str, config: dict[str, Any]) -> dict[Path, AugmentationPart]:
    """Return the parts in `folders`, in order, after comparing the checksums of all of their files.

    Photographs are compared one by one when they are read.

    Args:
        dataset: checksum of the dataset.
        config: the settings, as the record of the whole has them.

    Raises:
        UserError: they are not all parts of this augmentation, each once, or one is damaged.
    """
    parts = {folder: _read(folder) for folder in folders}
    ordered = folders_by_index((TaskShard.parse(part.shard), folder) for folder, part in parts.items())
    first = parts[ordered[0]]
    for folder in ordered:
        part = parts[folder]
        if part.dataset != dataset or part.config != config:
            what = "dataset" if part.dataset != dataset else "configuration"
            raise UserError(f"{folder} holds a shard of another {what}: merge it with those that it was made with")
        for name, each in part.sets.items():
            for file, expected in each.sha256.items():
                path = folder / name / file
                if not path.is_file():
                    raise UserError(f"{path} is missing: {_AGAIN}")
                if sha256_file(path) != expected:
                    raise UserError(f"{path} is damaged (its checksum is not the one in {SHARD_FILE}): {_AGAIN}")
            if _of_networks(each) != _of_networks(first.sets[name]) or each.facts != first.sets[name].facts:
                raise UserError(
                    f"{ordered[0]} and {folder} were made by different networks of {name}: train one first (a shard "
                    f"has it beside its images) and give it to all as augmentation.{name}.weights"
                )
    return {folder: parts[folder] for folder in ordered}


def joined(
    name: str, parts: Mapping[Path, AugmentationPart], blocks: Sequence[slice], train: Split, folder: Path
) -> Made:
    """Write the set `name` of all parts into `folder` and return it.

    Args:
        blocks: rows of all blocks of the set.
        train: the training split.

    Raises:
        UserError: a part has another number of images than its blocks, or a photograph is damaged.
    """
    for number, (place, part) in enumerate(parts.items()):
        rows = part_of(blocks, TaskShard(number, len(parts)))
        count = sum(block.stop - block.start for block in rows)
        if part.sets[name].images != count or len(part.sets[name].values) != len(rows):
            raise UserError(f"{place / name} holds {part.sets[name].images} images, its part has {count}: {_AGAIN}")
    sets = {place: part.sets[name] for place, part in parts.items()}
    first = next(iter(sets.values()))
    folder = folder / name
    for file in _of_networks(first):
        write_bytes(folder / file, (next(iter(sets)) / name / file).read_bytes())
    values = [each for part in sets.values() for each in part.values]
    if isinstance(train.images, Photographs):
        writer = ShardWriter(folder, name)
        photographs = _photographs(name, sets, train, writer.count)
        for _ in writer.write(photographs):
            pass
        shards = writer.finish()[1]
        return Made(SetFiles(sha256_file(folder / index.FILE), shards), first.facts, values)
    write_images(folder / ARRAY, _images(name, sets), train.images.shape)
    return Made(SetFiles(sha256_file(folder / ARRAY)), first.facts, values)


def _images(name: str, sets: Mapping[Path, SetPart]) -> Iterator[NDArray[np.uint8]]:
    for place in sets:
        images = read_array(place / name / ARRAY)
        for start in range(0, len(images), _ROWS):
            yield images[start : start + _ROWS]


def _photographs(name: str, sets: Mapping[Path, SetPart], train: Split, first: int) -> Iterator[Photograph]:
    """Yield the photographs of a set from row `first` on."""
    assert isinstance(train.images, Photographs)
    start = 0
    for place, part in sets.items():
        images = read_photographs(place / name, part.shards, part.images, train.images.view, train.images.channels)
        for row in range(max(0, first - start), part.images):
            record = images.index[row]
            size = int(record["height"]), int(record["width"])
            yield Photograph(images.encoded(row), int(train.labels[start + row]), size)
        start += part.images
        images.files.close()


def _read(folder: Path) -> AugmentationPart:
    path = folder / SHARD_FILE
    if not path.is_file():
        raise UserError(f"{folder} holds no shard of augmentation sets: make one with `nofrost augment --shard 0/3`")
    try:
        return AugmentationPart.model_validate(read_checked_json(path))
    except ValidationError as error:
        raise UserError(sentence(error, AugmentationPart, str(path))) from None


def _files(folder: Path, shards: Sequence[ShardManifest]) -> list[Path]:
    photographs = {shard.name for shard in shards}
    return sorted(path for path in folder.iterdir() if path.name not in photographs)


def _of_networks(part: SetPart) -> dict[str, str]:
    """Return the checksums of the files of networks, by name."""
    return {file: digest for file, digest in part.sha256.items() if file not in (ARRAY, index.FILE)}
