"""Open a store by its URL, which the environment or DVC's default remote may supply."""

import os
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from nofrost.errors import UserError, remark
from nofrost.store.base import Store
from nofrost.store.dvc_remote import Remote, default_remote, dvc_folder, remotes
from nofrost.store.local import LocalStore
from nofrost.store.location import Bucket, parse_location

VARIABLE = "NOFROST_STORE"
# What a remote of DVC may say about how it keeps objects that this package cannot do.
_BY_NAME = "keeps files by their names and versions, not by their content"
_ENCRYPTS = "encrypts objects with a key of its own"
_GRANTS = "gives objects permissions of their own"
_UNSUPPORTED_PLACE = {"version_aware": _BY_NAME, "worktree": _BY_NAME}
_UNSUPPORTED_BUCKET = {
    **dict.fromkeys(("sse_customer_algorithm", "sse_customer_key"), _ENCRYPTS),
    **dict.fromkeys(("acl", "grant_read", "grant_read_acp", "grant_write_acp", "grant_full_control"), _GRANTS),
}


def open_store(url: str, *, patient: bool = False) -> Store:
    """Return the store at `url`: "s3://bucket/prefix", a folder, or "file:///folder".

    An S3 store has the settings (endpoint, credentials, region, timeouts, ...) of the remote of DVC whose URL is
    `url` or lies above it, or those of the default remote if that is in the same bucket; what it does not set is as
    boto3 finds it. No request is sent yet.

    Args:
        patient: repeat requests to a server that is busy or cannot be reached for minutes, not for seconds: for work
            that nobody watches.

    Raises:
        UserError: `url` is none of these, DVC's remote has a setting that this package cannot follow, or what S3 needs
            is not installed.
    """
    location = parse_location(url)
    if isinstance(location, Path):
        return LocalStore(location)
    try:
        from nofrost.store.s3 import S3Store
    except ImportError as error:
        raise UserError(f"a store on S3 needs more ({error}): run pip install 'nofrost[store]'") from None
    return S3Store(location.name, location.prefix, _settings_of(location), patient=patient)


def default_store(folder: Path = Path()) -> str:
    """Return the URL of the store that a workspace uses: NOFROST_STORE, or DVC's default remote.

    Args:
        folder: the workspace or a folder in it.

    Raises:
        UserError: neither is set, or DVC cannot use its configuration.
    """
    if url := os.environ.get(VARIABLE):
        return url
    remote = default_remote(folder)
    if remote is None:
        raise UserError(f"no store is configured: set {VARIABLE}, or run `dvc remote add --default NAME URL`")
    _check_supported(remote, _UNSUPPORTED_PLACE)
    if remote.settings.get("shared"):
        remark(f"the setting 'shared' of DVC's remote {remote.name!r} is not read: folders get your umask")
    return remote.url


def _settings_of(location: Bucket) -> Mapping[str, Any]:
    """Return the settings of the remote of DVC that this place belongs to; none if it belongs to no remote.

    That is the remote whose URL is this place or the nearest one above it, otherwise the default one if it is in the
    same bucket.

    Raises:
        UserError: it belongs to several, and their settings differ; or they cannot be followed.
    """
    if dvc_folder(Path()) and not find_spec("dvc"):
        remark("DVC is not installed here: the settings of its remotes are not read")
        return {}
    ranks = [(rank, remote) for remote in remotes(Path()) if (rank := _nearness(remote, location)) is not None]
    if not ranks:
        return {}
    nearest = max(rank for rank, _ in ranks)
    candidates = sorted((remote for rank, remote in ranks if rank == nearest), key=lambda each: not each.is_default)
    first, *others = candidates
    if not first.is_default and any(other.settings != first.settings for other in others):
        names = " and ".join(repr(remote.name) for remote in candidates[:2])
        raise UserError(
            f"DVC's remotes {names} have the same URL, {first.url}, and other settings: make one of them the default "
            "one (`dvc remote default NAME`), or remove one"
        )
    is_there = _bucket_of(first) == location
    _check_supported(first, _UNSUPPORTED_BUCKET | (_UNSUPPORTED_PLACE if is_there else {}))
    return first.settings


def _nearness(remote: Remote, location: Bucket) -> int | None:
    """Return how near above a place a remote is: larger is nearer; None if the place does not belong to it."""
    place = _bucket_of(remote)
    if place is None or place.name != location.name:
        return None
    if not place.prefix or f"{location.prefix}/".startswith(f"{place.prefix}/"):
        return 1 + len(place.prefix)
    return 0 if remote.is_default else None


def _bucket_of(remote: Remote) -> Bucket | None:
    try:
        place = parse_location(remote.url)
    except UserError:
        return None
    return place if isinstance(place, Bucket) else None


def _check_supported(remote: Remote, unsupported: Mapping[str, str]) -> None:
    for key, what in unsupported.items():
        if remote.settings.get(key):
            raise UserError(
                f"DVC's remote {remote.name!r} {what} ({key}), which `nofrost store` cannot do: use `dvc push` and "
                "`dvc pull` there, or choose another store"
            )
