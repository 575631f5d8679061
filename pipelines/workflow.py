"""The Argo workflow that a backend makes of a compiled package, as text of about the same size and redundancy.

KFP puts every component once into the arguments of the workflow, and the text of every task into the template of the
DAG around it. While the workflow runs, Argo notes the inputs and outputs of every node in the status: a driver has the
texts of component, task, container and platform as inputs, and returns a patch of the pod's specification, which the
nodes below it repeat. Read from KFP 2.15.0 to 2.17.0 (backend/src/v2/compiler/argocompiler, backend/src/v2/driver) and
Argo 3.7 to 4.0 (pkg/apis/workflow/v1alpha1/workflow_types.go).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

Json = dict[str, Any]
NAME = "nofrost-x7k2p"
RUN = "0c4b7c4e-95b7-4a39-8d1f-5a35d6b9e0aa"
# What does not depend on the pipeline: the templates of drivers and launchers, and the head of the workflow.
FIXED_BYTES = 14_000
IMPLEMENTATION = "retry-system-container-impl"
PLACEHOLDER = re.compile(r"{{\$\.inputs\.parameters\['([^']+)'\]}}")
LAUNCHER = (
    "/kfp-launcher/launch --pipeline_name nofrost --run_id {run} --execution_id {number} --executor_input {inputs} "
    "--component_spec {component} --pod_name $(KFP_POD_NAME) --pod_uid $(KFP_POD_UID) --mlmd_server_address "
    "$(METADATA_GRPC_SERVICE_HOST) --mlmd_server_port $(METADATA_GRPC_SERVICE_PORT) --publish_logs true -- "
)


@dataclass(frozen=True)
class WorkflowNode:
    """An entry of the workflow's status.

    Attributes:
        name: path of task names.
        kind: `Pod`, `DAG` or `Retry`.
        template: name of its template.
        inputs, outputs: parameters by name.
    """

    name: str
    kind: str
    template: str
    inputs: dict[str, str]
    outputs: dict[str, str]

    def status(self) -> Json:
        """Return what Argo notes of it."""
        short, parent = self.name.rpartition(".")[2], self.name.rpartition(".")[0]
        status: Json = {
            "id": node_id(self.name),
            "name": self.name,
            "displayName": short,
            "type": self.kind,
            "templateName": self.template,
            "templateScope": f"local/{NAME}",
            "phase": "Succeeded",
            "boundaryID": node_id(parent),
            "startedAt": f"2026-01-02T03:{digits(self.name, 4)}Z",
            "finishedAt": f"2026-01-02T04:{digits(short, 4)}Z",
            "progress": "1/1",
            "resourcesDuration": {"cpu": int(digits(self.name, 2)), "memory": int(digits(self.name, 3))},
            "inputs": {"parameters": named(self.inputs)},
            "children": [node_id(f"{self.name}.child")],
            "outboundNodes": [node_id(f"{self.name}.last")],
            "taskResultSynced": True,
            "nodeFlag": {"retried": True},
        }
        if self.kind == "Pod":
            key = f"artifacts/{NAME}/2026/01/02/{NAME}-{self.template}-{node_id(self.name)}/main.log"
            status["hostNodeName"] = f"ip-10-0-{digits(self.name, 2)}-{digits(short, 2)}.internal"
            status["outputs"] = {"artifacts": [{"name": "main-logs", "s3": {"key": key}}], "exitCode": "0"}
        if self.outputs:
            status["outputs"] = {**status.get("outputs", {}), "parameters": named(self.outputs)}
        return status


class Workflow:
    """The workflow of one run of a package.

    Args:
        spec, platform: the two documents of a compiled pipeline.
        arguments: parameters of the run; one that is missing counts as its default.
        retried: whether every node is wrapped in another one for its retries.
    """

    def __init__(self, spec: Json, platform: Json, arguments: Json, *, retried: bool) -> None:
        self._spec, self._root, self._components = spec, spec["root"], spec["components"]
        self._executors = spec["deploymentSpec"]["executors"]
        self._kubernetes = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
        self._arguments, self._retried = arguments, retried

    @cached_property
    def spec_bytes(self) -> int:
        """The size of the part that stays the same while it runs."""
        arguments = {}
        for name, component in self._components.items():
            if "executorLabel" in component:
                key = hashlib.sha256(name.encode()).hexdigest()
                arguments[f"components-{key}"] = text(component)
                arguments[f"implementations-{key}"] = text(self._container(component))
                arguments[f"kubernetes-{name}"] = text(self._kubernetes.get(component["executorLabel"], {}))
            else:
                arguments[f"components-{name}"] = text(component)
        arguments["components-root"] = text(self._root)
        dags = [self._root, *(each for each in self._components.values() if "dag" in each)]
        templates = [self._template(name, task) for dag in dags for name, task in dag["dag"]["tasks"].items()]
        return len(text({"arguments": {"parameters": named(arguments)}, "templates": templates})) + FIXED_BYTES

    @cached_property
    def nodes(self) -> list[WorkflowNode]:
        """All nodes of a run in which every task runs once."""
        inputs = {"component": text(self._root), "runtime-config": text(self._arguments), "driver-type": "ROOT_DAG"}
        defaults = self._root["inputDefinitions"]["parameters"]
        values = {name: declared.get("defaultValue", "") for name, declared in defaults.items()} | self._arguments
        nodes = [
            *self._wrapped(
                WorkflowNode(f"{NAME}.root-driver", "Pod", "system-dag-driver", inputs, _dag_outputs("root"))
            ),
            *self._dag(f"{NAME}.root", "root", self._root, values),
        ]
        return [WorkflowNode(NAME, "DAG", "entrypoint", {}, {}), *nodes]

    @cached_property
    def tasks(self) -> int:
        """Pods that work."""
        return sum(node.kind == "Pod" and node.template == IMPLEMENTATION for node in self.nodes)

    @cached_property
    def pods(self) -> int:
        """Drivers and the pods of tasks."""
        return sum(node.kind == "Pod" for node in self.nodes)

    @cached_property
    def largest_argument(self) -> int:
        """The bytes of the longest argument of a driver: the text of a component, task or container."""
        names = ("component", "task", "container", "kubernetes-config")
        return max(len(node.inputs.get(name, "")) for node in self.nodes for name in names)

    def status_text(self) -> str:
        """Return the statuses of all nodes as Argo compresses them, in the order of their identities (hashes)."""
        return text({status["id"]: status for status in sorted((each.status() for each in self.nodes), key=_identity)})

    def _container(self, component: Json) -> Json:
        container: Json = self._executors[component["executorLabel"]]["container"]
        return container

    def _template(self, name: str, task: Json) -> Json:
        """Return the two entries of a task in the template of the DAG around it."""
        component = task["componentRef"]["name"]
        reference = "{{workflow.parameters.components-" + hashlib.sha256(component.encode()).hexdigest() + "}}"
        driver = {
            "component": reference,
            "task": text(task),
            "task-name": name,
            "parent-dag-id": "{{inputs.parent-dag-id}}",
        }
        runner = {"parent-dag-id": "{{tasks." + name + "-driver.outputs.parameters.execution-id}}"}
        if "executorLabel" in self._components[component]:
            driver |= {"container": reference, "kubernetes-config": reference}
            runner = {"pod-spec-patch": runner["parent-dag-id"], "cached-decision": runner["parent-dag-id"]}
            runner |= _retry_inputs(task)
        dependencies = " && ".join(f"{other}.Succeeded" for other in task.get("dependentTasks", ()))
        return {
            "driver": [f"{name}-driver", "system-container-driver", dependencies, named(driver)],
            "runner": [name, "retry-system-container-executor", f"{name}-driver.Succeeded", named(runner)],
        }

    def _dag(self, path: str, template: str, component: Json, values: Json) -> Iterator[WorkflowNode]:
        yield from self._wrapped(WorkflowNode(path, "DAG", template, {"parent-dag-id": digits(path, 4)}, {}))
        for name, task in component["dag"]["tasks"].items():
            yield from self._task(f"{path}.{name}", name, task, values)

    def _task(self, path: str, name: str, task: Json, outer: Json) -> Iterator[WorkflowNode]:
        component = self._components[task["componentRef"]["name"]]
        values = {key: _value(spec, outer, path) for key, spec in task.get("inputs", {}).get("parameters", {}).items()}
        inputs = {"component": text(component), "task": text(task), "task-name": name, "parent-dag-id": digits(path, 4)}
        if "executorLabel" not in component:
            yield from self._wrapped(
                WorkflowNode(f"{path}-driver", "Pod", "system-dag-driver", inputs, _dag_outputs(path))
            )
            yield from self._dag(path, task["componentRef"]["name"], component, values)
            return
        pod = self._kubernetes.get(component["executorLabel"], {})
        inputs |= {
            "container": text(self._container(component)),
            "kubernetes-config": text(pod),
            "iteration-index": "-1",
        }
        patch = {"pod-spec-patch": self._patch(path, component, pod, values)}
        outputs = {**patch, "cached-decision": "false", "condition": "true"}
        yield from self._wrapped(WorkflowNode(f"{path}-driver", "Pod", "system-container-driver", inputs, outputs))
        retry = {**patch, **_retry_inputs(task)}
        executor = WorkflowNode(
            path, "DAG", "retry-system-container-executor", {**retry, "cached-decision": "false"}, {}
        )
        yield from self._wrapped(executor)
        if self._retried or "retryPolicy" in task:
            yield WorkflowNode(f"{path}.executor", "Retry", IMPLEMENTATION, retry, {})
        yield WorkflowNode(f"{path}.executor(0)", "Pod", IMPLEMENTATION, retry, {})

    def _wrapped(self, node: WorkflowNode) -> Iterator[WorkflowNode]:
        if self._retried:
            yield WorkflowNode(node.name, "Retry", node.template, node.inputs, node.outputs)
        yield WorkflowNode(f"{node.name}(0)", node.kind, node.template, node.inputs, node.outputs)

    def _patch(self, path: str, component: Json, kubernetes: Json, values: Json) -> str:
        """Return the patch of the pod: the launcher, its arguments, the command, resources and the platform's part."""
        container = self._container(component)
        outputs = component.get("outputDefinitions", {}).get("parameters", {})
        files = {name: {"outputFile": f"/tmp/kfp/outputs/{name}"} for name in outputs}
        executor_input = {"inputs": {"parameterValues": values}, "outputs": {"parameters": files}}
        parts = {"run": RUN, "number": digits(path, 4), "inputs": "{inputs}", "component": "{component}"}
        command = LAUNCHER.format(**parts).split()
        command[command.index("{inputs}")] = text(executor_input)
        command[command.index("{component}")] = text(component)
        main = {
            "name": "main",
            "image": resolved(container["image"], values),
            "command": command,
            "args": [*container["command"], *container.get("args", [])],
            "resources": container.get("resources", {}),
        }
        return text({"containers": [{**main, **kubernetes}]})


