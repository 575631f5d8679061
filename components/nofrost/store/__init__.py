"""A content-addressed store in the layout of DVC's cache, in a local folder or on S3."""

from nofrost.store.base import AlteredError, Leftover, MissingError, Store
from nofrost.store.pull import files_of, pull, sweep_pulls, verify
from nofrost.store.push import push
from nofrost.store.ref import Output, Ref
from nofrost.store.remote import default_store, open_store

__all__ = [
    "AlteredError",
    "Leftover",
    "MissingError",
    "Output",
    "Ref",
    "Store",
    "default_store",
    "files_of",
    "open_store",
    "pull",
    "push",
    "sweep_pulls",
    "verify",
]
