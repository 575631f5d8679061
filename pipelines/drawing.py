"""A drawing of the graph in a compiled package: boxes and arrows, and its text for Mermaid.

The drawing is read from the package itself, so it shows what a cluster would run. Shards of one evaluation are one box,
and of many runs only the first are drawn.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]
SHOWN = 4  # runs that are drawn of more than MANY
MANY = 6
PART = re.compile(r", (\d+/\d+|merge)$")  # what distinguishes the tasks of one evaluation by name


@dataclass(frozen=True)
class Box:
    """A task, several that are alike, or a frame around others.

    Attributes:
        name: what people read.
        kind: the component that it runs, such as `train`.
        note: a second, smaller line.
        copies: how many it is for.
        inside: what the frame contains.
    """

    name: str
    kind: str
    note: str = ""
    copies: int = 1
    inside: Drawing | None = None


@dataclass(frozen=True)
class Drawing:
    """Boxes, and arrows between them by their numbers; no arrow where a longer way leads."""

    boxes: tuple[Box, ...]
    arrows: tuple[tuple[int, int], ...]

    def depths(self) -> list[int]:
        """Return for each box how many arrows the longest way to it has."""
        depths = [0] * len(self.boxes)
        for _ in self.boxes:
            for source, target in self.arrows:
                depths[target] = max(depths[target], depths[source] + 1)
        return depths


def drawing_of(spec: Json) -> Drawing:
    """Return the drawing of a compiled pipeline, whose specification is the first document of its package."""
    return _Reader(spec).drawing(spec["root"])


class _Reader:
    """Reads drawings of the nested pipelines of a package."""

    def __init__(self, spec: Json) -> None:
        self._components: Json = spec["components"]
        self._executors: Json = spec["deploymentSpec"]["executors"]

    def drawing(self, component: Json) -> Drawing:
        tasks: Json = dict(sorted(component["dag"]["tasks"].items(), key=lambda item: _number(item[0])))
        groups: dict[str, list[str]] = {}
        for key, task in tasks.items():
            name = PART.sub("", task["taskInfo"]["name"])
            groups.setdefault(name if PART.search(task["taskInfo"]["name"]) else key, []).append(key)
        folded = self._fold_many([[tasks[key] for key in keys] for keys in groups.values()])
        boxes = tuple(box for box, _ in folded)
        number = {id(task): index for index, (_, members) in enumerate(folded) for task in members}
        arrows = {
            (number[id(tasks[other])], number[id(task)])
            for task in tasks.values()
            for other in task.get("dependentTasks", ())
        }
        return _from_first_to_last(Drawing(boxes, tuple(_reduced({pair for pair in arrows if pair[0] != pair[1]}))))

    def _fold_many(self, groups: list[list[Json]]) -> list[tuple[Box, list[Json]]]:
        """Return a box for each group of tasks; runs beyond the first share one."""
        nested = [tasks for tasks in groups if _kind(tasks[0]) == "run"]
        rest = nested[SHOWN:] if len(nested) > MANY else []
        boxes = [(self._box(tasks), tasks) for tasks in groups if tasks not in rest]
        if rest:
            last = max(index for index, (_, tasks) in enumerate(boxes) if tasks in nested)
            more = Box(f"{len(rest)} more runs", "run", "each like these", copies=len(rest))
            boxes.insert(last + 1, (more, [task for tasks in rest for task in tasks]))
        return boxes

    def _box(self, tasks: list[Json]) -> Box:
        task, component = tasks[-1], self._component(tasks[-1])
        name = PART.sub("", task["taskInfo"]["name"])
        kind = _kind(task)
        if "dag" in component:
            return Box(name, kind, inside=self.drawing(component))
        notes = [f"{len(tasks) - 1} shards, merged"] if len(tasks) > 1 else []
        notes += [devices] if (devices := self._devices(task, component)) else []
        if "ALL_UPSTREAM_TASKS_COMPLETED" in task.get("triggerPolicy", {}).values():
            notes.append("always runs")
        return Box(name, kind, ", ".join(notes), copies=len(tasks))

    def _devices(self, task: Json, component: Json) -> str:
        """Return what a task works on, "" for CPUs alone: GPUs of its pod, or the nodes of the job it starts."""
        given = task.get("inputs", {}).get("parameters", {})
        if "nodes" in given:
            nodes, gpus = (int(given[name]["runtimeValue"]["constant"]) for name in ("nodes", "gpus"))
            return " x ".join([_counted(nodes, "node"), *([_counted(gpus, "GPU")] if gpus else [])])
        container = self._executors[component["executorLabel"]]["container"]
        gpus = container.get("resources", {}).get("accelerator", {}).get("resourceCount")
        return _counted(int(gpus), "GPU") if gpus else ""

    def _component(self, task: Json) -> Json:
        component: Json = self._components[task["componentRef"]["name"]]
        return component


def _kind(task: Json) -> str:
    """Return the name of the component that a task runs, without the numbers of copies."""
    return re.sub(r"(-\d+)+$", "", task["componentRef"]["name"].removeprefix("comp-"))


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def as_mermaid(drawing: Drawing) -> str:
    """Return a drawing as a Mermaid flowchart."""
    return "\n".join(["flowchart LR", *_mermaid(drawing, "", "  ")]) + "\n"


def _mermaid(drawing: Drawing, prefix: str, indent: str) -> Iterator[str]:
    names = [f"{prefix}{index}" if prefix else f"n{index}" for index in range(len(drawing.boxes))]
    for name, box in zip(names, drawing.boxes, strict=True):
        label = box.name.replace('"', "#quot;").replace("<", "#lt;").replace(">", "#gt;")
        if box.inside is None:
            note = f"<br/><small>{box.note}</small>" if box.note else ""
            yield f'{indent}{name}{"[[" if box.copies > 1 else "["}"{label}{note}"{"]]" if box.copies > 1 else "]"}'
        else:
            yield f'{indent}subgraph {name}["{label}"]'
            yield f"{indent}  direction LR"
            yield from _mermaid(box.inside, f"{name}_", indent + "  ")
            yield f"{indent}end"
    for source, target in drawing.arrows:
        yield f"{indent}{names[source]} --> {names[target]}"


def _from_first_to_last(drawing: Drawing) -> Drawing:
    """Return a drawing whose boxes are in an order in which they can run."""
    depths = drawing.depths()
    order = sorted(range(len(depths)), key=lambda index: depths[index])
    places = {old: new for new, old in enumerate(order)}
    arrows = sorted((places[source], places[target]) for source, target in drawing.arrows)
    return Drawing(tuple(drawing.boxes[index] for index in order), tuple(arrows))


def _reduced(arrows: set[tuple[int, int]]) -> set[tuple[int, int]]:
    """Return the arrows without those between boxes that a longer way connects."""
    after: dict[int, set[int]] = {}
    for source, target in arrows:
        after.setdefault(source, set()).add(target)

    def reachable(source: int) -> set[int]:
        return {box for target in after.get(source, ()) for box in {target, *reachable(target)}}

    return {
        (source, target)
        for source, target in arrows
        if not any(target in reachable(other) for other in after[source] if other != target)
    }


def _number(key: str) -> tuple[str, int]:
    """Return the parts of a task's key by which it sorts: `run-10` after `run-9`."""
    number = re.search(r"-(\d+)$", key)
    return (key, 1) if number is None else (key[: number.start()], int(number[1]))
