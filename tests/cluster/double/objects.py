"""The objects of a cluster with their versions and changes, and the collector of what deleted objects own."""

from __future__ import annotations

import copy
import threading
import uuid
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from tests.cluster.double import refusals
from tests.cluster.double.resources import NAMESPACE, Object, Resource

# Of the server before the client's.
CLOCK_AHEAD = timedelta(0)


class Change(NamedTuple):
    """A change of an object.

    Attributes:
        kind: ADDED, MODIFIED or DELETED.
        collection: path of its collection.
    """

    version: int
    kind: str
    collection: str
    item: Object


class Objects:
    """All objects; what is returned is a copy.

    Attributes:
        changed: held while objects or logs are read or changed; notified of each change.
        changes: all since `forgotten`, the oldest first.
        version: of the last change; objects of all kinds share the numbers, as in etcd.
        forgotten: a watch from an earlier version has expired.
    """

    def __init__(self) -> None:
        self.changed = threading.Condition(threading.RLock())
        self.changes: list[Change] = []
        self.version = self.forgotten = 100
        self._items: dict[tuple[str, str], Object] = {}

    def get(self, resource: Resource, name: str) -> Object:
        """Return an object.

        Raises:
            RefusedError: there is none.
        """
        with self.changed:
            if (resource.path, name) not in self._items:
                raise refusals.not_found(resource, name)
            return copy.deepcopy(self._items[resource.path, name])

    def all(self, resource: Resource) -> list[Object]:
        """Return the objects of a kind, by their names."""
        with self.changed:
            paths = sorted(key for key in self._items if key[0] == resource.path)
            return [copy.deepcopy(self._items[path]) for path in paths]

    def create(self, resource: Resource, item: Object) -> Object:
        """Store a new object with the metadata that the server gives it."""
        with self.changed:
            metadata, name = item["metadata"], item["metadata"]["name"]
            if (resource.path, name) in self._items:
                raise refusals.already_exists(resource, name)
            own = {"namespace": NAMESPACE, "uid": str(uuid.uuid4()), "generation": 1}
            own["creationTimestamp"] = metadata.get("creationTimestamp") or now()
            return self._store("ADDED", resource.path, item | {"metadata": {**metadata, **own}})

    def replace(self, resource: Resource, item: Object) -> Object:
        """Store another content of an object."""
        with self.changed:
            return self._store("MODIFIED", resource.path, item)

    def delete(self, resource: Resource, name: str) -> Object | None:
        """Delete an object and what it owns; return it if its finalizers hold it."""
        with self.changed:
            return self._delete(resource.path, name)

    def remove(self, resource: Resource, name: str) -> None:
        """Delete an object whatever finalizers it has, and what it owns."""
        with self.changed:
            self._remove(resource.path, name)

    def announce(self, resource: Resource, item: Object) -> None:
        """Let watches see a change that no object has."""
        with self.changed:
            self.version += 1
            self._add_change("MODIFIED", resource.path, item)

    def forget_changes(self) -> None:
        """Forget all versions but the present one."""
        with self.changed:
            self.version += 1
            self.forgotten = self.version
            self.changes.clear()
            self.changed.notify_all()

    def _store(self, kind: str, collection: str, item: Object) -> Object:
        self.version += 1
        item["metadata"]["resourceVersion"] = str(self.version)
        self._items[collection, item["metadata"]["name"]] = item
        self._add_change(kind, collection, item)
        return copy.deepcopy(item)

    def _delete(self, collection: str, name: str) -> Object | None:
        item = copy.deepcopy(self._items[collection, name])
        if not item["metadata"].get("finalizers"):
            self._remove(collection, name)
            return None
        item["metadata"].setdefault("deletionTimestamp", now())
        item["metadata"]["deletionGracePeriodSeconds"] = 0
        return self._store("MODIFIED", collection, item)

    def _remove(self, collection: str, name: str) -> None:
        item = self._items.pop((collection, name))
        self.version += 1
        item["metadata"]["resourceVersion"] = str(self.version)
        self._add_change("DELETED", collection, item)
        self._collect(item["metadata"]["uid"])

    def _collect(self, owner: str) -> None:
        """Delete what has no other owner than this one, as the garbage collector does soon afterwards."""
        for (collection, name), item in list(self._items.items()):
            owners = item["metadata"].get("ownerReferences") or []
            others = [each for each in owners if each["uid"] != owner]
            if owners and not others:
                self._delete(collection, name)
            elif len(others) < len(owners):
                metadata = {**item["metadata"], "ownerReferences": others}
                self._store("MODIFIED", collection, {**item, "metadata": metadata})

    def _add_change(self, kind: str, collection: str, item: Object) -> None:
        self.changes.append(Change(self.version, kind, collection, copy.deepcopy(item)))
        self.changed.notify_all()


def now(*, fraction: bool = False) -> str:
    """Return the present time as Kubernetes writes it; as in logs of containers with nine digits of the second."""
    time = datetime.now(UTC) + CLOCK_AHEAD
    return time.strftime("%Y-%m-%dT%H:%M:%S") + (f".{time.microsecond:06}000Z" if fraction else "Z")
