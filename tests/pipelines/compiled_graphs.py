"""Compiled packages of plans whose texts stand for the real ones, and the kinds of their tasks. Needs kfp."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.cluster_settings import Cluster
from pipelines.graph import make_part_pipeline, make_pipeline, make_report_pipeline
from pipelines.graph_settings import GraphSettings
from pipelines.package import canonical
from tests.pipelines.package_graph import PackageGraph, plan_of

# Tasks of the pipeline that are not stages: notes, which are never taken from the cache, and what is about the
# champion, which is state outside a checkout.
NOTES = {"write-candidate", "record-outputs", "finish", "resolve", "promote"}
CHAMPION = {"champion", "gate"}
ON_GPU = {"train", "evaluate", "evaluate-shard"}
MANY = {"gpus": 8, "nodes": 2}


def compiled(
    recipes: int = 1,
    seeds: int = 1,
    cluster: Cluster | None = None,
    suites: Mapping[str, Sequence[str]] | None = None,
    **options: Any,
) -> PackageGraph:
    plan = plan_of(recipes, seeds, **suites or {})
    return PackageGraph(*canonical(make_pipeline(plan, GraphSettings(cluster or Cluster(), **options))))


def part_of_a_study() -> PackageGraph:
    return PackageGraph(*canonical(make_part_pipeline(plan_of(2), GraphSettings(Cluster()))))


def report_of_parts() -> PackageGraph:
    outputs: dict[str, Any] = {
        "dataset": "d@1",
        "test_sets": ["data/test-sets/quick@6"],
        "augmentation": "a@2",
        "trained": ["t@3"],
        "adversarial": ["e@4"],
        "ood": ["e@5"],
    }
    return PackageGraph(*canonical(make_report_pipeline(plan_of(), outputs, GraphSettings(Cluster()))))


def only(graph: PackageGraph, kind: str) -> tuple[str, ...]:
    (task,) = [task for task in graph.tasks() if graph.kind(task) == kind]
    return task
