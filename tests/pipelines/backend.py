"""What a KFP backend does with a compiled package, without a cluster.

Argo starts the tasks of a DAG in the order of their dependencies; in front of each, a driver finds its inputs and asks
the cache; a launcher runs the container and stores what it returns. Read from KFP 2.15.0 to 2.17.0
(backend/src/v2/{compiler/argocompiler,driver,component}) and Argo 3.7 to 4.0. Containers are a function, so a test says
what they return and which of them fail. Not modelled: retries, time, artifacts.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.pipelines.backend_state import DriverError, Execution, Json, Metadata, checked, declared_inputs, parameters

VERSIONS = ("2.15", "2.17")
# Fields that a server refuses because it does not know them, with the first version that does. The server parses
# these parts of the package strictly, when a run is started (executors) or when it is uploaded (pipelineConfig).
FIRST_VERSION = {
    "securityContext": "2.16",
    "activeDeadlineSeconds": "2.17",
    "resourceTtlOnCompletion": "2.17",
}
PLACEHOLDER = re.compile(r"{{\$\.inputs\.parameters\['([^']+)'\]}}")


class RefusedError(Exception):
    """The server does not accept the package."""


class ContainerError(Exception):
    """A container ended with an exit code other than 0."""


@dataclass(frozen=True)
class Pod:
    """A pod that ran the container of a task.

    Attributes:
        path: keys of the tasks from the root to this one.
        component: what it runs, such as `train`.
        limits: extended resources, such as GPUs, by name.
        inputs: as the container sees them.
        outputs: names and types of what it has to return.
    """

    path: tuple[str, ...]
    component: str
    image: str
    limits: dict[str, str]
    inputs: Json
    outputs: dict[str, str]


Containers = Callable[[Pod], Json]


@dataclass
class Ended:
    """How a run ended: `Succeeded` or `Failed`, what ran, what the cache supplied and what went wrong."""

    state: str = "Succeeded"
    pods: list[Pod] = field(default_factory=list)
    cached: list[tuple[str, ...]] = field(default_factory=list)
    drivers: int = 0
    errors: list[str] = field(default_factory=list)

    def ran(self, component: str) -> list[Pod]:
        """The pods of a component, in the order in which they ran."""
        return [pod for pod in self.pods if pod.component == component]


class Backend:
    """A KFP server with a cache, to which a package is submitted again and again.

    Args:
        package: a compiled pipeline.
        version: of KFP, of :data:`VERSIONS`.
        cache: of another package on the same server.
    """

    def __init__(self, package: Path, version: str, cache: dict[str, Json] | None = None) -> None:
        self.spec, *rest = yaml.load_all(package.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
        self.kubernetes: Json = rest[0]["platforms"]["kubernetes"] if rest else {}
        self.version = version
        self.cache: dict[str, Json] = {} if cache is None else cache

    def run(self, arguments: Json, containers: Containers, run: str = "run-1") -> Ended:
        """Start a run and return how it ended.

        Raises:
            RefusedError: the server does not know a field of the package.
        """
        self._refuse_unknown_fields()
        return _Run(self, containers, run).start(arguments)

    def _refuse_unknown_fields(self) -> None:
        executors = self.kubernetes.get("deploymentSpec", {}).get("executors", {})
        for part in (self.kubernetes.get("pipelineConfig", {}), *executors.values()):
            for name in part:
                if self.version < FIRST_VERSION.get(name, self.version):
                    raise RefusedError(f"failed to unmarshal kubernetes config: unknown field {name!r}")


class _Run:
    """One run of a package."""

    def __init__(self, backend: Backend, containers: Containers, run: str) -> None:
        self.backend, self.containers = backend, containers
        self.components: Json = backend.spec["components"]
        self.metadata = Metadata(backend.version, run)
        self.ended = Ended()

    def start(self, arguments: Json) -> Ended:
        root = self.backend.spec["root"]
        self.ended.drivers += 1
        declared = declared_inputs(root)
        defaults = {name: each["defaultValue"] for name, each in declared.items() if "defaultValue" in each}
        inputs = checked({**defaults, **arguments}, root)
        dag = self.metadata.create("", None, inputs, tasks=len(root["dag"]["tasks"]))
        self.ended.state = self.dag(root, dag, ())
        return self.ended

    # Argo

    def dag(self, component: Json, dag: Execution, path: tuple[str, ...]) -> str:
        """Run the tasks of a DAG, each after all those that it depends on; one that fails does not stop the others."""
        tasks: dict[str, Json] = component["dag"]["tasks"]
        hooks = {
            name
            for name, task in tasks.items()
            if "ALL_UPSTREAM_TASKS_COMPLETED" in task.get("triggerPolicy", {}).values()
        }
        states: dict[str, str] = {}
        waiting = sorted(set(tasks) - hooks)
        while waiting:
            name = next(name for name in waiting if dependencies(tasks[name]) <= set(states))
            waiting.remove(name)
            if all(states[other] == "Succeeded" for other in dependencies(tasks[name])):
                states[name] = self.attempt(name, tasks[name], dag, path)
                for hook in sorted(hooks):
                    if name in tasks[hook]["dependentTasks"]:
                        self.attempt(hook, tasks[hook], dag, path)
            else:
                states[name] = "Omitted"
        return "Failed" if "Failed" in states.values() else "Succeeded"

    def attempt(self, name: str, task: Json, dag: Execution, path: tuple[str, ...]) -> str:
        try:
            return self.task(name, task, dag, (*path, name))
        except (DriverError, ContainerError) as error:
            self.ended.errors.append(f"{'.'.join((*path, name))}: {error}")
            return "Failed"

    def task(self, name: str, task: Json, dag: Execution, path: tuple[str, ...]) -> str:
        component = self.components[task["componentRef"]["name"]]
        self.ended.drivers += 1
        inputs = self.metadata.arguments(dag, task, component)
        if "executorLabel" in component:
            return self.container(name, task, dag, path, inputs)
        producers = component["dag"].get("outputs", {}).get("parameters")
        attributes = {"producers": producers, "tasks": len(component["dag"]["tasks"])}
        inner = self.metadata.create(name, dag, inputs, **attributes)
        if not triggered(task, inputs):
            inner.state = "CANCELED"
            return "Skipped"
        if "parameterIterator" not in task:
            return self.dag(component, inner, path)
        iterator = task["parameterIterator"]
        source = iterator["items"].get("inputParameter", iterator["itemInput"])
        items = inputs[source] if "inputParameter" in iterator["items"] else iterator["items"]["raw"]
        items = json.loads(items) if isinstance(items, str) else items
        inner.iterations = len(items)
        states = []
        for index, item in enumerate(items):
            self.ended.drivers += 1
            values = {key: value for key, value in inputs.items() if key != source} | {iterator["itemInput"]: item}
            values = checked(values, component, omit=source)
            iteration = self.metadata.create(name, inner, values, index=index, **attributes)
            states.append(self.dag(component, iteration, (*path, str(index))))
        return "Failed" if "Failed" in states else "Succeeded"

    # Driver and launcher

    def container(self, name: str, task: Json, dag: Execution, path: tuple[str, ...], inputs: Json) -> str:
        component = self.components[task["componentRef"]["name"]]
        label = component["executorLabel"]
        container = self.backend.spec["deploymentSpec"]["executors"][label]["container"]
        declared = component.get("outputDefinitions", {})
        key = fingerprint(self.backend.spec["pipelineInfo"]["name"], inputs, declared, container)
        caching = bool(task.get("cachingOptions", {}).get("enableCache"))
        execution = self.metadata.create(name, dag, inputs)
        if caching and key in self.backend.cache:
            # The driver stores the outputs. No launcher runs, so the state of the DAG stays as it is.
            execution.outputs, execution.state = self.backend.cache[key], "CACHED"
            self.ended.cached.append(path)
            return "Succeeded"
        pod = Pod(
            path=path,
            component=re.sub(r"(-\d+)+$", "", label.removeprefix("exec-")),
            image=pod_text(container["image"], inputs),
            limits=extended_resources(container, inputs),
            inputs={name: substituted(value, inputs) for name, value in inputs.items()},
            outputs={name: output["parameterType"] for name, output in declared.get("parameters", {}).items()},
        )
        self.ended.pods.append(pod)
        try:
            execution.outputs = self.containers(pod)
            assert set(execution.outputs) == set(pod.outputs), (pod, execution.outputs)
            execution.state = "COMPLETE"
            if caching:
                self.backend.cache[key] = execution.outputs
        except ContainerError:
            execution.state = "FAILED"
            raise
        finally:
            self.metadata.update(dag)
        return "Succeeded"


def dependencies(task: Json) -> set[str]:
    """Return the tasks of the same DAG that must have succeeded before this one."""
    sources = (spec["taskOutputParameter"] for spec in parameters(task).values() if "taskOutputParameter" in spec)
    return {*task.get("dependentTasks", ()), *(source["producerTask"] for source in sources)}


def triggered(task: Json, inputs: Json) -> bool:
    """Return whether the condition of a task holds; one without condition always runs."""
    condition = task.get("triggerPolicy", {}).get("condition")
    if condition is None:
        return True
    parts = re.fullmatch(r"(!\()?inputs\.parameter_values\['(.+?)'\] == (true|false|'.*?')\)?", condition)
    assert parts is not None, f"a condition that this backend does not know: {condition}"
    wanted = {"true": True, "false": False}.get(parts[3], parts[3].strip("'"))
    return bool((inputs[parts[2]] == wanted) != bool(parts[1]))


def fingerprint(pipeline: str, inputs: Json, outputs: Json, container: Json) -> str:
    """Return the key of the cache: name of the pipeline; inputs, outputs, command, arguments and image of a task."""
    parts = [pipeline, inputs, outputs, container["image"], container["command"], container.get("args", [])]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def pod_text(text: str, inputs: Json) -> str:
    """Return a field of a pod with its placeholder resolved, which is empty where the value is not text."""
    placeholder = PLACEHOLDER.fullmatch(text)
    if placeholder is None:
        return text
    if placeholder[1] not in inputs:
        raise DriverError(f"executorInput did not contain container Image input parameter {placeholder[1]}")
    value = inputs[placeholder[1]]
    return value if isinstance(value, str) else ""


def extended_resources(container: Json, inputs: Json) -> dict[str, str]:
    """Return the limits of accelerators; one without number is left out without a word."""
    accelerator = container.get("resources", {}).get("accelerator", {})
    kind = pod_text(accelerator.get("resourceType", ""), inputs)
    count = pod_text(accelerator.get("resourceCount", ""), inputs)
    return {kind: count} if kind and count else {}


def substituted(value: Any, inputs: Json) -> Any:
    """Return a value with the placeholders in its text replaced, as the launcher does before it starts a container."""
    if isinstance(value, list):
        return [substituted(item, inputs) for item in value]
    if not isinstance(value, str):
        return value
    return PLACEHOLDER.sub(lambda match: as_text(inputs.get(match[1], match[0])), value)


def as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
