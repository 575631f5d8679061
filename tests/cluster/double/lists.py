"""Lists of objects by pages, and watches of what changes in them.

Source: https://kubernetes.io/docs/reference/using-api/api-concepts/
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

from tests.cluster.double import refusals
from tests.cluster.double.objects import Objects
from tests.cluster.double.refusals import RefusedError
from tests.cluster.double.resources import Object, Resource


def page(objects: Objects, resource: Resource, query: dict[str, str]) -> Object:
    """Return a page of the objects that the selectors of a query choose."""
    chosen = _selector(resource, query)
    with objects.changed:
        items = [item for item in objects.all(resource) if chosen(item)]
        version = str(objects.version)
    begin, metadata = int(query.get("continue") or 0), {"resourceVersion": version}
    end = begin + int(query["limit"]) if "limit" in query else len(items)
    if end < len(items):
        metadata |= {"continue": str(end), "remainingItemCount": str(len(items) - end)}
    if not resource.group:
        # Of what is built in, a list says its kind once.
        items = [{key: item[key] for key in item if key not in ("kind", "apiVersion")} for item in items]
    kind = {"kind": f"{resource.kind}List", "apiVersion": resource.api_version}
    return {**kind, "metadata": metadata, "items": items[begin:end]}


def watch(
    objects: Objects, resource: Resource, query: dict[str, str], bookmark_s: float, is_open: Callable[[], bool]
) -> Iterator[bytes]:
    """Return the lines of a watch, as long as `is_open()`; without a version it begins with what there is."""
    chosen = _selector(resource, query)
    version = int(query.get("resourceVersion") or 0)
    if version and version < objects.forgotten:
        return iter([_line("ERROR", _expired(f"too old resource version: {version}"))])
    return _changes(objects, resource, version, chosen, query, bookmark_s, is_open)


def _changes(
    objects: Objects,
    resource: Resource,
    version: int,
    chosen: Callable[[Object], bool],
    query: dict[str, str],
    bookmark_s: float,
    is_open: Callable[[], bool],
) -> Iterator[bytes]:
    end = time.monotonic() + int(query.get("timeoutSeconds") or 1800)
    has_bookmarks = query.get("allowWatchBookmarks") == "true"
    bookmark = time.monotonic() + bookmark_s if has_bookmarks else end
    if not version:
        with objects.changed:
            version, items = objects.version, objects.all(resource)
        yield from (_line("ADDED", item) for item in items if chosen(item))
    while (now := time.monotonic()) < end and is_open():
        with objects.changed:
            if version < objects.forgotten:
                yield _line("ERROR", _expired("the watch is too old"))
                return
            changes = [change for change in objects.changes if change.version > version]
            if not changes and is_open():
                objects.changed.wait(min(end, bookmark) - now)
        for change in changes:
            version = change.version
            if change.collection == resource.path and chosen(change.item):
                yield _line(change.kind, change.item)
        if has_bookmarks and time.monotonic() >= bookmark:
            bookmark = time.monotonic() + bookmark_s
            metadata = {"resourceVersion": str(version), "creationTimestamp": None}
            item = {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": metadata}
            yield _line("BOOKMARK", item)


def _expired(message: str) -> Object:
    return RefusedError(410, "Expired", message).status()


def _line(kind: str, item: Object) -> bytes:
    return json.dumps({"type": kind, "object": item}).encode() + b"\n"


def _selector(resource: Resource, query: dict[str, str]) -> Callable[[Object], bool]:
    """Return what tells whether an object is chosen by the selectors of labels and fields of a query."""
    labels, fields = {}, {}
    for text in filter(None, query.get("labelSelector", "").split(",")):
        match = re.fullmatch(r"([\w./-]+)(?:==?([\w.-]*))?", text)
        if not match:
            raise refusals.bad_request(f"unable to parse requirement: {text}")
        labels[match[1]] = match[2]
    for text in filter(None, query.get("fieldSelector", "").split(",")):
        key, _, value = text.partition("=")
        if key not in ("metadata.name", "metadata.namespace", *resource.fields):
            raise refusals.bad_request(f'field label not supported: "{key}"')
        fields[key] = value

    def chosen(item: Object) -> bool:
        has = item["metadata"].get("labels") or {}
        if not all(key in has and value in (None, has[key]) for key, value in labels.items()):
            return False
        return all(_field(item, key) == value for key, value in fields.items())

    return chosen


def _field(item: Any, key: str) -> str:
    for part in key.split("."):
        item = item.get(part) if isinstance(item, dict) else None
    return str(item or "")
