"""`nofrost data`: release data under a name, so that runs that take the newest find it."""

from __future__ import annotations

import click

from nofrost.cli.options import aligned, emit, json_option, open_store, store_option
from nofrost.errors import remark


@click.group()
def data() -> None:
    """Release data under a name: what scheduled runs take that ask for `latest:NAME`."""


@data.command("release")
@click.argument("name")
@click.argument("ref")
@store_option
@json_option
def data_release(name: str, ref: str, store_url: str | None, as_json: bool) -> None:
    """Make REF the newest data of NAME. All of it has to be in the store, as `nofrost store push` leaves it there.

    The PATH@REF that `nofrost store push` prints is taken too; the path does not count.

    Runs that have begun keep the data that they began with. To go back, release the earlier REF again. If another
    process releases data of NAME at the same time, one of the two succeeds and the other is told.

    Example: nofrost data release photos 0123456789abcdef0123456789abcdef.dir:1048576:12
    """
    from nofrost.store import Ref, release_data

    position, is_new = release_data(open_store(store_url), name, Ref.parse(ref.rpartition("@")[2]))
    released = position.value["ref"]
    emit({"name": name, "ref": released, "new": is_new}, f"latest:{name} is {released}", as_json)
    if not is_new:
        remark(f"it has been since {position.moved:%Y-%m-%dT%H:%M:%SZ}")


@data.command("history")
@click.argument("name")
@store_option
@json_option
def data_history(name: str, store_url: str | None, as_json: bool) -> None:
    """Print what the newest data of NAME is and has been: when it was released, and its ref; the newest first."""
    from nofrost.store import release_pointer

    store = open_store(store_url)
    positions = release_pointer(store, name).history().positions
    releases = [
        {"released": f"{each.moved:%Y-%m-%dT%H:%M:%SZ}", "ref": str(each.value.get("ref"))} for each in positions
    ]
    emit(releases, aligned([list(each.values()) for each in releases]), as_json)
    if not releases:
        remark(f"no data of the name {name} has been released to {store.url}")
