"""Which folders below a path are splits and which are classes: never a guess without a word."""

import json
import re
import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath

from nofrost.errors import UserError
from nofrost.prepare.sources.folders import common_folders, folders_in, has_images, nested_folders, unwrapped
from nofrost.prepare.sources.split_names import likely_role, role_in, role_of

_NAMED = 4  # most folders of a kind in a message
_PLAIN = re.compile(r"(?!true$|false$|null$)[A-Za-z_][A-Za-z0-9_/.-]*", re.IGNORECASE)  # text to YAML without quotes


@dataclass(frozen=True)
class Layout:
    """Where the images of a folder lie.

    Attributes:
        train: the folder whose folders are the classes.
        test: that of the source's own test split.
        unused: splits that are left out.
        empty: folders beside the splits that are left out, as they hold no images.
        is_given: whether the user has said so, and it was not found by the names.
    """

    train: Path
    test: Path | None = None
    unused: tuple[Path, ...] = ()
    empty: tuple[Path, ...] = ()
    is_given: bool = False

    def remarks(self) -> list[str]:
        """Return a sentence for each folder, or kind of folder, that is not used."""
        if self.is_given:
            names = first_names([folder.name for folder in self.unused])
            return [f"{names} beside the given splits: left out"] if self.unused else []
        remarks = [
            f"the split {split.name} is left out, as test is there and the selection split is cut from train: put its "
            "images into train to use them"
            for split in self.unused
        ]
        if self.empty:
            names = first_names([folder.name for folder in self.empty])
            remarks.append(f"{names} beside the splits: left out, no images in there")
        return remarks


def find_layout(root: Path, splits: Sequence[str] | None = None) -> Layout:
    """Return which folders of `root` are splits; if none is, `root` itself has the classes.

    The splits are train and test, or train and validation where there is no test, under their usual names. A folder
    may be called like a class, such as "train" among vehicles, if it holds its images itself.

    Args:
        splits: paths in `root` of the training and the test split, or of the training split alone, that are to be
            taken; if empty, all folders of `root` are classes. None finds out.

    Raises:
        UserError: folders look like splits but do not stand alone, side by side and under these names; or one of
            `splits` is not there.
    """
    folders = folders_in(root)
    if splits is not None:
        return _given(root, splits, folders)
    roles: dict[str | None, list[Path]] = {}
    for folder in folders:
        roles.setdefault(role_of(folder.name), []).append(folder)
    empty = [folder for folder in folders if not has_images(folder)] if "train" in roles else []
    others = set(roles.pop(None, ()))
    # What holds no images is no class beside "train" if that holds folders, as a split does.
    are_splits = len(roles) > 1 or any(map(nested_folders, roles.get("train", ())))
    if "train" not in roles or (others and not (are_splits and others <= set(empty))):
        _check_classes(root, folders)
        return Layout(root)
    full = {role: [folder for folder in found if folder not in empty] or found for role, found in roles.items()}
    return _by_role(root, full, empty)


def _by_role(root: Path, roles: Mapping[str | None, Sequence[Path]], empty: Sequence[Path]) -> Layout:
    """Return the layout of folders that are called like splits, and are it.

    Args:
        roles: the folders of each split, those without images only if there are no others.
        empty: all folders without images.

    Raises:
        UserError: two have the same role, or what is in them are no classes.
    """
    validation = roles.get("validation", ())
    test = roles.get("test") or validation
    for same in (roles["train"], test):
        if len(same) > 1:
            names = " and ".join(folder.name for folder in same)
            raise UserError(f"{root} holds both {names}: keep one of them, or rename the one that is meant")
    if test and test[0] in empty:
        raise UserError(f"{test[0]} holds no images: add some, or remove the folder")
    used = (roles["train"][0], *test)
    _check_depth(root, used)
    for split in used:
        _refuse_splits_among(root, split, folders_in(split))
    unused = () if test is validation else validation
    return Layout(
        train=used[0],
        test=test[0] if test else None,
        unused=tuple(folder for folder in unused if folder not in empty),
        empty=tuple(folder for folder in empty if folder not in used),
    )


