"""Plans of studies to compile, and the graph of a compiled package: what each task is given, and by which others."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.study_plan import PlannedSuite, RunPlan, StudyPlan

Json = dict[str, Any]
Path = tuple[str, ...]
RECIPES = ("st", "sat", "mbnat", "nofrost")
PLACEHOLDER = re.compile(r"{{\$\.inputs\.parameters\['([^']+)'\]}}")


def plan_of(
    recipes: int = 1,
    seeds: int = 1,
    champion: str = "digits",
    adversarial: Sequence[str] = ("quick",),
    ood: Sequence[str] = ("quick",),
) -> StudyPlan:
    """A plan whose texts stand for the real ones."""
    attacked = tuple(PlannedSuite(name, f"the attacks {name}") for name in adversarial)
    shifted = tuple(PlannedSuite(name, f"the corruptions {name}", f"the test sets {name}") for name in ood)
    gate = (attacked[-1], shifted[-1] if shifted else None) if champion else (None, None)
    pairs = itertools.product(RECIPES[:recipes], range(seeds))
    runs = tuple(RunPlan(name, str(seed), f"recipe of {name}") for name, seed in pairs)
    return StudyPlan("the study", "the dataset", "the augmentation", attacked, shifted, runs, champion, gate)


@dataclass(frozen=True)
class Source:
    """Where the value of an input comes from: the output of a task, or a parameter of the pipeline."""

    task: Path
    name: str


class PackageGraph:
    """A compiled package. The path of a task is its name below those of the pipelines that it is nested in.

    Args:
        spec, platform: its two documents.
    """

    def __init__(self, spec: Json, platform: Json) -> None:
        self.spec, self.platform = spec, platform
        self.executors: Json = spec["deploymentSpec"]["executors"]
        self.pods: Json = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]

    def tasks(self, path: Path = ()) -> Iterator[Path]:
        """Every task that runs a container."""
        for name in sorted(self._dag(path)["tasks"]):
            if "dag" in self.component((*path, name)):
                yield from self.tasks((*path, name))
            else:
                yield (*path, name)

    def task(self, path: Path) -> Json:
        task: Json = self._dag(path[:-1])["tasks"][path[-1]]
        return task

    def component(self, path: Path) -> Json:
        component: Json = self.spec["components"][self.task(path)["componentRef"]["name"]]
        return component

    def kind(self, path: Path) -> str:
        """The name of the component of a task, without what kfp puts around it."""
        return re.sub(r"(-\d+)?$", "", self.task(path)["componentRef"]["name"].removeprefix("comp-"))

    def label(self, path: Path) -> str:
        label: str = self.component(path)["executorLabel"]
        return label

    def container(self, path: Path) -> Json:
        container: Json = self.executors[self.label(path)]["container"]
        return container

    def pod(self, path: Path) -> Json:
        pod: Json = self.pods[self.label(path)]
        return pod

    def value(self, path: Path, name: str) -> Any:
        """What an input of a task is given: a constant or its source, in lists as well."""
        return self._resolved(path, self.task(path)["inputs"]["parameters"][name])

    def values(self, path: Path) -> Json:
        """All that a container is given, by the names of its component."""
        names = self.component(path).get("inputDefinitions", {}).get("parameters", {})
        return {name: self.value(path, name) for name in names if name in self.task(path)["inputs"]["parameters"]}

    def sources(self, path: Path) -> set[Path]:
        """The tasks whose outputs a task reads."""
        values = [self.value(path, name) for name in self.task(path)["inputs"]["parameters"]]
        each = [one for value in values for one in (value if isinstance(value, list) else [value])]
        return {one.task for one in each if isinstance(one, Source) and one.task}

    def _dag(self, path: Path) -> Json:
        dag: Json = self.component(path)["dag"] if path else self.spec["root"]["dag"]
        return dag

    def _resolved(self, path: Path, given: Json) -> Any:
        if "taskOutputParameter" in given:
            output = given["taskOutputParameter"]
            return self._produced((*path[:-1], output["producerTask"]), output["outputParameterKey"])
        if "componentInputParameter" in given:
            name = given["componentInputParameter"]
            return self.value(path[:-1], name) if len(path) > 1 else Source((), name)
        return self._filled(path, given.get("runtimeValue", {}).get("constant"))

    def _filled(self, path: Path, constant: Any) -> Any:
        """A constant with its placeholders filled in, as the launcher does."""
        if isinstance(constant, list):
            return [self._filled(path, each) for each in constant]
        match = PLACEHOLDER.fullmatch(constant) if isinstance(constant, str) else None
        return self.value(path, match[1]) if match else constant

    def _produced(self, path: Path, output: str) -> Source:
        component = self.component(path)
        if "dag" not in component:
            return Source(path, output)
        inner = component["dag"]["outputs"]["parameters"][output]["valueFromParameter"]
        return self._produced((*path, inner["producerSubtask"]), inner["outputParameterKey"])
