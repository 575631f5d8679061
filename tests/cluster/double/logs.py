"""Logs of containers: written by tests, read by requests, and gone with their pod or its machine."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from tests.cluster.double import refusals
from tests.cluster.double.objects import Objects, now
from tests.cluster.double.refusals import CutError, RefusedError
from tests.cluster.double.resources import NAMESPACE, PODS, Object

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")


@dataclass
class _Log:
    """Lines of bytes, each with its time; `has_ended` when the container has."""

    lines: list[tuple[str, bytes]] = field(default_factory=list)
    has_ended: bool = False


class Logs:
    """The logs of all containers, by pod (its uid), container, and how many containers have taken its place since.

    Attributes:
        lost_machines: values of `spec.nodeName` of pods whose kubelet, which alone has their logs, does not answer.
    """

    def __init__(self, objects: Objects) -> None:
        self.lost_machines: set[str] = set()
        self._objects = objects
        self._logs: dict[tuple[str, str, bool], _Log] = {}

    def write(self, pod: str, container: str, lines: tuple[str, ...], end: str) -> None:
        with self._objects.changed:
            log = self._of(self._objects.get(PODS, pod), container)
            log.lines += [(now(fraction=True), f"{line}{end}".encode()) for line in lines]
            self._objects.changed.notify_all()

    def end(self, pod: str, container: str) -> None:
        with self._objects.changed:
            self._of(self._objects.get(PODS, pod), container).has_ended = True
            self._objects.changed.notify_all()

    def restart(self, pod: str, container: str) -> None:
        """Begin an empty log; the one so far is that of the previous container."""
        with self._objects.changed:
            uid = self._objects.get(PODS, pod)["metadata"]["uid"]
            self._logs[uid, container, True] = self._logs.pop((uid, container, False))
            self._logs[uid, container, True].has_ended = True
            self._objects.changed.notify_all()

    def read(self, pod: Object, query: dict[str, str], is_open: Callable[[], bool]) -> Iterator[bytes]:
        """Return the lines of a log, also those to come where the query asks to follow it, as long as `is_open()`.

        Raises:
            RefusedError: there is no such log.
        """
        name, container = pod["metadata"]["name"], _container(pod, query)
        wants_previous = query.get("previous") == "true"
        statuses = pod.get("status", {}).get("containerStatuses", ())
        status = next((each for each in statuses if each["name"] == container), {})
        if not wants_previous and (not status or "waiting" in status.get("state", {"waiting": {}})):
            raise refusals.bad_request(
                f'container "{container}" in pod "{name}" is waiting to start: ContainerCreating'
            )
        if wants_previous and not status.get("restartCount"):
            raise refusals.bad_request(f'previous terminated container "{container}" in pod "{name}" not found')
        if self._is_lost(pod):
            url = f"https://10.0.0.7:10250/containerLogs/{NAMESPACE}/{name}/{container}"
            # No reason: the answer of the kubelet is missing, and the API server says only that.
            raise RefusedError(500, "", f'Get "{url}": dial tcp 10.0.0.7:10250: connect: no route to host')
        return self._lines(pod, self._of(pod, container, wants_previous), query, is_open)

    def _lines(self, pod: Object, log: _Log, query: dict[str, str], is_open: Callable[[], bool]) -> Iterator[bytes]:
        follows, has_times = query.get("follow") == "true", query.get("timestamps") == "true"
        # To the second, whatever fraction is given.
        since = query.get("sinceTime", "")[:19]
        number = max(0, len(log.lines) - int(query["tailLines"])) if "tailLines" in query else 0
        while is_open():
            with self._objects.changed:
                lines, has_ended = log.lines[number:], log.has_ended or not self._has(pod)
                if self._is_lost(pod):
                    raise CutError
                if not lines and follows and not has_ended and is_open():
                    self._objects.changed.wait()
            for stamp, line in lines:
                if stamp[:19] >= since:
                    yield f"{stamp} ".encode() + line if has_times else line
            number += len(lines)
            if not lines and (has_ended or not follows):
                return

    def _of(self, pod: Object, container: str, is_previous: bool = False) -> _Log:
        return self._logs.setdefault((pod["metadata"]["uid"], container, is_previous), _Log())

    def _has(self, pod: Object) -> bool:
        return pod["metadata"]["uid"] in {each["metadata"]["uid"] for each in self._objects.all(PODS)}

    def _is_lost(self, pod: Object) -> bool:
        return pod.get("spec", {}).get("nodeName") in self.lost_machines


def _container(pod: Object, query: dict[str, str]) -> str:
    name = pod["metadata"]["name"]
    containers = [each["name"] for each in pod.get("spec", {}).get("containers", ())]
    container = query.get("container") or (containers[0] if len(containers) == 1 else "")
    if container not in containers:
        raise refusals.bad_request(f"a container name must be specified for pod {name}, choose one of: {containers}")
    if "sinceTime" in query and not _TIME.fullmatch(query["sinceTime"]):
        raise refusals.bad_request(f'parsing time "{query["sinceTime"]}"')
    return str(container)