def check_same_classes(classes: Collection[str], layout: Layout, root: Path) -> None:
    """Check that the test split of `layout` has the `classes` of its training split.

    Raises:
        UserError: it has others, or none, as images without labels have.
    """
    if layout.test is None:
        return
    test_classes = {folder.name for folder in folders_in(layout.test)}
    if {name.lower() for name in test_classes}.isdisjoint(name.lower() for name in classes):
        found = f"the folders {first_names(sorted(test_classes))}" if test_classes else "no class folders"
        labelled = (split for split in layout.unused if {folder.name for folder in folders_in(split)} & set(classes))
        option = _option([split.relative_to(root).as_posix() for split in (layout.train, *islice(labelled, 1))])
        raise UserError(
            f"{layout.test} holds {found}, but {layout.train} the classes {first_names(sorted(classes))}: images "
            f"without a class cannot be tested on, so sort them into folders, or leave them out with {option}"
        )
    for name in sorted(test_classes.symmetric_difference(classes)):
        is_in_test = name in test_classes
        present, absent = (layout.test, layout.train) if is_in_test else (layout.train, layout.test)
        same = next(
            (other for other in (classes if is_in_test else test_classes) if other.lower() == name.lower()), None
        )
        alike = f" (there is {same!r})" if same else ""
        raise UserError(
            f"class folder {name!r} is in {present} but not in {absent}{alike}: both must hold the same classes"
        )


def refuse_splits_inside(folder: Path, names: Collection[str]) -> None:
    """Check that the folders `names` in a class folder, or below one, are not splits.

    Raises:
        UserError: they are.
    """
    splits = sorted(name for name in names if role_of(name))
    if len({role_of(name) for name in splits}) < 2:
        return
    if any(nested_folders(folder / name) for name in splits):
        remedy = f"set dataset.path to {folder}, if each of them has a folder for each class"
    else:
        remedy = f"give each of them a folder for each class, and set dataset.path to {folder}"
    raise UserError(
        f"{folder} holds {' and '.join(splits)}, which look like splits, and would be taken for one class: {remedy}"
    )


def first_names(names: Sequence[str]) -> str:
    """Return the first of the names, for a message."""
    return ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")


def _given(root: Path, splits: Sequence[str], folders: Sequence[Path]) -> Layout:
    for split in splits:
        path = PurePosixPath(split)
        if path.is_absolute() or ".." in path.parts or not path.parts or not (root / path).is_dir():
            raise UserError(f"dataset.splits: {split!r} is not a folder in {root}: name one, such as train")
    used = [root / split for split in splits]
    if len(used) == 2 and (used[0].is_relative_to(used[1]) or used[1].is_relative_to(used[0])):
        raise UserError(f"dataset.splits: {splits[0]!r} and {splits[1]!r} are not apart: name two different folders")
    if not used:
        return Layout(root, is_given=True)
    unused = (folder for folder in folders if not any(split.is_relative_to(folder) for split in used))
    return Layout(used[0], used[1] if used[1:] else None, unused=tuple(unused), is_given=True)


def _check_classes(root: Path, folders: Sequence[Path]) -> None:
    """Check that the folders of `root` are classes.

    Raises:
        UserError: they look like splits, hold splits, or hold the folders of the classes.
    """
    _refuse_splits_among(root, root, folders)
    _refuse_splits_in_each(root, folders)
    if common := common_folders(folders):
        raise UserError(
            f"{first_names([folder.name for folder in folders])} in {root} have the same folders "
            f"({first_names(common)}), as splits have: {_remedy(root, root, folders)}"
        )
    if (inner := unwrapped(root)) != root:
        inside = nested_folders(inner)
        are_flat = all(map(role_of, inside)) and not any(nested_folders(inner / name) for name in inside)
        remedy = ", and give each of them a folder for each class" if are_flat else ""
        raise UserError(
            f"of the folders in {root} only {inner.relative_to(root)} holds images: set dataset.path to {inner}, whose "
            f"folders are {first_names(inside)}{remedy}"
        )


