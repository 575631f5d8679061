"""Preparation of a run: compile the pipeline, and push the source data of the study to the store."""

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from kfp import compiler

from nofrost.config import Study
from nofrost.errors import UserError
from nofrost.files import write_text
from nofrost.prepare import resolve_source
from nofrost.store import Ref, Store, push
from nofrost.system_errors import explain_write_errors
from pipelines.cluster import load_cluster
from pipelines.graph import make_pipeline


def write_package(out: Path, cluster: Path | None, *, caching: bool = True) -> None:
    """Compile the pipeline and write it to `out`. The same input gives the same bytes.

    Args:
        cluster: YAML file that describes the cluster; None for the default one.

    Raises:
        UserError: the cluster's file is wrong, or `out` cannot be written.
    """
    pipeline = make_pipeline(load_cluster(cluster), caching=caching)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "package.yaml"
        compiler.Compiler().compile(pipeline, str(path))
        text = canonical(path.read_text(encoding="utf-8"))
    with explain_write_errors(out):
        write_text(out, text)


def canonical(text: str) -> str:
    """Return a compiled pipeline with components and executors numbered in the order of the graph.

    Kubeflow's compiler numbers components of the same name from different nested pipelines in the order of a hash
    table, which changes from one compilation to the next.
    """
    spec, platform = yaml.safe_load_all(text)
    names: dict[str, str] = {}
    for old in _in_order(spec, spec["root"]):
        if old not in names:
            names[old] = _unused(re.sub(r"(-\d+)+$", "", old), set(names.values()))
    labels = {}
    for old, new in names.items():
        component = spec["components"][old]
        if "executorLabel" in component:
            labels[component["executorLabel"]] = new.replace("comp-", "exec-", 1)
            component["executorLabel"] = labels[component["executorLabel"]]
    for component in (spec["root"], *spec["components"].values()):
        for task in component.get("dag", {}).get("tasks", {}).values():
            task["componentRef"]["name"] = names[task["componentRef"]["name"]]
    spec["components"] = {names[old]: component for old, component in spec["components"].items()}
    for deployment in (spec["deploymentSpec"], platform["platforms"]["kubernetes"]["deploymentSpec"]):
        deployment["executors"] = {labels[old]: executor for old, executor in deployment["executors"].items()}
    head = "".join(line for line in text.splitlines(keepends=True) if line.startswith("#"))
    return head + yaml.safe_dump_all([spec, platform], sort_keys=True)


def _in_order(spec: dict[str, Any], component: dict[str, Any]) -> Iterator[str]:
    """Yield the names of the components that `component` contains, parents before their children."""
    for _, task in sorted(component.get("dag", {}).get("tasks", {}).items()):
        name = task["componentRef"]["name"]
        yield name
        yield from _in_order(spec, spec["components"][name])


def _unused(name: str, used: set[str]) -> str:
    number, candidate = 1, name
    while candidate in used:
        number += 1
        candidate = f"{name}-{number}"
    return candidate


def push_source(study: Study, data_ref: str | None, store: Store) -> str:
    """Push the study's source data, which pods cannot read from this machine; return their ref, empty without files.

    Args:
        data_ref: the ref of data that are in the store already; None pushes the data at ``dataset.path``.

    Raises:
        UserError: `data_ref` is not a ref, there is nothing at ``dataset.path``, or the store cannot be written.
    """
    if data_ref is not None:
        return str(Ref.parse(data_ref))
    if not resolve_source(study.dataset, study.name, ("dataset",)).needs_path:
        return ""
    path = Path(study.dataset.path)
    if not path.exists():
        raise UserError(
            f"dataset.path {study.dataset.path} does not exist: put the images of source {study.dataset.source!r} "
            "there, or give their ref with --data-ref"
        )
    return str(push(path, store))
