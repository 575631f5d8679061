"""The validator of objects refuses what an API server refuses."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from itertools import cycle
from typing import Any

import pytest

from nofrost.cluster.job.pytorchjob import as_pytorchjob
from nofrost.cluster.job.settings import JobSettings
from nofrost.cluster.job.spec import Owner
from nofrost.cluster.job.training_runtime import training_runtime
from nofrost.cluster.job.trainjob import as_trainjob
from tests.cluster.job.crd import crd, errors, needs_crds
from tests.cluster.job.jobs import job

pytestmark = needs_crds
Json = dict[str, Any]
OBJECTS: dict[str, Callable[[], Json]] = {
    "pytorchjobs": lambda: as_pytorchjob(job(owner=Owner("launcher", "uid"))),
    "trainjobs": lambda: as_trainjob(job(owner=Owner("launcher", "uid"))),
    "trainingruntimes": lambda: training_runtime(JobSettings()),
}


def places(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Yield the path of everything inside an object."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield (*path, key)
        yield from places(item, (*path, key))


def at(value: Any, path: tuple[str | int, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


@pytest.mark.parametrize("plural", OBJECTS)
def test_the_objects_that_are_changed_below_are_valid(plural: str) -> None:
    assert errors(plural, OBJECTS[plural]()) == []


@pytest.mark.parametrize("plural", OBJECTS)
def test_a_value_of_another_type_is_refused_everywhere(plural: str) -> None:
    original = OBJECTS[plural]()
    paths = list(places(original))
    assert len(paths) > 50
    for path, wrong in zip(paths, cycle((None, 1.5, [[]])), strict=False):
        changed = copy.deepcopy(original)
        at(changed, path[:-1])[path[-1]] = wrong
        assert errors(plural, changed), f"{path} may be {wrong}"


@pytest.mark.parametrize("plural", OBJECTS)
def test_an_unknown_field_is_refused_everywhere(plural: str) -> None:
    original = OBJECTS[plural]()
    paths = [(), *(path for path in places(original) if isinstance(at(original, path), dict))]
    assert len(paths) > 20
    for path in paths:
        changed = copy.deepcopy(original)
        at(changed, path)["unknownField"] = {"unknownField": ""}  # in a map of texts, it is no text
        assert errors(plural, changed), f"{path} may have an unknown field"


@pytest.mark.parametrize("plural", OBJECTS)
def test_a_missing_required_field_is_refused(plural: str) -> None:
    changed = OBJECTS[plural]()
    for key in ("apiVersion", "kind", "metadata"):
        assert errors(plural, {name: value for name, value in changed.items() if name != key}), key


def replica(**values: Any) -> Callable[[Json], None]:
    return lambda value: value["spec"]["pytorchReplicaSpecs"]["Master"].update(values)


def container(change: Callable[[Json], None]) -> Callable[[Json], None]:
    return lambda value: change(
        value["spec"]["pytorchReplicaSpecs"]["Master"]["template"]["spec"]["containers"][0],
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda value: value["spec"].update(nprocPerNode=8), "spec.nprocPerNode: 8 is no string"),
        (lambda value: value["spec"]["runPolicy"].update(backoffLimit=True), "backoffLimit: True is no integer"),
        (lambda value: value["spec"]["runPolicy"].update(backoffLimit=2**31), "backoffLimit: 2147483648 is no int32"),
        (lambda value: value["spec"].pop("pytorchReplicaSpecs"), "spec.pytorchReplicaSpecs: is required"),
        (replica(replicas="1"), "Master.replicas: '1' is no integer"),
        (container(lambda value: value.pop("name")), "containers[0].name: is required"),
        (container(lambda value: value["env"].append(value["env"][0])), "is there twice"),
        (container(lambda value: value["resources"]["limits"].update(cpu="4 cores")), "'4 cores' does not match"),
        (container(lambda value: value["resources"]["limits"].update(cpu=[])), "neither integer nor string"),
        (lambda value: value["metadata"].update(name="a_b"), "metadata.name: 'a_b'"),
        (lambda value: value["metadata"].update(namespace="a.b"), "metadata.namespace: 'a.b'"),
        (lambda value: value["metadata"].update(labels=[]), "labels and annotations are maps"),
        (lambda value: value["metadata"]["labels"].update({"a b": "x"}), "'a b' is no key"),
        (lambda value: value["metadata"]["labels"].update(a="x" * 64), "is no value"),
        (lambda value: value["metadata"]["annotations"].update(a=1), "1 is no value"),
        (lambda value: value["metadata"]["annotations"].update(a="x" * 2**18), "annotations: too long"),
        (lambda value: value["metadata"].update(ownerReferences=[{"kind": "Pod"}]), "ownerReferences[0]: its keys"),
        (lambda value: value.update(apiVersion="kubeflow.org/v2"), "apiVersion: 'kubeflow.org/v2' is not kubeflow"),
    ],
)
def test_each_kind_of_fault_of_a_pytorchjob_is_named(change: Callable[[Json], None], message: str) -> None:
    value = as_pytorchjob(job())
    change(value)
    assert [each for each in errors("pytorchjobs", value) if message in each]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda value: value["metadata"].update(name="1job"), "metadata.name must match RFC 1035"),
        (lambda value: value["metadata"].update(name="a" * 64), "metadata.name must be no more than 63 characters"),
        (lambda value: value["spec"].update(managedBy="me"), "spec.managedBy: ManagedBy must be"),
        (lambda value: value["spec"]["trainer"].update(image="x" * 501), "spec.trainer.image: 501 characters"),
        (lambda value: value["spec"]["trainer"].update(args=["x"] * 129), "spec.trainer.args: 129 items"),
        (lambda value: value["spec"]["runtimeRef"].update(name=""), "spec.runtimeRef.name: 0 characters"),
        (
            lambda value: value["spec"].update(initializer={"model": {"storageUri": "weights"}}),
            "spec.initializer.model.storageUri: storageUri may be empty",
        ),
        (lambda value: value["spec"]["runtimePatches"][0].update(time="now"), "'now' is no time"),
    ],
)
def test_each_kind_of_fault_of_a_trainjob_is_named(change: Callable[[Json], None], message: str) -> None:
    value = as_trainjob(job())
    change(value)
    assert [each for each in errors("trainjobs", value) if message in each]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda spec: spec["mlPolicy"].update(jax={}), "spec.mlPolicy: Only one of the policy can be configured"),
        (
            lambda spec: spec["mlPolicy"].update(
                torch={"envInjection": {"targets": [{"jobName": "a", "containerNames": ["node"]}]}}
            ),
            "containerNames must not include the main node container",
        ),
        (
            lambda spec: spec["template"]["spec"].update(
                startupPolicy={"startupPolicyOrder": "InOrder"},
                replicatedJobs=[
                    {**spec["template"]["spec"]["replicatedJobs"][0], "dependsOn": [{"name": "a", "status": "Ready"}]}
                ],
            ),
            "StartupPolicy and DependsOn APIs are mutually exclusive",
        ),
        (
            lambda spec: spec["template"]["spec"]["failurePolicy"].update(restartStrategy="Sometimes"),
            "'Sometimes' is none of",
        ),
        (lambda spec: spec.clear(), "spec: 0 properties"),
    ],
)
def test_each_kind_of_fault_of_a_runtime_is_named(change: Callable[[Json], None], message: str) -> None:
    value = training_runtime(JobSettings())
    change(value["spec"])
    assert [each for each in errors("trainingruntimes", value) if message in each]


def test_what_cannot_be_changed_is_refused_in_an_update() -> None:
    old, new = as_trainjob(job()), as_trainjob(job())
    assert errors("trainjobs", new, old) == []
    new["spec"]["activeDeadlineSeconds"] += 1
    new["spec"]["runtimePatches"][0]["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"][0]["template"][
        "spec"
    ]["template"]["spec"]["volumes"].pop()
    found = errors("trainjobs", new, old)
    assert "spec.activeDeadlineSeconds: field is immutable" in " ".join(found)
    assert "volumes: field is immutable" in " ".join(found)
    assert errors("trainjobs", new) == []


def test_a_rule_that_cannot_be_evaluated_is_no_valid_object() -> None:
    value = as_trainjob(job())
    del value["metadata"]["name"]
    assert [each for each in errors("trainjobs", value) if "KeyError" in each]


def test_a_keyword_that_the_validator_does_not_know_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    definition = copy.deepcopy(crd("trainjobs"))
    definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["oneOf"] = []
    monkeypatch.setattr("tests.cluster.job.crd.crd", lambda plural: definition)
    with pytest.raises(AssertionError, match="does not know"):
        errors("trainjobs", as_trainjob(job()))
