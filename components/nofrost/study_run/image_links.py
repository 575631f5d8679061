"""Where the images of a study lie, and links to them in its folder: nothing is ever written to the images."""

import os
from collections.abc import Mapping
from pathlib import Path

from nofrost.config import DatasetSpec, Study, TestSetSpec
from nofrost.errors import UserError
from nofrost.files import make_folder
from nofrost.prepare import resolve_source


def datasets_of(study: Study) -> list[DatasetSpec]:
    """Return the datasets of a study."""
    return [study.dataset, *study.datasets.values()]


def sources_of(study: Study) -> set[str]:
    """Return the sources of a study, of datasets and test sets, whose images can lie elsewhere than it says."""
    specs: list[DatasetSpec | TestSetSpec] = [*datasets_of(study), *_test_sets_of(study)]
    return {spec.source for spec in specs if not Path(spec.path).is_absolute()}


def image_places(study: Study, places: Mapping[str, Path], downloads: Path | None) -> dict[str, Path]:
    """Return where images lie, by the paths that a study looks at.

    Args:
        places: where they lie by source; those of all others under the empty name. An entry of the place of the
            path above goes before the latter: ``/data/cifar10`` for ``data/source/cifar10`` where ``data/source`` is
            ``/data``.
        downloads: a folder for those that are not there, with a folder for each source; None where nothing is fetched.

    Raises:
        UserError: images of several places are looked for at one path.
    """
    found: dict[str, Path] = {}
    # A test set without a place of its own is looked for below that of the dataset.
    further: list[DatasetSpec | TestSetSpec]
    further = [spec for spec in _test_sets_of(study) if spec.source in places and not Path(spec.path).is_absolute()]
    for spec in sorted([*datasets_of(study), *further], key=lambda each: len(Path(each.path).parts)):
        place = Path(spec.path)
        if not place.is_absolute():
            default = downloads / spec.source if downloads else place
            place = places.get(spec.source) or _entry_above(spec.path, found) or places.get("") or default
            if downloads and isinstance(spec, DatasetSpec) and _lacks(spec, place):
                place = default
                make_folder(place)
        place = place.absolute()
        if found.setdefault(spec.path, place) != place:
            raise UserError(
                f"study {study.name} looks for images of several sources at {spec.path}: put them into one folder, "
                "and name that with --source PATH"
            )
    return found


def link_images(folder: Path, images: Mapping[str, Path], study: Study) -> None:
    """Let the paths in `folder` that a study looks at lead to the images, whatever they led to before.

    A path that another one lies below becomes a folder with a link to each file, since a link there would be written
    to the images themselves. So does a test set: DVC follows no link to a folder inside the one that it compares.

    Raises:
        UserError: something else lies in the way.
    """
    paths = {Path(os.path.normpath(path)): place for path, place in images.items() if not Path(path).is_absolute()}
    whole = {Path(os.path.normpath(spec.path)) for spec in datasets_of(study)}
    for path, place in sorted(paths.items(), key=lambda item: len(item[0].parts)):
        if ".." in path.parts:
            raise UserError(f"study {study.name}: {path} lies outside of its folder: give the whole path from /")
        _make_folder_in(folder, path.parent)
        here = folder / path
        below = {folder / other for other in paths if path in other.parents}
        if not place.exists():
            # Of a source that reads no files; DVC wants the folder even so.
            _remove_links(here)
            make_folder(here)
        elif place.is_dir() and (below or path not in whole):
            _remove_links(here)
            _link_files(here, place, below, frozenset())
        else:
            link(here, place)


def link(path: Path, target: Path) -> None:
    """Let `path` lead to `target`, whatever it led to before.

    Raises:
        UserError: it is no link, and no folder of links alone.
    """
    target = target.resolve()
    if path.is_symlink() and path.resolve() == target:
        return
    _remove_links(path)
    if path.exists():
        raise UserError(f"{path} is no link: it is in the way of one to {target}; move it, or choose another folder")
    path.symlink_to(target)


def _test_sets_of(study: Study) -> list[TestSetSpec]:
    return [spec for suite in study.suites.ood.values() for spec in suite.test_sets.values()]


def _entry_above(path: str, found: Mapping[str, Path]) -> Path | None:
    """Return what lies at `path` in the place of the path above it; None where nothing does."""
    for above in Path(path).parents:
        if str(above) in found:
            entry = found[str(above)] / Path(path).relative_to(above)
            return entry if entry.exists() else None
    return None


def _lacks(spec: DatasetSpec, place: Path) -> bool:
    """Return whether images that can be fetched are not in `place`."""
    if not spec.as_json().get("download"):
        return False
    here = DatasetSpec.model_validate({**spec.as_json(), "path": str(place), "download": False})
    return bool(resolve_source(here).absent())


def _make_folder_in(folder: Path, path: Path) -> None:
    """Make the folder `path` in `folder`, and follow no link to it."""
    for part in reversed([path, *path.parents]):
        if (folder / part).is_symlink() and part != Path():
            raise UserError(f"{folder / part} is a link, and images are to be linked in it: remove it")
    make_folder(folder / path)


def _link_files(path: Path, place: Path, leave: set[Path], above: frozenset[Path]) -> None:
    """Make a folder like `place`, with a link to each of its files, without what is to be left out or is there."""
    make_folder(path)
    above |= {place.resolve()}
    for entry in place.iterdir():
        here = path / entry.name
        if here in leave:
            continue
        if entry.is_dir():
            # A link to a folder above would have no end.
            if entry.resolve() not in above:
                _link_files(here, entry, leave, above)
        elif not os.path.lexists(here):
            here.symlink_to(entry)


def _remove_links(path: Path) -> None:
    """Remove a link, or all links in a folder, and the folders in it that are then empty; other files stay."""
    if path.is_symlink():
        path.unlink()
    elif path.is_dir():
        for entry in path.iterdir():
            _remove_links(entry)
        if not any(path.iterdir()):
            path.rmdir()
