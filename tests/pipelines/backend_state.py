"""What a KFP backend remembers of a run (its metadata store), and how a driver finds the inputs of a task in it.

A second reading of backend/src/v2/metadata/client.go and backend/src/v2/driver/resolve.go of KFP 2.15 to 2.17. Every
task and every nested pipeline (a DAG) is an execution. Only the launcher of a container sets the state of a DAG, so a
DAG whose last task came from the cache stays RUNNING: what rests on the state of a DAG fails on a warm cache.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]
TYPES: dict[str, tuple[type, ...]] = {
    "STRING": (str,),
    "NUMBER_INTEGER": (int, float),
    "NUMBER_DOUBLE": (int, float),
    "BOOLEAN": (bool,),
    "LIST": (list,),
    "STRUCT": (dict,),
    "TASK_FINAL_STATUS": (dict,),
}


class DriverError(Exception):
    """A driver ended with this message; its task fails."""


@dataclass(eq=False)
class Execution:
    """A task of a run, or a DAG.

    Attributes:
        task: its key in the DAG around it; empty for the root.
        producers: of a DAG: where its outputs come from, by name.
        tasks: of a DAG: how many tasks it has.
        index: of an iteration of a loop: its number.
        iterations: of a loop: how many.
    """

    number: int
    task: str
    parent: Execution | None
    inputs: Json
    state: str = "RUNNING"
    outputs: Json = field(default_factory=dict)
    producers: Json | None = None
    tasks: int | None = None
    index: int | None = None
    iterations: int | None = None

    def key(self) -> str:
        """The name by which other tasks look it up."""
        assert self.parent is not None
        index = self.index if self.index is not None else self.parent.index
        return f"{self.task}_{self.parent.number}" + ("" if index is None else f"_idx_{index}")


class Metadata:
    """The executions of one run.

    Args:
        version: `2.15` (also for 2.16) or `2.17`, which tells the DAGs further up as well.
        run: the identity of the run.
    """

    def __init__(self, version: str, run: str) -> None:
        self.version, self.run = version, run
        self.executions: list[Execution] = []

    def create(self, task: str, parent: Execution | None, inputs: Json, **attributes: Any) -> Execution:
        execution = Execution(len(self.executions) + 1, task, parent, inputs, **attributes)
        self.executions.append(execution)
        return execution

    def children(self, dag: Execution) -> dict[str, Execution]:
        found: dict[str, Execution] = {}
        for execution in self.executions:
            if execution.parent is dag:
                if execution.key() in found:
                    raise DriverError(f"two tasks have the same task name {execution.key()}")
                found[execution.key()] = execution
        return found

    def descendants(self, dag: Execution) -> dict[str, Execution]:
        found = self.children(dag)
        for child in list(found.values()):
            if child.tasks is not None:
                found |= self.descendants(child)
        return found

    def update(self, dag: Execution) -> None:
        """Set the state of a DAG from its tasks, as a launcher does when its container has ended."""
        wanted = dag.tasks or 0
        if self.version == "2.17" and dag.iterations is not None:
            wanted = dag.iterations
        states = Counter(child.state for child in self.children(dag).values())
        if states["COMPLETE"] + states["CACHED"] + states["CANCELED"] == wanted:
            dag.state = "COMPLETE"
        elif states["FAILED"]:
            dag.state = "FAILED"
        else:
            return
        if self.version == "2.17" and dag.parent is not None:
            self.update(dag.parent)

    def arguments(self, dag: Execution, task: Json, component: Json) -> Json:
        """Return the inputs of a task, found in the DAG around it.

        Raises:
            DriverError: one is missing, or its type is not the one that the component declares.
        """
        values = {name: self._argument(dag, spec) for name, spec in parameters(task).items()}
        item = task.get("parameterIterator", {}).get("itemInput")
        return checked({name: value for name, value in values.items() if name != item}, component, omit=item)

    def _argument(self, dag: Execution, spec: Json) -> Any:
        if "componentInputParameter" in spec:
            name = spec["componentInputParameter"]
            if name not in dag.inputs:
                raise DriverError(f"parent DAG does not have input parameter {name}")
            value = dag.inputs[name]
        elif "taskOutputParameter" in spec:
            value = self._output(dag, **spec["taskOutputParameter"])
        elif "taskFinalStatus" in spec:
            finished = self.children(dag)[f"{spec['taskFinalStatus']['producerTask']}_{dag.number}"]
            value = {"state": finished.state, "error": {}, "pipelineTaskName": finished.task}
        else:
            value = spec["runtimeValue"]["constant"]
            value = self.run if value == "{{$.pipeline_job_uuid}}" else value
        if "parameterExpressionSelector" in spec:
            key = re.fullmatch(r'parseJson\(string_value\)\["(.+)"\]', spec["parameterExpressionSelector"])
            assert key is not None, spec
            value = (json.loads(value) if isinstance(value, str) else value)[key[1]]
        return value

    def _output(self, dag: Execution, producerTask: str, outputParameterKey: str) -> Any:  # noqa: N803 (keys of KFP)
        """Return an output of a task; that of a DAG is searched in the tasks within it."""
        tasks = self.descendants(dag)
        name = f"{producerTask}_{dag.number}" + ("" if dag.index is None else f"_idx_{dag.index}")
        output = outputParameterKey
        while True:
            if name not in tasks:
                raise DriverError(f"producer task {name} is not in tasks")
            task = tasks[name]
            if task.tasks is None:
                if output not in task.outputs:
                    raise DriverError(f"no output {output} of {task.task}, which is {task.state}")
                return task.outputs[output]
            if task.iterations or (task.parent is not None and task.parent.iterations):
                return self._collected(name, tasks, output)
            name, output = self._producer(task, tasks, name, output)

    def _producer(self, dag: Execution, tasks: dict[str, Execution], name: str, output: str) -> tuple[str, str]:
        """Return the task inside a DAG that makes an output of it, and that task's name for the output."""
        if dag.producers is None:
            return name, output
        if output not in dag.producers:
            raise DriverError(f"no output {output} of {dag.task}")
        spec = dag.producers[output]
        if "valueFromParameter" in spec:
            inner = spec["valueFromParameter"]
            return f"{inner['producerSubtask']}_{dag.number}", inner["outputParameterKey"]
        for inner in spec["valueFromOneof"]["parameterSelectors"]:
            branch = tasks.get(f"{inner['producerSubtask']}_{dag.number}")
            if branch is not None and branch.state in ("CACHED", "COMPLETE"):
                return branch.key(), inner["outputParameterKey"]
        states = {child.task: child.state for child in self.children(dag).values()}
        raise DriverError(f"processing OneOf: No successful task found for {output} of {dag.task}: {states}")

    def _collected(self, name: str, tasks: dict[str, Execution], output: str) -> list[Any]:
        """Return an output of every iteration of a loop, breadth first through the loops within it."""
        inner_name, wanted, outer, values = "", output, output, []
        queue, previous = [name], tasks[name].task
        while queue:
            current = queue.pop(0)
            if current not in tasks:
                raise DriverError(f"no task {current} to collect from")
            task = tasks[current]
            wanted = outer if task.task == previous else wanted
            previous, outer = task.task, wanted
            inner_name, wanted = self._producer(task, tasks, inner_name, wanted)
            if task.tasks is None:
                values.append(task.outputs.get(wanted))
            elif task.iterations is None:
                queue.append(inner_name if task.index is None else f"{inner_name}_idx_{task.index}")
            else:
                queue += [f"{task.task}_{task.number}_idx_{index}" for index in range(task.iterations)]
        return values


def parameters(task: Json) -> Json:
    """Return where the inputs of a task come from, by name."""
    found: Json = task.get("inputs", {}).get("parameters", {})
    return found


def declared_inputs(component: Json) -> Json:
    """Return types and default values of the inputs of a component, by name."""
    found: Json = component.get("inputDefinitions", {}).get("parameters", {})
    return found


def checked(values: Json, component: Json, omit: str | None = None) -> Json:
    """Return inputs as the driver passes them on: a value that is not text becomes JSON where text is declared.

    Args:
        omit: an input that a loop supplies later.

    Raises:
        DriverError: an input is missing or of another type.
    """
    for name, declared in declared_inputs(component).items():
        kind = declared["parameterType"]
        if name not in values:
            if name == omit or declared.get("isOptional") or "defaultValue" in declared:
                continue
            raise DriverError(f"neither value nor default value for {name}")
        value = values[name]
        if kind == "STRING" and not isinstance(value, str):
            values[name] = json.dumps(value)
        elif not isinstance(value, TYPES[kind]) or (isinstance(value, bool) and kind != "BOOLEAN"):
            raise DriverError(f"input parameter {name} type mismatch: expect {kind}, got {value!r}")
    return values
