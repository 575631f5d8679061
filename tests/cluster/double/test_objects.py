"""Objects are created, changed and deleted as by the real server: its codes, and the shapes of its documentation.

Sources: https://kubernetes.io/docs/reference/using-api/api-concepts/, the reference of Status and ObjectMeta, and the
pages on owners, garbage collection and field validation.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.cluster.double.api_server import ApiServer
from tests.cluster.double.conftest import MERGE, Client
from tests.cluster.double.resources import NAMESPACE, PODS, PYTORCHJOBS, TRAINJOBS
from tests.cluster.job.crd import needs_crds

STATUS = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
DETAILS = {"name": "a", "group": "kubeflow.org", "kind": "pytorchjobs"}
PATH = f"{PYTORCHJOBS.path}/a"


def job(name: str = "a", **metadata: Any) -> dict[str, Any]:
    """A PyTorchJob that its definition allows."""
    pod = {"spec": {"containers": [{"name": "pytorch", "image": "x"}]}}
    spec = {"runPolicy": {}, "pytorchReplicaSpecs": {"Master": {"template": pod}}}
    return {"apiVersion": "kubeflow.org/v1", "kind": "PyTorchJob", "metadata": {"name": name, **metadata}, "spec": spec}


def owned_by(*owners: dict[str, Any]) -> list[dict[str, str]]:
    return [
        {"apiVersion": "v1", "kind": "Pod", "name": each["metadata"]["name"], "uid": each["metadata"]["uid"]}
        for each in owners
    ]


def test_an_object_that_is_created(client: Client) -> None:
    code, made = client.ask("POST", PYTORCHJOBS.path, {**job(labels={"a": "b"}), "status": {"conditions": []}})
    assert code == 201
    assert "status" not in made, "it is a sub-resource"
    metadata = made["metadata"]
    assert metadata["namespace"] == NAMESPACE
    assert metadata["generation"] == 1
    assert int(metadata["resourceVersion"]) > 0
    assert len(metadata["uid"]) == 36
    assert metadata["creationTimestamp"].endswith("Z")
    assert len(metadata["creationTimestamp"]) == len("2026-01-02T03:04:05Z")
    assert client.ask("GET", PATH) == (200, made)


def test_one_that_is_there(client: Client) -> None:
    client.ask("POST", PYTORCHJOBS.path, job())
    message = 'pytorchjobs.kubeflow.org "a" already exists'
    refused = {**STATUS, "message": message, "reason": "AlreadyExists", "details": DETAILS, "code": 409}
    assert client.ask("POST", PYTORCHJOBS.path, job()) == (409, refused)


def test_one_that_is_not_there(client: Client) -> None:
    message = 'pytorchjobs.kubeflow.org "a" not found'
    missing = {**STATUS, "message": message, "reason": "NotFound", "details": DETAILS, "code": 404}
    assert client.ask("GET", PATH) == (404, missing)
    missing |= {"message": 'pods "a" not found', "details": {"name": "a", "kind": "pods"}}
    assert client.ask("GET", f"{PODS.path}/a/log") == (404, missing)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (job("A_b"), 422),
        (job("", generateName="a-"), 422),
        (job(resourceVersion="1"), 400),
        (job(namespace="other"), 400),
        ({**job(), "kind": "TrainJob"}, 400),
        (job(ownerReferences=[{"apiVersion": "v1", "kind": "Pod", "name": "x"}]), 422),
        ([], 400),
    ],
)
def test_what_cannot_be_created(body: Any, code: int, client: Client) -> None:
    answered, status = client.ask("POST", PYTORCHJOBS.path, body)
    assert (answered, status["code"], status["status"]) == (code, code, "Failure")
    assert not client.server.names(PYTORCHJOBS)


@needs_crds
def test_an_object_that_its_definition_forbids(client: Client) -> None:
    wrong = job()
    wrong["spec"]["runPolicy"]["backoffLimit"] = "three"
    code, status = client.ask("POST", PYTORCHJOBS.path, wrong)
    assert (code, status["reason"], status["details"]) == (422, "Invalid", {**DETAILS, "kind": "PyTorchJob"})
    assert status["message"].startswith('PyTorchJob.kubeflow.org "a" is invalid: spec.runPolicy.backoffLimit: ')
    runtime = {"kind": "TrainingRuntime", "name": "x"}
    body = {**job(), "apiVersion": "trainer.kubeflow.org/v1alpha1", "kind": "TrainJob", "spec": {"runtimeRef": runtime}}
    assert client.ask("POST", TRAINJOBS.path, body)[0] == 201
    change = {"spec": {"runtimeRef": {"name": "y"}}}
    code, status = client.ask("PATCH", f"{TRAINJOBS.path}/a", change, MERGE)
    assert (code, status["reason"]) == (422, "Invalid")
    assert "immutable" in status["message"], "a rule of the definition in CEL"


@needs_crds
def test_a_field_that_its_definition_does_not_have(client: Client) -> None:
    wrong = job()
    wrong["spec"]["nodes"] = 2
    code, status = client.ask("POST", PYTORCHJOBS.path, wrong)
    assert (code, status["reason"]) == (400, "BadRequest")
    assert status["message"].endswith('strict decoding error: unknown field "spec.nodes"')


def test_a_patch(client: Client) -> None:
    client.ask("POST", PYTORCHJOBS.path, job(labels={"a": "1", "b": "2"}))
    change = {"metadata": {"labels": {"a": "9", "b": None}}, "status": {"x": 1}}
    code, made = client.ask("PATCH", PATH, change, MERGE)
    assert code == 200
    assert made["metadata"]["labels"] == {"a": "9"}
    assert "status" not in made
    code, status = client.ask("PATCH", PATH, change, "application/strategic-merge-patch+json")
    assert (code, status["reason"]) == (415, "UnsupportedMediaType")


@pytest.mark.parametrize(
    ("metadata", "code", "reason"),
    [
        ({"uid": "another"}, 422, "Invalid"),
        ({"resourceVersion": "1"}, 409, "Conflict"),
        ({"name": "b"}, 400, "BadRequest"),
        ({"namespace": "other"}, 400, "BadRequest"),
        ({"ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "x"}]}, 422, "Invalid"),
    ],
)
def test_metadata_that_no_patch_may_have(metadata: Any, code: int, reason: str, client: Client) -> None:
    _, made = client.ask("POST", PYTORCHJOBS.path, job())
    answered, status = client.ask("PATCH", PATH, {"metadata": metadata}, MERGE)
    assert (answered, status["reason"]) == (code, reason)
    assert client.ask("GET", PATH) == (200, made)


def test_metadata_that_a_patch_leaves_as_they_are(client: Client) -> None:
    _, made = client.ask("POST", PYTORCHJOBS.path, job())
    times = {"creationTimestamp": "2026-01-02T03:04:05Z", "deletionTimestamp": "2026-01-02T03:04:05Z"}
    code, after = client.ask("PATCH", PATH, {"metadata": {**times, "generation": 7, "uid": None}}, MERGE)
    del made["metadata"]["resourceVersion"], after["metadata"]["resourceVersion"]
    assert (code, after) == (200, made)


def test_a_deletion(client: Client) -> None:
    _, made = client.ask("POST", PYTORCHJOBS.path, job())
    uid, options = made["metadata"]["uid"], {"kind": "DeleteOptions", "apiVersion": "v1"}
    for preconditions in ({"uid": "another"}, {"uid": uid, "resourceVersion": "1"}):
        code, status = client.ask("DELETE", PATH, {**options, "preconditions": preconditions})
        assert (code, status["reason"], status["details"]) == (409, "Conflict", DETAILS)
    assert client.ask("DELETE", PATH, {**options, "propagationPolicy": "background"})[0] == 400
    expected = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
    answer = client.ask("DELETE", PATH, {**options, "preconditions": {"uid": uid}})
    assert answer == (200, {**expected, "details": {**DETAILS, "uid": uid}})
    assert client.ask("DELETE", PATH)[0] == 404


def test_a_deletion_with_finalizers(client: Client) -> None:
    client.ask("POST", PYTORCHJOBS.path, job(finalizers=["example.com/x"]))
    code, left = client.ask("DELETE", PATH)
    assert code == 200
    assert left["metadata"]["deletionTimestamp"].endswith("Z")
    assert client.server.names(PYTORCHJOBS) == ["a"]


def test_what_a_deleted_object_owns_is_collected(client: Client, server: ApiServer) -> None:
    first, second = (server.add(PODS, name, spec={}) for name in ("first", "second"))
    client.ask("POST", PYTORCHJOBS.path, job("of-first", ownerReferences=owned_by(first)))
    client.ask("POST", PYTORCHJOBS.path, job("of-both", ownerReferences=owned_by(first, second)))
    client.ask("POST", PYTORCHJOBS.path, job("of-nobody"))
    held = job("held", ownerReferences=owned_by(first), finalizers=["example.com/x"])
    client.ask("POST", PYTORCHJOBS.path, held)
    server.add(PODS, "of-a-job", spec={}, metadata={"ownerReferences": owned_by(server.find(PYTORCHJOBS, "of-first"))})
    assert client.ask("DELETE", f"{PODS.path}/first")[0] == 200
    assert server.names(PYTORCHJOBS) == ["held", "of-both", "of-nobody"]
    assert server.find(PYTORCHJOBS, "held")["metadata"]["deletionTimestamp"]
    assert server.find(PYTORCHJOBS, "of-both")["metadata"]["ownerReferences"] == owned_by(second)
    assert server.names(PODS) == ["second"]
