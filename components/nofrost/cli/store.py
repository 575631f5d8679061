"""`nofrost store`: push, pull and verify data by its content address."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from nofrost.cli.options import PATH, FiniteFloatRange, emit, json_option, open_store, store_option
from nofrost.errors import UserError, printable, remark

if TYPE_CHECKING:
    from nofrost.store import Ref


@click.group()
def store() -> None:
    """Push, pull, list and verify data by its content.

    The store is the one of `dvc push` and `dvc pull`. A ref names content: MD5[.dir][:SIZE[:FILES]], as dvc.lock has
    it. Credentials are those that AWS's tools find.
    """


@store.command("push")
@click.argument("paths", nargs=-1, required=True, type=PATH)
@store_option
@json_option
def store_push(paths: tuple[Path, ...], store_url: str | None, as_json: bool) -> None:
    """Push the files or folders PATHS and print the ref of each. Content that is in the store is not sent again.

    Example: nofrost store push data/dataset runs/sat/seed-0/train --store s3://bucket/nofrost
    """
    from nofrost.store import push

    opened = open_store(store_url)
    refs = {str(path): str(push(path, opened)) for path in paths}
    emit(refs, "\n".join(printable(f"{path}@{ref}") for path, ref in refs.items()), as_json)


@store.command("pull")
@click.argument("targets", nargs=-1, required=True, metavar="PATH@REF...")
@click.option(
    "--without-shards",
    is_flag=True,
    help="Leave out shards of images, which `nofrost train --data stream` fetches as it needs them.",
)
@store_option
@json_option
def store_pull(targets: tuple[str, ...], without_shards: bool, store_url: str | None, as_json: bool) -> None:
    """Download the content of each REF to its PATH, complete and verified, or not at all.

    An interrupted pull, when repeated, keeps what was downloaded. A PATH with other content is refused, unless that
    content is an output of a stage, which is replaced.

    Example: nofrost store pull data/dataset@0123456789abcdef0123456789abcdef.dir
    """
    from nofrost.store import pull

    pairs = [_path_and_ref(text) for text in targets]
    opened = open_store(store_url)
    for path, ref in pairs:
        pull(ref, path, opened, shards=not without_shards)
    paths = [str(path) for path, _ in pairs]
    emit(paths, "\n".join(map(printable, paths)), as_json)


@store.command("ls")
@click.argument("ref", required=False)
@store_option
@json_option
def store_ls(ref: str | None, store_url: str | None, as_json: bool) -> None:
    """Print md5 and path of each file of REF; without REF, the names of what pipeline runs wrote beside the data."""
    from nofrost.store import MissingError, Ref, files_of
    from nofrost.store.base import OBJECTS

    opened = open_store(store_url)
    if ref is None:
        # Not the content of saves, which is as many files as there are.
        names = [name for name in opened.names("nofrost/") if f"/{OBJECTS}" not in name]
        emit(names, "\n".join(map(printable, names)), as_json)
        return
    parsed = Ref.parse(ref)
    if not opened.sizes([parsed.md5]):
        raise MissingError(f"object {parsed.md5}", opened.url)
    files = files_of(parsed, opened)
    emit(files, "\n".join(printable(f"{files[path]}  {path}") for path in sorted(files)), as_json)


@store.command("verify")
@click.argument("refs", nargs=-1, required=True)
@store_option
@json_option
def store_verify(refs: tuple[str, ...], store_url: str | None, as_json: bool) -> None:
    """Read every object of REFS and compare it with its checksum; print which are missing, altered or cut off.

    Example: nofrost store verify 0123456789abcdef0123456789abcdef.dir
    """
    from nofrost.store import Ref, verify

    parsed = [Ref.parse(text) for text in refs]
    opened = open_store(store_url)
    for ref in parsed:
        verify(ref, opened)
    names = [str(ref) for ref in parsed]
    emit(names, "\n".join(f"{name}: whole" for name in names), as_json)


@store.command("gc")
@click.argument("folders", nargs=-1, type=PATH)
@click.option("--delete", is_flag=True, help="Delete it. Without this, what would be deleted is only printed.")
@click.option(
    "--older-than",
    "hours",
    type=FiniteFloatRange(min=0),
    default=24.0,
    show_default=True,
    metavar="HOURS",
    help="Age of uploads to S3, of saves, and of files on disks without locks, from which on no one continues them.",
)
@store_option
@json_option
def store_gc(folders: tuple[Path, ...], delete: bool, hours: float, store_url: str | None, as_json: bool) -> None:
    """Print or delete what killed pushes and tasks left in the store, and what killed pulls left in FOLDERS.

    That is unfinished files and uploads, probes and claims of swaps, and what killed tasks left of their saves; the
    newest save of a task is kept until no one has continued it for 30 days. Other objects are left alone: `dvc gc`
    deletes those that nothing needs. What a running process still writes is kept. A pull that is run again does all
    this by itself.

    Example: nofrost store gc --delete . runs
    """
    from nofrost.store import sweep_pulls
    from nofrost.tasks.stored_saves import sweep_saves

    opened = open_store(store_url)
    leftovers = opened.sweep(hours * 3600, delete=delete) + sweep_saves(opened, hours * 3600, delete=delete)
    leftovers += [leftover for folder in folders for leftover in sweep_pulls(folder, hours * 3600, delete=delete)]
    items = [
        {"name": each.name, "bytes": each.size, "deleted": delete and each.is_dead, "in_use": not each.is_dead}
        for each in leftovers
    ]
    action = "deleted" if delete else "would delete (give --delete)"
    lines = [
        f"{action if each.is_dead else 'kept, may be in use'}: {each.name} ({each.size or 0:,} bytes)"
        for each in leftovers
    ]
    emit(items, "\n".join(map(printable, lines)), as_json)
    if not leftovers:
        remark("nothing is left over")


def _path_and_ref(text: str) -> tuple[Path, Ref]:
    from nofrost.store import Ref

    path, _, ref = text.rpartition("@")
    if not path:
        raise UserError(f"{text!r} has no path: write PATH@REF, as `nofrost store push` prints it")
    return Path(path), Ref.parse(ref)
