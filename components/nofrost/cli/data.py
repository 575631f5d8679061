"""`nofrost data`: cards of published datasets, verification, and releases of data for runs that take the newest."""

from __future__ import annotations

from pathlib import Path

import click

from nofrost.cli.options import aligned, emit, json_option, open_store, store_option
from nofrost.errors import UserError, remark


@click.group()
def data() -> None:
    """Show published datasets, verify prepared data, and release data under a name that scheduled runs read."""


@data.command("list")
@json_option
def data_list(as_json: bool) -> None:
    """Print the published datasets that NoFrost knows, with their numbers of images and classes.

    Those without a source are described, but cannot be prepared by name yet.
    """
    from nofrost.data.dataset_card import list_cards, load_card

    cards = {name: load_card(name) for name in list_cards()}
    heads = ("name", "title", "source", "images", "classes", "pixels")
    rows = [
        (name, card.title, card.source or "-", card.counts(), str(card.classes), card.pixels())
        for name, card in cards.items()
    ]
    emit({name: card.as_json() for name, card in cards.items()}, aligned([heads, *rows]), as_json)


@data.command("show")
@click.argument("name")
@json_option
def data_show(name: str, as_json: bool) -> None:
    """Print the card of a published dataset: what it holds, its terms, its files with checksums, and its quirks.

    Example: nofrost data show cifar10
    """
    from nofrost.data.dataset_card import load_card

    card = load_card(name)
    facts = {
        "title": card.title,
        "about": card.about,
        "source": card.source or "none: it cannot be prepared by name yet",
        "test set of": card.test_of,
        "images": card.counts(),
        "classes": str(card.classes),
        "pixels": card.pixels(),
        "licence": card.licence,
        "page": card.url,
        "cite": card.citation,
    }
    lines = [aligned([(key, value) for key, value in facts.items() if value])]
    files = [
        (file.name, f"{file.size:,} bytes" if file.size else "", ":".join(file.checksum or ()), file.url or "")
        for file in card.files
    ]
    if files:
        lines += ["", "files", aligned([("", *row) for row in files])]
    if card.quirks:
        lines += ["", "quirks", *(f"  {quirk}" for quirk in card.quirks)]
    emit({"name": name, **card.as_json()}, "\n".join(lines), as_json)


@data.command("verify")
@click.argument("folder", metavar="DATASET", type=click.Path(path_type=Path))
@json_option
def data_verify(folder: Path, as_json: bool) -> None:
    """Look for every fault of DATASET, an output of prepare, prepare-test-sets or augment, and print a line for each.

    All files are read and all photographs decoded: damaged, missing and surplus files and records, labels, counts and
    statistics of the training images that are not those of the manifest. Exits with 2 if there is a fault.

    Example: nofrost data verify data/dataset
    """
    from nofrost.verify import verify

    found = verify(folder)
    facts = {"dataset": str(folder), "images": found.images, "faults": found.lines}
    emit(facts, "\n".join(found.lines) or f"{folder}: {found.images:,} images, no fault", as_json)
    if found.lines:
        count = "1 fault" if len(found.lines) == 1 else f"{len(found.lines):,} faults"
        raise UserError(f"{folder} has {count}: make it again with the stage that wrote it, or pull it again")


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
