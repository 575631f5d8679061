"""Which of many objects a bucket holds, in few requests."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from itertools import islice
from typing import Any

from nofrost.store.s3_connect import Connection
from nofrost.store.threads import for_each

_PER_PAGE = 1000  # the most that S3 allows
_QUESTIONS_PER_PAGE = 20  # asking for so many objects one by one takes about as long as a page of the list


def sizes_of(keys: Collection[str], folder: str, bucket: str, connection: Connection, jobs: int) -> Mapping[str, int]:
    """Return the size in bytes of each of `keys` that is there.

    A page of the list answers a thousand questions; but where a bucket holds far more than is asked for, the list is
    the longer way. So pages are read only so far as they pay, and the rest is asked for one by one.

    Args:
        keys: names of objects, all of the form folder + 2 characters + "/" + the rest.
        folder: what they begin with, with "/" at its end.
    """
    pages = 1 + len(keys) // _PER_PAGE if len(keys) >= _QUESTIONS_PER_PAGE else 0
    sizes, rest = _listed(sorted(keys), folder, bucket, connection.client, pages=pages)
    groups = defaultdict(list)
    for key in rest:
        groups[key[: len(folder) + 3]].append(key)
    unlisted: list[str] = []

    def look(group: str) -> None:
        asked = groups[group]
        found, left = _listed(asked, group, bucket, connection.client, pages=len(asked) // _QUESTIONS_PER_PAGE)
        sizes.update(found)
        unlisted.extend(left)

    def ask(key: str) -> None:
        size = connection.requests.size(key)
        if size is not None:
            sizes[key] = size

    for_each(look, groups, jobs=jobs, done=lambda _: None)
    for_each(ask, unlisted, jobs=jobs, done=lambda _: None)
    return sizes


def _listed(keys: list[str], prefix: str, bucket: str, client: Any, *, pages: int) -> tuple[dict[str, int], list[str]]:
    """Read at most so many pages of the list for the sorted `keys`.

    Returns:
        The sizes of those that are there, and the keys that the list did not come to.
    """
    sizes: dict[str, int] = {}
    if not pages:
        return sizes, keys
    wanted, last = set(keys), ""
    start = keys[0][:-1]  # sorts just before the first
    listing = client.get_paginator("list_objects_v2").paginate(
        Bucket=bucket, Prefix=prefix, StartAfter=start, PaginationConfig={"PageSize": _PER_PAGE}
    )
    for page in islice(listing, pages):
        listed = page.get("Contents", ())
        sizes.update((item["Key"], item["Size"]) for item in listed if item["Key"] in wanted)
        last = listed[-1]["Key"] if page["IsTruncated"] else keys[-1]
        if last >= keys[-1]:
            break
    return sizes, [key for key in keys if key > last]