def text(value: Any) -> str:
    """Return JSON as short as that of KFP, and with its keys in order."""
    return json.dumps(value, separators=(",", ":"), sort_keys=True)


def named(values: dict[str, str]) -> list[Json]:
    return [{"name": name, "value": value} for name, value in values.items()]


def node_id(name: str) -> str:
    """Return the identity of a node: ten digits that depend on its name (a hash as good as Argo's FNV)."""
    return f"{NAME}-{digits(name, 10)}"


def digits(name: str, number: int) -> str:
    return str(int(hashlib.sha256(name.encode()).hexdigest()[:16], 16))[:number]


def resolved(value: Any, values: Json) -> Any:
    """Return a value with the placeholders in its text replaced."""
    if not isinstance(value, str):
        return value
    return PLACEHOLDER.sub(lambda match: str(values.get(match[1], match[0])), value)


def _value(spec: Json, outer: Json, path: str) -> Any:
    """Return an input of a task; an output of another one is a made-up ref of the usual length."""
    if "componentInputParameter" in spec:
        return outer.get(spec["componentInputParameter"], "")
    if "runtimeValue" in spec:
        return spec["runtimeValue"]["constant"]
    source = hashlib.md5(f"{path.rpartition('.')[0]}{text(spec)}".encode(), usedforsecurity=False).hexdigest()
    return f"runs/recipe/seed-0/stage@{source}.dir:{digits(source, 7)}:{digits(source, 2)}"


def _dag_outputs(path: str) -> dict[str, str]:
    return {"execution-id": digits(path, 4), "iteration-count": "0", "condition": "true"}


def _retry_inputs(task: Json) -> dict[str, str]:
    policy = task.get("retryPolicy", {})
    return {f"retry-{name}": str(value) for name, value in policy.items()}


def _identity(status: Json) -> str:
    identity: str = status["id"]
    return identity
