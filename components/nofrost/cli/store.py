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
    """Add the options that all commands of the group share."""
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
    """Push data to the store of `dvc push` and `dvc pull` by its content address; pull, list and verify it.

    A ref names content: MD5[.dir][:SIZE[:FILES]], as in dvc.lock. Credentials are found as AWS's own tools find them.
    """


@store.command("push")
@click.argument("paths", nargs=-1, required=True, type=FOLDER)
@_of_a_store
def store_push(paths: tuple[Path, ...], url: str | None, as_json: bool) -> None:
    """Push the files or folders PATHS and print the ref of each. What the store holds already is not sent again.

    Example: nofrost store push data/dataset runs/sat/seed-0/train --store s3://bucket/nofrost
    """
    from nofrost.store import push

    opened = _open(url)
    refs = {str(path): str(push(path, opened)) for path in paths}
    click.echo(json.dumps(refs, indent=2) if as_json else "\n".join(f"{path}@{ref}" for path, ref in refs.items()))


@store.command("pull")
@click.argument("outputs", nargs=-1, required=True, metavar="PATH@REF...")
@_of_a_store
def store_pull(outputs: tuple[str, ...], url: str | None, as_json: bool) -> None:
    """Make each PATH the content of its REF, whole and verified or not at all.

    An interrupted pull continues where it was. A PATH that holds other content is left alone, unless a stage made it.

    Example: nofrost store pull data/dataset@0123456789abcdef0123456789abcdef.dir
    """
    from nofrost.store import pull

    targets = [_parse_target(text) for text in outputs]
    opened = _open(url)
    for path, ref in targets:
        pull(ref, path, opened)
    paths = [str(path) for path, _ in targets]
    click.echo(json.dumps(paths, indent=2) if as_json else "\n".join(paths))


@store.command("ls")
@click.argument("ref", required=False)
@_of_a_store
def store_ls(ref: str | None, url: str | None, as_json: bool) -> None:
    """Print md5 and path of each file of REF; without REF, the names of what pipeline runs left."""
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
    """Read every object of REFS and compare it with its checksum; name those that are missing, altered or cut off.

    Example: nofrost store verify 0123456789abcdef0123456789abcdef.dir
    """
    from nofrost.store import Ref, verify

    parsed = [Ref.parse(text) for text in refs]
    opened = _open(url)
    for ref in parsed:
        verify(ref, opened)
    verified = [str(ref) for ref in parsed]
    click.echo(json.dumps(verified, indent=2) if as_json else "\n".join(f"{ref}: whole" for ref in verified))


def _parse_target(text: str) -> tuple[Path, Ref]:
    """Return path and ref of PATH@REF."""
    from nofrost.store import Ref

    path, _, ref = text.rpartition("@")
    if not path:
        raise UserError(f"{text!r} does not say where to put it: write PATH@REF, as `nofrost store push` prints it")
    return Path(path), Ref.parse(ref)
