"""What no schema says: that the objects of a folder are complete, fit each other, and select something.

A patch that replaces a list drops images, arguments and resources in silence, and a selector that selects nothing is
valid.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from nofrost.cluster.job.kinds import JOB_KINDS
from nofrost.errors import UserError
from pipelines.schedule.cron import Cron
from pipelines.schedule.zone import load_zone
from tests.cluster.job.pod_security import problems
from tests.cluster.job.test_trainjob import patched

Json = dict[str, Any]
# Schemas take any text: the API server alone reads it.
_QUANTITY = re.compile(r"(\d+\.?\d*|\.\d+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?\d+)?")


@dataclass(frozen=True)
class Pods:
    """The pods that an object makes.

    Attributes:
        of: kind and name of the object.
        labels: of the pods, with those that its operator adds.
        spec: of the pods.
    """

    of: str
    labels: Mapping[str, str]
    spec: Json


def pods_of(item: Json, runtimes: Mapping[str, Json]) -> Iterator[Pods]:
    """Yield the pods that an object makes, if it makes any.

    Args:
        runtimes: the TrainingRuntimes by their names, one of which a TrainJob names.
    """
    name, spec = f"{item['kind']} {item['metadata']['name']}", item.get("spec", {})
    selected = {kind.kind: {kind.pod_label: item["metadata"]["name"]} for kind in JOB_KINDS}
    if item["kind"] == "PyTorchJob":
        for role, replica in spec["pytorchReplicaSpecs"].items():
            yield _pods(f"{name} {role}", replica["template"], selected["PyTorchJob"])
    elif item["kind"] == "TrainJob":
        yield _pods(name, _template_of_trainjob(spec, runtimes[spec["runtimeRef"]["name"]]), selected["TrainJob"])
    elif item["kind"] == "CronJob":
        yield _pods(name, spec["jobTemplate"]["spec"]["template"], {})
    elif item["kind"] in ("Deployment", "Job"):
        yield _pods(name, spec["template"], {})


def _pods(name: str, template: Json, labels: Mapping[str, str]) -> Pods:
    return Pods(name, {**template.get("metadata", {}).get("labels", {}), **labels}, template["spec"])


def _template_of_trainjob(spec: Json, runtime: Json) -> Json:
    """Return the template of pods that Kubeflow Trainer makes of a TrainJob and its runtime."""
    whole = copy.deepcopy(runtime["spec"]["template"])
    for patch in spec.get("runtimePatches", ()):
        whole = patched(whole, patch["trainingRuntimeSpec"]["template"])
    template: Json = whole["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]
    trainer = spec["trainer"]
    given = {key: trainer[key] for key in ("image", "command", "args", "env") if key in trainer}
    template["spec"]["containers"][0] |= {**given, "resources": trainer.get("resourcesPerNode", {})}
    return template


def defects(items: Iterable[Json], *, pinned: bool, beside: Iterable[Json] = ()) -> list[str]:
    """Return what is wrong in the objects of a folder.

    Args:
        pinned: whether every image has to have a digest.
        beside: further objects that are there as well, and may be named by these.
    """
    items, around = list(items), [*items, *beside]
    runtimes = {item["metadata"]["name"]: item for item in around if item["kind"] == "TrainingRuntime"}
    pods = [each for item in items for each in pods_of(item, runtimes)]
    found = [fault for each in pods for fault in (*_of_containers(each, pinned), *_of_references(each, around))]
    found += [f"{each.of}: {problem}" for each in pods for problem in problems(each.spec)]
    everyone = [each for item in around for each in pods_of(item, runtimes)]
    for item in items:
        found += [f"{item['kind']} {item['metadata']['name']}: {fault}" for fault in _of_object(item, around, everyone)]
    return found


def _of_containers(pods: Pods, pinned: bool) -> Iterator[str]:
    for container in (*pods.spec.get("initContainers", ()), *pods.spec["containers"]):
        what, image = f"{pods.of}: container {container['name']}", container.get("image", "")
        if not image:
            yield f"{what} has no image"
        elif pinned and "@sha256:" not in image:
            yield f"{what}: {image} has no digest"
        if not container.get("command") and not container.get("args"):
            yield f"{what} has neither command nor arguments"
        for bound in ("requests", "limits"):
            lacking = {"cpu", "memory"} - set(container.get("resources", {}).get(bound, ()))
            yield from (f"{what} has no {bound} of {resource}" for resource in sorted(lacking))
            yield from (f"{what}: {fault}" for fault in _of_quantities(container.get("resources", {}).get(bound, {})))
        yield from (f"{what} {fault}" for fault in _of_names(container, pods.spec))


def _of_quantities(amounts: Json) -> Iterator[str]:
    for resource, amount in amounts.items():
        if not _QUANTITY.fullmatch(str(amount)):
            yield f"{amount} of {resource} is no quantity"


def _of_names(container: Json, spec: Json) -> Iterator[str]:
    """Yield the names of volumes and ports that a container uses and a pod does not have."""
    volumes = {each["name"] for each in spec.get("volumes", ())}
    mounted = [each["name"] for each in container.get("volumeMounts", ())]
    yield from (f"mounts {name}, which is no volume" for name in mounted if name not in volumes)
    ports = _ports([container])
    probes = [container.get(f"{kind}Probe", {}).get("httpGet") for kind in ("startup", "liveness", "readiness")]
    yield from (f"has no port {each['port']} to probe" for each in probes if each and each["port"] not in ports)


def _ports(containers: Iterable[Json]) -> set[str | int]:
    """Return the names and numbers of the ports that containers declare."""
    declared = [port for container in containers for port in container.get("ports", ())]
    return {port[key] for port in declared for key in ("name", "containerPort") if key in port}


def _of_references(pods: Pods, items: list[Json]) -> Iterator[str]:
    """Yield what pods name that is not there."""
    there = {(item["kind"], item["metadata"]["name"]) for item in items}
    wanted = [("ServiceAccount", pods.spec["serviceAccountName"])] if "serviceAccountName" in pods.spec else []
    claims = [each["persistentVolumeClaim"] for each in pods.spec.get("volumes", ()) if "persistentVolumeClaim" in each]
    wanted += [("PersistentVolumeClaim", claim["claimName"]) for claim in claims]
    for container in pods.spec["containers"]:
        sources = [each.get("valueFrom", {}) for each in container.get("env", ())] + container.get("envFrom", [])
        for source in sources:
            for key, kind in (("configMap", "ConfigMap"), ("secret", "Secret")):
                reference = source.get(f"{key}KeyRef") or source.get(f"{key}Ref")
                if reference and not reference.get("optional"):
                    wanted.append((kind, reference["name"]))
        given = {each["name"] for each in container.get("env", ())} | set(_keys(container, items))
        used = re.findall(r"(?<!\$)\$\((\w+)\)", " ".join(container.get("args", ())))
        yield from (f"{pods.of}: nothing sets {name} of an argument" for name in used if name not in given)
    yield from (f"{pods.of}: there is no {kind} {name}" for kind, name in wanted if (kind, name) not in there)


def _keys(container: Json, items: list[Json]) -> Iterator[str]:
    """Yield the variables that a container takes from whole ConfigMaps."""
    names = [each.get("configMapRef", {}).get("name") for each in container.get("envFrom", ())]
    for item in items:
        if item["kind"] == "ConfigMap" and item["metadata"]["name"] in names:
            yield from item.get("data", ())


def _of_object(item: Json, items: list[Json], pods: list[Pods]) -> Iterator[str]:
    spec, kind = item.get("spec", {}), item["kind"]
    if kind == "RoleBinding":
        names = [item["roleRef"], *item["subjects"]]
        there = {(each["kind"], each["metadata"]["name"]) for each in items}
        yield from (f"there is no {each['kind']} {each['name']}" for each in names
                    if (each["kind"], each["name"]) not in there)  # fmt: skip
    elif kind == "CronJob":
        if (spec.get("concurrencyPolicy"), "timeZone" in spec) != ("Forbid", True):
            yield "it may run twice at once, or at the time of whatever zone the controller has"
        try:
            Cron.parse(spec["schedule"])
            load_zone(spec.get("timeZone", "UTC"))
        except UserError as error:
            yield str(error)
    elif kind == "Deployment":
        if not selects(spec["selector"], spec["template"]["metadata"]["labels"]):
            yield "it does not select its own pods"
    elif kind == "ResourceQuota":
        yield from _of_quantities(spec.get("hard", {}))
    elif kind in ("NetworkPolicy", "Service"):
        selector = spec["podSelector"] if kind == "NetworkPolicy" else {"matchLabels": spec["selector"]}
        chosen = [each for each in pods if selects(selector, each.labels)]
        if not chosen:
            yield "it selects no pod"
        for port in spec.get("ports", ()) if chosen else ():
            if port.get("targetPort", port["port"]) not in _ports(chosen[0].spec["containers"]):
                yield f"no pod that it selects has port {port.get('targetPort', port['port'])}"
    elif kind == "PodMonitor":
        yield from _of_monitor(item, pods)


def _of_monitor(item: Json, pods: list[Pods]) -> Iterator[str]:
    spec, namespace = item["spec"], item["metadata"]["namespace"]
    places = spec.get("namespaceSelector", {})
    if not places.get("any") and namespace not in places.get("matchNames", [namespace]):
        yield f"it looks for pods in {places['matchNames']} alone"
    chosen = [each for each in pods if selects(spec["selector"], each.labels)]
    if not chosen:
        yield "it selects no pod"
        return
    ports = [port for each in chosen for container in each.spec["containers"] for port in container.get("ports", ())]
    for endpoint in spec["podMetricsEndpoints"]:
        # Without a port, whatever pods declare, a rule has to say the address.
        declared = {
            "port": [port.get("name") for port in ports],
            "portNumber": [port["containerPort"] for port in ports],
        }
        given = [(key, endpoint[key]) for key in declared if key in endpoint]
        addressed = any(rule.get("targetLabel") == "__address__" for rule in endpoint.get("relabelings", ()))
        if not given and not addressed:
            yield "an endpoint has no port"
        yield from (f"no pod that it selects has {key} {value}" for key, value in given if value not in declared[key])


def selects(selector: Json, labels: Mapping[str, str]) -> bool:
    """Return whether a selector of labels selects what has these."""
    for rule in selector.get("matchExpressions", ()):
        value, values = labels.get(rule["key"]), rule.get("values", ())
        holds = {
            "In": value in values,
            "NotIn": value not in values,
            "Exists": value is not None,
            "DoesNotExist": value is None,
        }
        if not holds[rule["operator"]]:
            return False
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())
