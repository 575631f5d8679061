"""Whether there is room for a training on GPUs: the nodes that it asks for, and the queue that admits it."""

from collections.abc import Iterator
from typing import Any

from nofrost.cluster.api.client import KubernetesApi
from nofrost.cluster.api.errors import KubernetesError
from nofrost.cluster.job.kinds import KUEUE
from nofrost.cluster.job.settings import JobSettings
from pipelines.doctor.cluster_access import NoAccessError, cluster_api, found_in, pods_account
from pipelines.doctor.finding import Finding

GPUS, QUEUE = "GPUs", "queue"


def check_capacity(settings: JobSettings, namespace: str | None, *, gpus: int, nodes: int) -> Iterator[Finding]:
    """Look for nodes with so many GPUs, and for the queue of the settings; for nothing that they do not ask for.

    What runs on the nodes at the moment does not count: a training waits for others.

    Args:
        namespace: of the pods, as for :func:`pods_account`.
        gpus, nodes: of each training.
    """
    checks = [GPUS] * bool(gpus) + [QUEUE] * (settings.queue is not None)
    if not checks:
        return
    place, _ = pods_account(namespace, None)
    try:
        with cluster_api() as api:
            for check in checks:
                yield _gpus(api, settings, gpus, nodes) if check == GPUS else _queue(api, str(settings.queue), place)
    except NoAccessError as error:
        yield from (Finding(check, "unknown", str(error)) for check in checks)


def _gpus(api: KubernetesApi, settings: JobSettings, gpus: int, nodes: int) -> Finding:
    resource = settings.gpu.resource
    wanted = f"{nodes} {'node' if nodes == 1 else 'nodes'} with {gpus} {resource}"
    try:
        there = api.items("/api/v1/nodes")
    except KubernetesError as error:
        if not error.status:
            raise
        return Finding(GPUS, "unknown", f"{wanted}: the cluster does not show its nodes ({error.status})")
    selector = {**settings.placement.node_selector, **settings.gpu.node_selector}
    fit = [node for node in there if _fits(node, resource, gpus, selector)]
    if len(fit) >= nodes:
        return Finding(GPUS, "ok", f"{len(fit)} of {len(there)} nodes have {gpus} {resource} and the labels wanted")
    detail = (
        f"{wanted} are wanted, and {len(fit)} of {len(there)} have them and the labels wanted: add nodes (as an "
        "autoscaler may do), install the device plugin, or ask for fewer"
    )
    return Finding(GPUS, "missing", detail)


def _fits(node: dict[str, Any], resource: str, gpus: int, selector: dict[str, str]) -> bool:
    labels = node["metadata"].get("labels", {})
    amount = str(node.get("status", {}).get("allocatable", {}).get(resource, "0"))
    is_open = not node.get("spec", {}).get("unschedulable", False)
    return is_open and amount.isdigit() and int(amount) >= gpus and selector.items() <= labels.items()


def _queue(api: KubernetesApi, name: str, namespace: str) -> Finding:
    what = f"LocalQueue {name} in namespace {namespace}"
    try:
        versions = found_in(api, f"/apis/{KUEUE}")
        version = (versions or {}).get("preferredVersion", {}).get("version", "")
        path = f"/apis/{KUEUE}/{version}/namespaces/{namespace}/localqueues/{name}"
        queue = found_in(api, path) if version else None
    except KubernetesError as error:
        if not error.status:
            raise
        return Finding(QUEUE, "unknown", f"{what}: the cluster does not show it ({error.status})")
    if not version:
        return Finding(QUEUE, "missing", f"{what}: the cluster has no Kueue: install it, or delete training_job.queue")
    if queue is None:
        return Finding(QUEUE, "missing", f"there is no {what}: apply k8s/components/kueue, or name another queue")
    stopped = [each for each in queue.get("status", {}).get("conditions") or ()
               if (each.get("type"), each.get("status")) == ("Active", "False")]  # fmt: skip
    if stopped:
        return Finding(QUEUE, "missing", f"{what} admits nothing: {stopped[0].get('message', '')}")
    return Finding(QUEUE, "ok", what)