def _refuse_splits_among(root: Path, parent: Path, folders: Sequence[Path]) -> None:
    """Refuse to take a split for a class, which would make a model of "train" against "test".

    Args:
        root: that of the source.
        parent: what the folders are in.
    """
    suspects = [folder for folder in folders if role_in(folder.name)]
    full = [folder for folder in folders if has_images(folder)] if suspects else []
    below = {folder: set(nested_folders(unwrapped(folder))) for folder in full}
    are_all = set(full) <= set(suspects) and len({role_in(folder.name) for folder in full}) > 1
    for folder in suspects:
        role = role_of(folder.name)
        # Only "train" is also the name of a class.
        is_split = role is not None and (nested_folders(folder) or role != "train")
        common = folder in below and any(len(below[folder] & below[other]) > 1 for other in full if other != folder)
        if is_split or common or are_all:
            others = [other.name for other in full if other not in (folder, *_likely_splits(full).values())]
            beside = f" (beside it: {first_names(others)})" if others else ""
            remedy = _remedy(root, parent, full)
            raise UserError(f"{folder} looks like a split and not like a class{beside}: {remedy}")


def _refuse_splits_in_each(root: Path, folders: Sequence[Path]) -> None:
    """Refuse classes that have splits in them, the other way round."""
    inside = [
        (folder.name, name)
        for folder in folders
        for name in nested_folders(folder)
        if role_of(name) and has_images(folder / name)
    ]
    if len({name for name, _ in inside}) > 1 and len({role_of(name) for _, name in inside}) > 1:
        shown = first_names(["/".join(names) for names in inside])
        turned = first_names(["/".join(reversed(names)) for names in inside])
        raise UserError(f"the folders in {root} hold splits ({shown}): put the splits above the classes ({turned})")


def _check_depth(root: Path, splits: Sequence[Path]) -> None:
    """Check that the classes of the training split are not one level further down."""
    inner = [unwrapped(split) for split in splits]
    if inner[0] != splits[0]:
        refuse_splits_inside(inner[0], nested_folders(inner[0]))
        raise UserError(
            f"of the folders in {splits[0]} only {inner[0].relative_to(splits[0])} holds images: give "
            f"{_option([path.relative_to(root).as_posix() for path in inner])} if its folders "
            f"({first_names(nested_folders(inner[0]))}) are the classes"
        )


def _remedy(root: Path, parent: Path, folders: Sequence[Path]) -> str:
    """Return what to do with the `folders` in `parent`, some or all of which are splits."""
    splits = _likely_splits(folders)
    if "train" in splits:
        inner = {role: unwrapped(folder) for role, folder in splits.items()}
        option = _option([folder.relative_to(root).as_posix() for folder in inner.values()])
        renames = [
            f"{folder.relative_to(parent).as_posix()} to {role}"
            for role, folder in inner.items()
            if folder != splits[role] or not role_of(folder.name)
        ]
        change = f"rename {' and '.join(renames)}" if renames else f"keep the splits alone in {parent}"
    else:
        option = "--set 'splits=[TRAIN,TEST]' with their names"
        change = f"keep the splits alone in {parent}, called train and test (or val)"
    if splits and not any(map(nested_folders, splits.values())):
        change += ", each with a folder for each class"
    return f"{change}, or give {option}; if all folders are classes, --set 'splits=[]' (in a study dataset.splits)"


def _likely_splits(folders: Sequence[Path]) -> dict[str, Path]:
    """Return which of the folders hold the training and the test split, as far as it can be known."""
    likely: dict[str | None, Path] = {}
    for folder in folders:
        likely.setdefault(likely_role(folder.name), folder)
    splits = {"train": likely.get("train"), "test": likely.get("test") or likely.get("validation")}
    for role, other in (("train", "test"), ("test", "train")):
        if splits[role] is None and (known := splits[other]) is not None:
            alike = [folder for folder in folders if folder != known and len(common_folders([known, folder])) > 1]
            splits[role] = alike[0] if len(alike) == 1 else None
    return {role: folder for role, folder in splits.items() if folder is not None}


def _option(splits: Sequence[str]) -> str:
    """Return the option of `nofrost prepare` that names these splits."""
    shown = ",".join(split if _PLAIN.fullmatch(split) else json.dumps(split, ensure_ascii=False) for split in splits)
    return "--set " + shlex.quote(f"splits=[{shown}]")
