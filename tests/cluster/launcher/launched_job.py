"""A job on the double of the API server: its launcher in a thread, and what its operator would do, step by step."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from nofrost.cluster.api.client import KubernetesApi
from nofrost.cluster.api.connection import Connection
from nofrost.cluster.api.errors import Backoff
from nofrost.cluster.job.identity import run_of
from nofrost.cluster.job.kinds import JobKind
from nofrost.cluster.launcher.follower import TaskError
from nofrost.cluster.launcher.launch import launch
from nofrost.cluster.launcher.time_limits import Limits
from nofrost.cluster.outcome.job_result import JobResult, write_result
from nofrost.cluster.outcome.stored_log import job_output_name
from nofrost.store import open_store
from tests.cluster.double.api_server import TOKEN, ApiServer
from tests.cluster.double.resources import EVENTS, NAMESPACE, PODS, PYTORCHJOBS, RUNTIMES, TRAINJOBS, Object
from tests.cluster.outcome.pieces import stored_lines

NAME = "nofrost-sat-0-0123456789"
OUTPUT = "runs/sat/seed-0/train@0123456789abcdef0123456789abcdef.dir:1:1"
LIMITS = Limits(
    deadline_s=60, queue_timeout_s=60, interval_s=0.02, start_s=20, operator_s=20, outage_s=20, deletion_s=20, log_s=20
)
WAIT_S = 60.0


def api_of(
    server: ApiServer,
    retry_for_s: float = 20.0,
    backoff: Callable[[], Backoff] = lambda: Backoff(0.005, 0.05),
    denied_s: float = 0.0,
) -> KubernetesApi:
    """A client with pauses of milliseconds."""
    connection = Connection(server.url, NAMESPACE, lambda: f"Bearer {TOKEN}", {})
    return KubernetesApi(connection, retry_for_s, backoff, denied_s)


def wait_until(condition: Callable[[], Any]) -> Any:
    """Wait until `condition()` is true, and return its value."""
    end = time.monotonic() + WAIT_S
    while not (value := condition()):
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.005)
    return value


class LaunchedJob:
    """A job of two nodes.

    Attributes:
        name: of the job.
        shown: the lines of rank 0 that the launcher showed.
        recorded: the error that the job's task has recorded.
        retry_for_s, denied_s: of the launcher's client.
    """

    def __init__(self, server: ApiServer, kind: JobKind, store: Path) -> None:
        self.server, self.kind, self.store = server, kind, open_store(str(store))
        self.resource = {"PyTorchJob": PYTORCHJOBS, "TrainJob": TRAINJOBS}[kind.kind]
        self.is_v1 = kind.kind == "PyTorchJob"
        self.container = "pytorch" if self.is_v1 else "node"
        self.name, self.shown = NAME, list[str]()
        self.retry_for_s, self.denied_s = 20.0, 0.0
        self.recorded: TaskError | None = None
        self._threads = ThreadPoolExecutor(4)
        if not self.is_v1:
            server.add(RUNTIMES, "nofrost-torch", spec={})

    def body(self, *, spec: str = "a" * 64, run: str = "run-1", owner: str = "launcher-1") -> Object:
        """The body of the request that creates it, as small as its definition allows.

        Its owner is the pod of that name, where there is one.
        """
        env = [{"name": "NOFROST_RUN_ID", "value": run}]
        if self.is_v1:
            pod = {"containers": [{"name": self.container, "image": "nofrost-train", "env": env}]}
            own: Object = {"runPolicy": {}, "pytorchReplicaSpecs": {"Master": {"template": {"spec": pod}}}}
        else:
            own = {"runtimeRef": {"kind": "TrainingRuntime", "name": "nofrost-torch"}, "trainer": {"env": env}}
        has_pod = owner in self.server.names(PODS)
        uid = self.server.find(PODS, owner)["metadata"]["uid"] if has_pod else f"uid-of-{owner}"
        return {
            "apiVersion": self.resource.api_version,
            "kind": self.kind.kind,
            "metadata": {
                "name": self.name,
                "namespace": NAMESPACE,
                "labels": {"nofrost/run": run},
                "annotations": {"nofrost/spec": spec},
                "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": owner, "uid": uid}],
            },
            "spec": own,
        }

    def add(self, body: Object | None = None, **metadata: Any) -> None:
        """Let the job be there before its launcher is, with more metadata than its body has."""
        body = body or self.body()
        content = {**body["metadata"], **metadata}
        self.server.add(self.resource, content.pop("name"), metadata=content, spec=body["spec"])

    def launch(self, body: Object | None = None, **limits: float) -> str:
        """Launch it in this thread."""
        return launch(
            body or self.body(),
            self.kind,
            2,
            api=api_of(self.server, self.retry_for_s, denied_s=self.denied_s),
            store=self.store,
            limits=replace(LIMITS, **limits),
            recorded=self.read_recorded,
            show=self.shown.append,
        )

    def read_recorded(self, run: str, since: datetime) -> TaskError | None:
        assert run == "run-1"
        assert since.tzinfo
        return self.recorded

    def start(self, body: Object | None = None, **limits: float) -> Future[str]:
        """Launch it in another thread, and wait until it is there."""
        launched = self._threads.submit(self.launch, body, **limits)
        wait_until(lambda: self.is_there or launched.done())
        return launched

    def end(self) -> None:
        self._threads.shutdown(wait=False)

    @property
    def is_there(self) -> bool:
        return bool(self.server.names(self.resource))

    @property
    def created(self) -> int:
        """How many jobs were created."""
        return self.server.count("POST", f"/{self.resource.plural}")

    def wait_for_looks(self, count: int = 6) -> None:
        """Wait until the launcher has asked for the pods so many times more, as it does at each look.

        While no log is followed, the thread of the log asks for them as well, about as often.
        """
        looks = self.server.count("GET", PODS.path)
        wait_until(lambda: self.server.count("GET", PODS.path) >= looks + count)

    def let_pass(self, seconds: float) -> None:
        """Let time pass in which the launcher looks: what lasts for so long has to be no reason to end."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.wait_for_looks()

    def is_owned_by(self, owner: str) -> bool:
        (reference,) = self.server.find(self.resource, self.name)["metadata"]["ownerReferences"]
        return bool(reference["name"] == owner)

    def warn(self, of: str, reason: str, message: str, *, age_s: float = 0.0, kind: str = "") -> None:
        """Add a warning about an object, which is the job or what its operator makes of it."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - age_s))
        involved = {"kind": kind or self.kind.kind, "namespace": NAMESPACE, "name": of}
        event = {"involvedObject": involved, "type": "Warning", "reason": reason, "message": message}
        name = f"{of}.{reason.lower()}.{age_s:.0f}"
        self.server.add(EVENTS, name, **event, count=1, firstTimestamp=stamp, lastTimestamp=stamp)

    def stored_lines(self) -> list[str]:
        return stored_lines(self.store, self.name)

    # What the operator does

    def condition(
        self, kind: str, status: str = "True", message: str = "", reason: str = "X", spec: Object | None = None
    ) -> None:
        """Set a condition of the job, and perhaps change its specification."""
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        new = {"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": now}
        kept = self.server.find(self.resource, self.name).get("status", {}).get("conditions", ())
        conditions = [each for each in kept if each["type"] != kind]
        self.server.change(self.resource, self.name, status={"conditions": [*conditions, new]}, spec=spec or {})

    def suspend(self, is_suspended: bool, message: str = "") -> None:
        policy: Object = {"suspend": is_suspended}
        spec = {"runPolicy": policy} if self.is_v1 else policy
        self.condition("Suspended", "True" if is_suspended else "False", message, spec=spec)

    def pod_name(self, node: int, attempt: str = "aaaaa") -> str:
        if self.is_v1:
            return f"{self.name}-master-0" if node == 0 else f"{self.name}-worker-{node - 1}"
        return f"{self.name}-node-0-{node}-{attempt}"

    def add_pods(self, *statuses: Object, attempt: str = "aaaaa") -> None:
        """Add the pods of the nodes, each with a status."""
        for node, status in enumerate(statuses):
            labels = {self.kind.pod_label: self.name}
            if self.is_v1:
                labels |= {"training.kubeflow.org/replica-type": "master" if node == 0 else "worker"}
            else:
                labels |= {"batch.kubernetes.io/job-completion-index": str(node)}
            spec = {"containers": [{"name": self.container}], "nodeName": _machine(node, status)}
            self.server.add(PODS, self.pod_name(node, attempt), metadata={"labels": labels}, spec=spec, status=status)

    def change_pods(self, *statuses: Object, attempt: str = "aaaaa") -> None:
        for node, status in enumerate(statuses):
            spec = {"nodeName": _machine(node, status)}
            self.server.change(PODS, self.pod_name(node, attempt), status=status, spec=spec)

    def remove_pods(self, attempt: str = "aaaaa") -> None:
        for node in range(2):
            if self.pod_name(node, attempt) in self.server.names(PODS):
                self.server.remove(PODS, self.pod_name(node, attempt))

    def write(self, *lines: str, attempt: str = "aaaaa", end: str = "\n") -> None:
        """Write lines to the log of rank 0."""
        self.server.write_log(self.pod_name(0, attempt), *lines, container=self.container, end=end)

    def status(self, phase: str, *, code: int | None = None, waiting: str = "", message: str = "") -> Object:
        """A status of a pod that has a place."""
        state: Object = {"running": {"startedAt": "2026-01-02T03:04:05Z"}}
        if code is not None:
            state = {"terminated": {"exitCode": code, "reason": "Error" if code else "Completed"}}
        elif waiting:
            state = {"waiting": {"reason": waiting, "message": message}}
        container = {"name": self.container, "restartCount": 0, "state": state}
        scheduled = {"type": "PodScheduled", "status": "True"}
        return {"phase": phase, "conditions": [scheduled], "containerStatuses": [container]}

    @staticmethod
    def unplaced(message: str) -> Object:
        scheduled = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
        return {"phase": "Pending", "conditions": [scheduled]}

    def run(self) -> None:
        """Let both nodes run, and wait until the launcher has seen that."""
        running = self.status("Running")
        self.add_pods(running, running)
        self.condition("Running")
        self.write("started")
        wait_until(lambda: "started" in self.shown)
        self.wait_for_looks()

    def put_output(self) -> None:
        """Store what node 0 does at its end."""
        run = run_of(self.server.find(self.resource, self.name))
        self.store.put(job_output_name(self.name), OUTPUT.encode())
        write_result(self.name, run, JobResult(output=OUTPUT), self.store)

    def succeed(self, attempt: str = "aaaaa") -> None:
        """Let the job succeed."""
        self.put_output()
        ended = self.status("Succeeded", code=0)
        self.change_pods(ended, ended, attempt=attempt)
        self.server.close_log(self.pod_name(0, attempt), self.container)
        self.condition(self.kind.succeeded)

    def succeed_without_pods(self) -> None:
        """Let the job succeed when its pods are gone."""
        self.put_output()
        self.condition(self.kind.succeeded)

    def fail(self, *codes: int, message: str = "pods failed") -> None:
        """Let the nodes end with these exit codes, and the job fail."""
        self.change_pods(*(self.status("Failed", code=code) for code in codes))
        self.server.close_log(self.pod_name(0), self.container)
        self.condition("Failed", message=message, reason="Failed")


def _machine(node: int, status: Object) -> str | None:
    """Where the pod of a node is; None before it has a place."""
    (scheduled,) = (each for each in status["conditions"] if each["type"] == "PodScheduled")
    return f"machine-{node}" if scheduled["status"] == "True" else None
