"""The newest state of one object of Kubernetes, followed by a watch in a thread, whatever happens to the connection."""

from __future__ import annotations

import threading
from typing import Any

from nofrost.cluster.api.client import KubernetesApi
from nofrost.cluster.api.errors import KubernetesError
from nofrost.cluster.api.streams import CancelToken
from nofrost.errors import reason


class JobWatch:
    """Follows an object until :meth:`close`.

    A watch that ends continues from the last version that it gave; one whose version the server has forgotten (410)
    begins with a list, and an API server that is gone is asked again, with growing pauses.

    Args:
        path: of the collection.
        name: of the object.

    Attributes:
        changed: set when there is something new.
        newest: the object; None if it is gone.
        is_known: whether the server has said anything about it.
        error: what the server or the connection refuses; None as long as the watch lasts.
    """

    def __init__(self, api: KubernetesApi, path: str, name: str) -> None:
        self._api, self._path, self._name = api, path, name
        self._cancel = CancelToken()
        self._ended = threading.Event()
        self.changed = threading.Event()
        # A thread sets these without a lock: `newest` before `error` becomes None, so that a reader who sees no error
        # does not see an older object.
        self.newest: dict[str, Any] | None = None
        self.is_known = False
        self.error: KubernetesError | None = None
        threading.Thread(target=self._run, name="watch", daemon=True).start()

    def close(self) -> None:
        """End the thread, soon."""
        self._ended.set()
        self._cancel.cancel()

    def _run(self) -> None:
        backoff, version = self._api.backoff(), ""
        query = {"fieldSelector": f"metadata.name={self._name}"}
        while not self._ended.is_set():
            try:
                if not version:
                    page = self._api.request("GET", self._path, query)
                    version = str(page.get("metadata", {}).get("resourceVersion", ""))
                    self._give(next(iter(page.get("items", ())), None))
                quiet = True
                for kind, item in self._api.watch(self._path, self._cancel, **query, resourceVersion=version):
                    version = str(item.get("metadata", {}).get("resourceVersion", version))
                    self.error = None
                    if kind != "BOOKMARK":
                        self._give(None if kind == "DELETED" else item)
                    quiet = False
                    backoff.reset()
                self.error = None
                # A server that ends every watch at once is left in peace.
                if quiet:
                    self._ended.wait(backoff.next_s())
            except Exception as error:
                # Any other error, as of an answer that is no object of Kubernetes, must not end this thread unseen.
                refusal = error if isinstance(error, KubernetesError) else None
                if refusal is None or refusal.status == 410:
                    version = ""
                self.error = refusal or KubernetesError(f"to watch {self._path}", 0, reason(error))
                self._ended.wait(backoff.next_s(self.error.retry_after_s))

    def _give(self, item: dict[str, Any] | None) -> None:
        if item is not None and not item["metadata"]["uid"]:
            raise ValueError("an object without a uid")
        self.newest, self.is_known, self.error = item, True, None
        self.changed.set()
