"""Which tars are the shards of a WebDataset, and of which split."""

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from nofrost.errors import UserError
from nofrost.prepare.sources.base import missing
from nofrost.prepare.sources.folders import folders_in, is_hidden
from nofrost.prepare.sources.split_names import role_in, role_of

_RANGE = re.compile(r"\{([0-9]{1,9})\.\.([0-9]{1,9})\}")
_NUMBERED = re.compile(r"(.*?)([0-9]{1,18})\.tar")
_MOST = 100_000  # shards
_SUFFIX = ".tar"


def find_shards(path: Path, splits: Sequence[str] | None) -> list[list[Path]]:
    """Return the tars of the training split and, if there is one, of the test split.

    Args:
        path: a folder, a tar, or a pattern with ranges such as ``{000..146}``.
        splits: patterns of both in the folder `path`; None finds them by the names of tars and folders.

    Raises:
        UserError: there are none, one is missing, or their names do not say which split they are of.
    """
    if splits is not None:
        return [_listed(path, pattern) for pattern in splits]
    if _RANGE.search(path.name):
        return [_listed(path.parent, path.name)]
    if path.is_file():
        return [[path]]
    if not path.is_dir():
        raise missing(path, "a folder of .tar files, one of them, or a pattern such as train-{000..146}.tar")
    roles: dict[str | None, list[Path]] = {}
    for file in _tars(path):
        roles.setdefault(role_in(file.stem), []).append(file)
    for folder in folders_in(path):
        if (role := role_of(folder.name)) and (files := _tars(folder)):
            roles.setdefault(role, []).extend(files)
    for files in roles.values():
        _check_numbers(files)
    return _by_role(path, roles)


def expanded(pattern: str) -> list[str]:
    """Return the names that a pattern with ranges stands for: ``a-{08..10}`` for a-08, a-09 and a-10.

    Raises:
        UserError: a range goes down, or there are far too many names.
    """
    names = [""]
    position = 0
    for match in _RANGE.finditer(pattern):
        first, last = int(match[1]), int(match[2])
        if last < first or (last - first + 1) * len(names) > _MOST:
            raise UserError(f"the pattern {pattern!r} is of no shards: give a range such as {{000..146}}")
        width = len(match[1]) if match[1].startswith("0") else 0
        numbers = [f"{number:0{width}d}" for number in range(first, last + 1)]
        names = [f"{name}{pattern[position : match.start()]}{number}" for name in names for number in numbers]
        position = match.end()
    return [name + pattern[position:] for name in names]


def _listed(folder: Path, pattern: str) -> list[Path]:
    path = PurePosixPath(pattern)
    if path.is_absolute() or ".." in path.parts or path.suffix != _SUFFIX:
        raise UserError(
            f"dataset.splits: {pattern!r} is no pattern of .tar files in {folder}: write train-{{00..99}}.tar"
        )
    files = [folder / name for name in expanded(pattern)]
    for file in files:
        if not file.is_file():
            raise UserError(f"{file} is missing: fetch it, or correct the pattern {pattern!r}")
    return files


def _tars(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.suffix == _SUFFIX and not is_hidden(file.name))


def _check_numbers(files: Sequence[Path]) -> None:
    """Check that no number is missing between those of the shards, as after a download that was stopped."""
    series: dict[tuple[Path, str], dict[int, str]] = {}
    for file in files:
        if match := _NUMBERED.fullmatch(file.name):
            series.setdefault((file.parent, match[1]), {})[int(match[2])] = match[2]
    for (folder, prefix), numbers in series.items():
        first, last = min(numbers), max(numbers)
        # others are numbered by their first record, say
        if last - first < 2 * len(numbers):
            for number in range(first, last):
                if number not in numbers:
                    width = len(numbers[first]) if numbers[first].startswith("0") else 0
                    raise UserError(
                        f"{folder / f'{prefix}{number:0{width}d}{_SUFFIX}'} is missing between its neighbours: fetch "
                        "it, or name the shards that are meant with dataset.splits"
                    )


def _by_role(path: Path, roles: dict[str | None, list[Path]]) -> list[list[Path]]:
    if not roles:
        raise missing(path, "a folder of .tar files, called such as train-000.tar")
    if list(roles) == [None]:
        return [roles[None]]
    test = roles.get("test") or roles.get("validation")
    if "train" not in roles or None in roles:
        stray = roles.get(None, test or [])[0]
        raise UserError(
            f"{path} holds {stray.name}, whose name does not say that it is of train or test beside the others: name "
            'both with dataset.splits, such as --set \'splits=["a-{00..99}.tar","b-{00..09}.tar"]\''
        )
    return [roles["train"], *([test] if test else [])]
