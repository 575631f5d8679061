"""`nofrost store`: data by its content address, in the store that DVC uses too."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from nofrost.cli.options import FOLDER
from nofrost.errors import UserError

if TYPE_CHECKING:
    from nofrost.store import Ref, Store

F = TypeVar("F", bound=Callable[..., Any])


def _of_a_store(command: F) -> F:
    """Add the options that all commands of the group have."""
    as_json = click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
    url = click.option(
        "--store",
        "url",
        metavar="URL",
        help="s3://BUCKET/PREFIX or a folder. Default: NOFROST_STORE, else DVC's default remote.",
    )
    return url(as_json(command))


def _open(url: str | None) -> Store:
    from nofrost.store import default_store, open_store

    return open_store(url or default_store())


@click.group()
def store() -> None:
    """Store data by its content address, fetch it, list it, verify it, where `dvc push` and `dvc pull` do.

    A ref names content: MD5[.dir][:SIZE[:FILES]], as dvc.lock has it. Credentials are those that AWS's tools find.
    """


@store.command("push")
@click.argument("paths", nargs=-1, required=True, type=FOLDER)
@_of_a_store
def store_push(paths: tuple[Path, ...], url: str | None, as_json: bool) -> None:
    """Store the files or folders PATHS and print the ref of each. What is there already is not sent again.

    Example: nofrost store push data/dataset runs/sat/seed-0/train --store s3://bucket/nofrost
    """
    from nofrost.store import push

    opened = _open(url)
    refs = {str(path): str(push(path, opened)) for path in paths}
    click.echo(json.dumps(refs, indent=2) if as_json else "\n".join(f"{path}@{ref}" for path, ref in refs.items()))


@store.command("pull")
@click.argument("places", nargs=-1, required=True, metavar="PATH@REF...")
@_of_a_store
def store_pull(places: tuple[str, ...], url: str | None, as_json: bool) -> None:
    """Make each PATH the content of its REF, whole and verified or not at all.

    What has arrived when it is interrupted need not come again. A PATH that holds something else is left alone, unless
    that is an output of a stage.

    Example: nofrost store pull data/dataset@0123456789abcdef0123456789abcdef.dir
    """
    from nofrost.store import pull

    wanted = [_place(text) for text in places]
    opened = _open(url)
    for path, ref in wanted:
        pull(ref, path, opened)
    paths = [str(path) for path, _ in wanted]
    click.echo(json.dumps(paths, indent=2) if as_json else "\n".join(paths))


@store.command("ls")
@click.argument("ref", required=False)
@_of_a_store
def store_ls(ref: str | None, url: str | None, as_json: bool) -> None:
    """Print md5 and path of each file of REF; without REF, the names of what runs of the pipeline left."""
    from nofrost.store import Ref, files_of

    opened = _open(url)
    if ref is None:
        names = opened.names("nofrost/")
        click.echo(json.dumps(names, indent=2) if as_json else "\n".join(names), nl=bool(names) or as_json)
        return
    files = files_of(Ref.parse(ref), opened)
    click.echo(
        json.dumps(files, indent=2) if as_json else "\n".join(f"{files[path]}  {path}" for path in sorted(files))
    )


@store.command("verify")
@click.argument("refs", nargs=-1, required=True)
@_of_a_store
def store_verify(refs: tuple[str, ...], url: str | None, as_json: bool) -> None:
    """Read every object of REFS and compare it with its checksum; say which are missing, altered or cut off.

    Example: nofrost store verify 0123456789abcdef0123456789abcdef.dir
    """
    from nofrost.store import Ref, verify

    wanted = [Ref.parse(text) for text in refs]
    opened = _open(url)
    for ref in wanted:
        verify(ref, opened)
    said = [str(ref) for ref in wanted]
    click.echo(json.dumps(said, indent=2) if as_json else "\n".join(f"{ref}: whole" for ref in said))


def _place(text: str) -> tuple[Path, Ref]:
    """Return path and ref of PATH@REF."""
    from nofrost.store import Ref

    path, _, ref = text.rpartition("@")
    if not path:
        raise UserError(f"{text!r} does not say where to: write PATH@REF, as `nofrost store push` prints it")
    return Path(path), Ref.parse(ref)
