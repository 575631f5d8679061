"""Preparation of a run: the compiled pipeline, and the source data of the study in the store."""

import json
import re
from pathlib import Path
from typing import Any

import yaml
from google.protobuf import json_format
from kfp.dsl.base_component import BaseComponent

from nofrost.config import Study
from nofrost.errors import UserError
from nofrost.files import write_text
from nofrost.prepare import resolve_source
from nofrost.store import Store, push
from nofrost.store.location import SCHEME
from nofrost.store.releases import LATEST, resolve_ref
from nofrost.system_errors import explain_write_errors

# The pipeline, and what is Kubernetes' own of its executors.
Documents = tuple[dict[str, Any], dict[str, Any]]


def write_package(out: Path, documents: Documents) -> None:
    """Write a compiled pipeline to `out` as YAML. The same pipeline gives the same bytes.

    Raises:
        UserError: `out` cannot be written.
    """
    with explain_write_errors(out):
        write_text(out, package_text(documents))


def package_text(documents: Documents) -> str:
    """Return the YAML of a package."""
    # The emitter in C takes a tenth of the time.
    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    text: str = yaml.dump_all(documents, Dumper=dumper, sort_keys=True, width=120)
    return text


def canonical(pipeline: BaseComponent) -> Documents:
    """Return the two documents of a package: the pipeline, and what is Kubernetes' own of its executors.

    Equal components are one. Kubeflow's compiler makes a copy of a nested pipeline and all that is in it for each use,
    and numbers the copies in the order of a hash table, which changes from one compilation to the next.
    """
    spec = json_format.MessageToDict(pipeline.pipeline_spec)
    platform = json_format.MessageToDict(pipeline.platform_spec)
    components = _Components(spec, platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"])
    components.rename(spec["root"])
    spec["components"] = components.merged
    spec["deploymentSpec"]["executors"] = components.executors
    platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"] = components.pods
    return spec, platform


class _Components:
    """The components of a pipeline without copies, with their executors and what Kubernetes gets of these.

    Attributes:
        merged, executors, pods: by new name or label.
    """

    def __init__(self, spec: dict[str, Any], pods: dict[str, Any]) -> None:
        self._spec, self._pods = spec, pods
        self._names: dict[str, str] = {}  # new ones, by the old
        self._names_by_content: dict[str, str] = {}
        self.merged: dict[str, Any] = {}
        self.executors: dict[str, Any] = {}
        self.pods: dict[str, Any] = {}

    def rename(self, component: dict[str, Any]) -> None:
        """Let the tasks of a component refer to new names, in the order of their own names."""
        for _, task in sorted(component["dag"]["tasks"].items()):
            task["componentRef"]["name"] = self._new_name(task["componentRef"]["name"])

    def _new_name(self, old: str) -> str:
        if old not in self._names:
            component = self._spec["components"][old]
            label = component.pop("executorLabel", None)
            executor, pod = self._spec["deploymentSpec"]["executors"].get(label), self._pods.get(label)
            if label is None:
                # Before its content is compared, so that equal parts have equal names.
                self.rename(component)
            content = json.dumps([component, executor, pod], sort_keys=True)
            if content not in self._names_by_content:
                self._names_by_content[content] = self._add(old, component, executor, pod)
            self._names[old] = self._names_by_content[content]
        return self._names[old]

    def _add(self, old: str, component: dict[str, Any], executor: Any, pod: Any) -> str:
        base = re.sub(r"(-\d+)+$", "", old)
        name, number = base, 1
        while name in self.merged:
            number += 1
            name = f"{base}-{number}"
        self.merged[name] = component
        if executor is not None:
            label = component["executorLabel"] = name.replace("comp-", "exec-", 1)
            self.executors[label] = executor
            if pod is not None:
                self.pods[label] = pod
        return name


def push_source(study: Study, data_ref: str | None, store: Store) -> str:
    """Push the study's source data, which pods cannot read from this machine; return their ref, empty without files.

    What is ``latest:NAME`` stays so. Data on S3 (``s3://...``) are not pushed: the task that reads them fetches them.

    Args:
        data_ref: the ref of data that are in the store already, or ``latest:NAME`` for the newest of a name; None
            pushes the data at ``dataset.path``.

    Raises:
        UserError: `data_ref` is neither, or there are no data of that name; there is nothing at ``dataset.path``, or
            the store cannot be written.
    """
    if data_ref is not None:
        ref = resolve_ref(data_ref, store)
        # The task `resolve` of the graph takes what is the newest then.
        return data_ref if data_ref.startswith(LATEST) else str(ref)
    if not resolve_source(study.dataset, study.name, ("dataset",)).needs_path:
        return ""
    # The task fetches them itself.
    if study.dataset.path.startswith(SCHEME):
        return ""
    path = Path(study.dataset.path)
    if not path.exists():
        raise UserError(
            f"dataset.path {study.dataset.path} does not exist: put the images of source {study.dataset.source!r} "
            "there, or give their ref with --data-ref"
        )
    return str(push(path, store))
