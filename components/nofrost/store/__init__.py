"""A content-addressed store in the layout of DVC's cache, in a local folder or on S3."""

from nofrost.store.base import AlteredError, Leftover, MissingError, Store, SwapError, Version
from nofrost.store.lease import Lease, LeaseError, acquire_lease, find_lease
from nofrost.store.pointer import History, Pointer, Position
from nofrost.store.pull import files_of, pull, sweep_pulls, verify
from nofrost.store.push import push
from nofrost.store.ref import Output, Ref
from nofrost.store.releases import release_data, release_pointer, resolve_ref
from nofrost.store.remote import default_store, open_store

__all__ = [
    "AlteredError",
    "History",
    "Lease",
    "LeaseError",
    "Leftover",
    "MissingError",
    "Output",
    "Pointer",
    "Position",
    "Ref",
    "Store",
    "SwapError",
    "Version",
    "acquire_lease",
    "default_store",
    "files_of",
    "find_lease",
    "open_store",
    "pull",
    "push",
    "release_data",
    "release_pointer",
    "resolve_ref",
    "sweep_pulls",
    "verify",
]
