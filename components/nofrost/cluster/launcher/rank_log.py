"""The log of rank 0 of a training job, followed in a thread: shown and stored, no line lost and none twice.

Follows from one pod to the next one when the job starts again. The connection may break anywhere.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from nofrost.cluster.api.client import KubernetesApi
from nofrost.cluster.api.errors import KubernetesError
from nofrost.cluster.api.streams import CancelToken
from nofrost.cluster.job.kinds import JobKind
from nofrost.cluster.launcher.state import Object, rank_zero
from nofrost.cluster.outcome.log_lines import LogPosition, masked, text_of
from nofrost.cluster.outcome.stored_log import StoredLog
from nofrost.masking import secret_values

# A log that is silent for longer is asked for again.
_SILENCE_S = 300.0
# At the end, for the kubelet of a pod, which alone has its log: that of a lost machine never answers.
_KUBELET_S = 20.0
_TAIL = 20


class RankLog:
    """Follows the log of rank 0 until :meth:`finish`.

    Args:
        kind, name: of the job.
        stored: where lines are kept.
        show: is called with each new line.
        interval_s: between two looks for a new pod.
    """

    def __init__(
        self,
        api: KubernetesApi,
        kind: JobKind,
        name: str,
        stored: StoredLog,
        show: Callable[[str], object],
        interval_s: float,
    ) -> None:
        self._api, self._kind, self._name = api, kind, name
        self._stored, self._show, self._interval_s = stored, show, interval_s
        self._position: LogPosition = stored.position
        self._rest = b""
        self._finished: set[str] = set()
        self._restarts: dict[str, int] = {}
        self._ends_s, self._is_complete = math.inf, False
        self._finishing, self._cancel, self._gives_up = threading.Event(), CancelToken(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def finish(self, patience_s: float) -> bool:
        """Read and store what there is by now, and end; no longer than `patience_s`.

        Returns:
            Whether all that there was is in the store.
        """
        self._ends_s = time.monotonic()
        self._finishing.set()
        self._cancel.cancel()
        self._thread.join(patience_s)
        self._gives_up.set()
        return self._is_complete

    def _run(self) -> None:
        backoff = self._api.backoff()
        while True:
            is_last = self._finishing.is_set()
            refusal, has_pods = False, False
            try:
                page = self._api.request("GET", self._api.pods_path, {"labelSelector": self._kind.selector(self._name)})
                has_pods = True
                self._read_all(rank_zero(page.get("items", ())), is_last)
                pause_s = self._interval_s
                backoff.reset()
            except KubernetesError as error:
                refusal, pause_s = True, backoff.next_s(error.retry_after_s)
                is_away = has_pods and time.monotonic() - self._ends_s > _KUBELET_S
                if is_last and error.is_transient and not is_away:
                    is_last = self._gives_up.wait(pause_s)
            if is_last:
                self._take_rest()
                self._is_complete = self._stored.flush() and not refusal
                return
            self._finishing.wait(pause_s)

    def _read_all(self, pods: list[Object], is_last: bool) -> None:
        """Read the pods that have not been read to their ends, the oldest first."""
        uids = [pod["metadata"]["uid"] for pod in pods]
        # Older ones than the one that was read last are read.
        begin = uids.index(self._position.uid) if self._position.uid in uids else 0
        for pod in pods[begin:]:
            uid = pod["metadata"]["uid"]
            status = self._container(pod)
            if uid in self._finished or not status:
                continue
            if uid != self._position.uid:
                if not status.get("restartCount") and status.get("state", {}).get("waiting"):
                    return
                self._take_rest()
                self._position = LogPosition(uid)
                self._stored.begin(pod["metadata"]["name"], uid)
            restarts = int(status.get("restartCount") or 0)
            if restarts > self._restarts.get(uid, 0):
                self._read(pod, previous="true")
                self._restarts[uid] = restarts
            has_ended = "terminated" in status.get("state", {})
            if "waiting" not in status.get("state", {}):
                follows = not has_ended and not is_last
                self._read(pod, follow="true" if follows else "")
            if has_ended and pod.get("status", {}).get("phase") in ("Succeeded", "Failed"):
                self._take_rest()
                self._finished.add(uid)

    def _read(self, pod: Object, **query: str) -> None:
        """Read the log of a pod from the last second on."""
        follows = bool(query.get("follow"))
        query |= {"container": self._container(pod).get("name", ""), "timestamps": "true"}
        query["sinceTime"] = self._position.second
        path = f"{self._api.pods_path}/{pod['metadata']['name']}/log"
        cancel = self._cancel if follows else CancelToken()
        self._position.begin_again()
        # What was cut comes again, whole.
        self._rest = b""
        try:
            with self._api.stream(path, f"the log of {pod['metadata']['name']}", query, _SILENCE_S, cancel) as lines:
                secrets = secret_values()
                for line in (masked(each, secrets) for each in lines):
                    if not line.endswith(b"\n"):
                        self._rest = line
                    elif self._position.take(line[:-1]):
                        self._new(line[:-1])
        except KubernetesError as error:
            # The container has not started, or its log is gone.
            if error.status not in (400, 404):
                raise

    def _take_rest(self) -> None:
        """Take what stood after the last line break when the container ended."""
        if self._rest and self._position.take(self._rest):
            self._new(self._rest)
        self._rest = b""

    def _new(self, line: bytes) -> None:
        self._stored.append(line)
        self._show(text_of(line))

    def _container(self, pod: Object) -> dict[str, Any]:
        """Return the status of the container that trains; empty if there is none yet."""
        statuses = pod.get("status", {}).get("containerStatuses") or ()
        named = [status for status in statuses if status.get("name") == self._kind.container]
        return dict(next(iter([*named, *statuses]), {}))


def tail(api: KubernetesApi, pod: str) -> list[str]:
    """Return the last lines of the log of any pod; none where the server does not give them."""
    path = f"{api.pods_path}/{pod}/log"
    with (
        suppress(KubernetesError),
        api.stream(path, f"the log of {pod}", {"tailLines": str(_TAIL)}, _KUBELET_S, CancelToken()) as lines,
    ):
        return [masked(line).decode(errors="replace").rstrip("\n") for line in lines]
    return []
