"""Data releases: the newest data of a name, for runs that take whatever is newest when they start."""

from __future__ import annotations

from nofrost.errors import UserError
from nofrost.store.base import MissingError, Store, checked_word
from nofrost.store.pointer import Pointer, Position
from nofrost.store.pull import files_of
from nofrost.store.ref import Ref

# What stands for the newest data in the place of a ref.
LATEST = "latest:"


def release_pointer(store: Store, name: str) -> Pointer:
    """Return the pointer to the newest data of a name; the value of a position is ``{"ref": REF}``.

    Raises:
        UserError: `name` cannot be one.
    """
    return Pointer(store, f"nofrost/data/{checked_word(name, 'data')}/latest")


def release_data(store: Store, name: str, ref: Ref) -> tuple[Position, bool]:
    """Make `ref` the newest data of `name`; return its position, and whether it was not the newest already.

    Raises:
        UserError: the store does not hold all of it.
        SwapError: another process released data of this name at the same time.
    """
    pointer = release_pointer(store, name)
    check_complete(ref, store)
    current = pointer.read()
    if current and _ref(current, pointer).md5 == ref.md5:
        return current, False
    return pointer.move({"ref": str(ref)}, ref.md5, current.record if current else None), True


def resolve_ref(text: str, store: Store) -> Ref:
    """Return the ref that `text` is, or that of the newest data if it is ``latest:NAME``.

    Raises:
        UserError: it is neither, or there is no data of that name.
    """
    if not text.startswith(LATEST):
        return Ref.parse(text)
    name = text.removeprefix(LATEST)
    pointer = release_pointer(store, name)
    current = pointer.read()
    if current is None:
        raise UserError(f"{store.url} has no data named {name}: release some with `nofrost data release {name} REF`")
    return _ref(current, pointer)


def _ref(position: Position, pointer: Pointer) -> Ref:
    text = position.value.get("ref")
    if not isinstance(text, str):
        raise UserError(f"{pointer.name} in {pointer.store.url} holds no ref: find out what wrote it")
    return Ref.parse(text)


def check_complete(ref: Ref, store: Store) -> None:
    """Check that the store has every object of `ref`, without reading them."""
    md5s = {ref.md5, *(files_of(ref, store).values() if store.sizes([ref.md5]) and ref.is_dir else ())}
    if missing := md5s - set(store.sizes(md5s)):
        raise MissingError(f"object {min(missing)}", store.url)
