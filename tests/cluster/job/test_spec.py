"""The specification of a job: what makes two jobs the same, and what stands in both kinds of job."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import pytest

from nofrost.cluster.job.pod import verbatim
from nofrost.cluster.job.pytorchjob import as_pytorchjob
from nofrost.cluster.job.spec import MOST_NODES, Owner, job_name
from nofrost.cluster.job.trainjob import as_trainjob
from nofrost.errors import UserError
from tests.cluster.job.jobs import IMAGE, TRAINING, job

# Of what the operators make of a name, both of which must be labels of at most 63 characters.
LONGEST_ENDS = (f"-worker-{MOST_NODES - 2}", f"-node-0-{MOST_NODES - 1}-abcde")


def test_the_name_says_what_is_trained() -> None:
    assert re.fullmatch("nofrost-trades-fat-2-3-[0-9a-f]{10}", job().name)


@pytest.mark.parametrize("recipe_id", ["a", "A_b-C", "9lives", "x" * 100, "_-_", "é", "a--b", "-"])
@pytest.mark.parametrize("seed", ["0", str(2**63 - 1)])
def test_the_names_of_the_pods_are_labels_of_domain_names(recipe_id: str, seed: str) -> None:
    name = job_name(replace(TRAINING, recipe_id=recipe_id, seed=seed), "0123456789abcdef")
    assert re.fullmatch("[a-z]([-a-z0-9]*[a-z0-9])?", name)
    assert "--" not in name
    assert name.endswith("-0123456789")
    assert all(len(name + end) <= 63 for end in LONGEST_ENDS)


@pytest.mark.parametrize(
    "change",
    [
        {"gpus": 4},
        {"nodes": 3},
        {"image": IMAGE.replace("0123", "3210")},
        {"training": replace(TRAINING, dataset="data/dataset@ffffffffffffffffffffffffffffffff.dir:10:2")},
        {"training": replace(TRAINING, recipe="{}")},
        {"training": replace(TRAINING, store="s3://other")},
        {"env": {"NCCL_DEBUG": "INFO"}},
        {"resources": {"cpu": "8"}},
        {"deadline_s": 600},
        {"restarts": 1},
    ],
)
def test_another_job_has_another_name_and_another_digest(change: dict[str, Any]) -> None:
    assert job(**change).name != job().name
    assert job(**change).digest != job().digest


@pytest.mark.parametrize(
    "change",
    [{"run": "run-2"}, {"run": ""}, {"owner": Owner("a", "b")}, {"backend": "trainjob"}, {"queue_timeout_s": 60}],
)
def test_the_same_job_of_another_run_or_launcher_is_adopted(change: dict[str, Any]) -> None:
    assert job(**change).name == job().name
    assert job(**change).digest == job().digest


def test_the_digest_is_the_annotation_by_which_jobs_are_compared() -> None:
    annotations = job().metadata()["annotations"]
    assert annotations == {"nofrost/spec": job().digest, "nofrost/recipe": "trades-FAT_2", "nofrost/seed": "3"}
    assert re.fullmatch("[0-9a-f]{64}", job().digest)
    assert job().name.endswith(job().digest[:10])


def test_the_labels_name_the_run_and_the_queue() -> None:
    labels = job(queue="team-a", queue_priority="high").metadata()["labels"]
    assert labels == {
        "app.kubernetes.io/name": "nofrost",
        "app.kubernetes.io/instance": job(queue="team-a", queue_priority="high").name,
        "app.kubernetes.io/component": "train",
        "app.kubernetes.io/managed-by": "nofrost",
        "nofrost/run": "run-1",
        "kueue.x-k8s.io/queue-name": "team-a",
        "kueue.x-k8s.io/priority-class": "high",
    }
    assert "nofrost/run" not in job(run="").metadata()["labels"]


def test_the_pod_of_the_launcher_owns_the_job_and_controls_it_not() -> None:
    assert "ownerReferences" not in job().metadata()
    (reference,) = job(owner=Owner("launch-x", "4f2a")).metadata()["ownerReferences"]
    assert reference == {
        "apiVersion": "v1",
        "kind": "Pod",
        "name": "launch-x",
        "uid": "4f2a",
        "controller": False,
        "blockOwnerDeletion": False,
    }


def test_the_command_is_that_of_every_node() -> None:
    assert job(gpus=8, nodes=2).arguments == (
        "nofrost",
        "task",
        "train",
        f"--recipe={TRAINING.recipe}",
        "--recipe-id=trades-FAT_2",
        "--seed=3",
        f"--dataset={TRAINING.dataset}",
        f"--augmentation={TRAINING.augmentation}",
        "--store=s3://bucket/nofrost",
        "--data=local",
        "--gpus=8",
        "--nodes=2",
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image": "registry.example/nofrost-train:latest"}, "has no digest: give IMAGE@sha256:"),
        ({"image": "@sha256:" + "0" * 64}, "has no digest"),
        ({"image": f"{'a' * 500}@sha256:{'0' * 64}"}, "has no digest"),
        ({"gpus": -1}, "-1 GPUs a node is not possible: give 0 to 64"),
        ({"gpus": 65}, "65 GPUs a node"),
        ({"nodes": 0}, "0 nodes is not possible: give 1 to 1000"),
        ({"nodes": 1001}, "1001 nodes"),
        ({"run": "a b"}, "the id 'a b' of the run cannot be the value of a label"),
        ({"run": "a" * 64}, "of the run cannot be the value of a label"),
        ({"training": replace(TRAINING, recipe="x" * 131_072)}, "recipe trades-FAT_2 is longer than a pod can take"),
        ({"training": replace(TRAINING, store="s3://bucket/\ud800")}, r"'--store=s3://bucket/\ud800' is not UTF-8"),
    ],
)
def test_what_no_job_can_have_is_one_sentence(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as error:
        job(**change)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_name_that_is_no_namespace_is_one_sentence() -> None:
    with pytest.raises(UserError, match="'A' is not a namespace of Kubernetes"):
        replace(job(), namespace="A")


def expanded(text: str, variables: dict[str, str]) -> str:
    """Return what Kubernetes makes of an argument: $(NAME) is replaced where NAME is known, and $$ is a $.

    Source: the page "Define Dependent Environment Variables" of the documentation of Kubernetes.
    """
    return re.sub(
        r"\$(\$|\(([^)]*)\))",
        lambda match: "$" if match[1] == "$" else variables.get(match[2], match[0]),
        text,
    )


@pytest.mark.parametrize("text", ["", "plain", "$", "$$", "$(A)", "$$(A)", "x$(A)y$", "$($(A))", '{"lr": "$(A)$"}'])
def test_texts_arrive_in_the_container_as_they_are(text: str) -> None:
    assert expanded(verbatim(text), {"A": "replaced"}) == text


def containers() -> dict[str, dict[str, Any]]:
    spec = job(
        training=replace(TRAINING, recipe='{"a": "$(HOME)"}'),
        env={"NCCL_SOCKET_IFNAME": "eth0", "NCCL_DEBUG": "$(A)"},
        credentials={"secret": "keys", "config_map": "endpoint"},
        save_interval_s=120,
    )
    template = as_pytorchjob(spec)["spec"]["pytorchReplicaSpecs"]["Master"]["template"]
    return {"pytorchjob": template["spec"]["containers"][0], "trainjob": as_trainjob(spec)["spec"]["trainer"]}


@pytest.mark.parametrize("backend", ["pytorchjob", "trainjob"])
def test_the_container_of_both_kinds_has_the_same_command_and_almost_the_same_environment(backend: str) -> None:
    container = containers()[backend]
    assert "command" not in container, "the entrypoint of the image passes signals on"
    assert container["args"][:3] == ["nofrost", "task", "train"]
    assert container["args"][3] == '--recipe={"a": "$$(HOME)"}'
    assert json.dumps(container["args"]) == json.dumps(containers()["pytorchjob"]["args"])
    values = {each["name"]: each.get("value") for each in container["env"]}
    assert len(values) == len(container["env"])
    name = containers()[backend]["env"][0]["value"]
    assert values.pop("NOFROST_FAILURE_CODE", None) == ("201" if backend == "pytorchjob" else None)
    assert {key: value for key, value in values.items() if value is not None} == {
        "NOFROST_JOB": name,
        "NOFROST_RUN_ID": "run-1",
        "NOFROST_SAVE_INTERVAL_S": "120",
        "NOFROST_METRICS_PORT": "8081",
        "HOME": "/tmp",
        "NCCL_SOCKET_IFNAME": "eth0",
        "NCCL_DEBUG": "$$(A)",
    }
    sources = {each["name"]: each["valueFrom"] for each in container["env"] if "valueFrom" in each}
    assert sources["AWS_ACCESS_KEY_ID"] == {
        "secretKeyRef": {"name": "keys", "key": "AWS_ACCESS_KEY_ID", "optional": True}
    }
    assert sources["AWS_ENDPOINT_URL_S3"] == {
        "configMapKeyRef": {"name": "endpoint", "key": "AWS_ENDPOINT_URL_S3", "optional": True}
    }
    assert len(sources) == 7


@pytest.mark.parametrize("build", [as_pytorchjob, as_trainjob])
def test_without_credentials_the_service_account_is_all_that_pods_have(build: Any) -> None:
    text = json.dumps(build(job(credentials={"secret": None, "config_map": None}, service_account="trainer")))
    assert "valueFrom" not in text
    assert '"serviceAccountName": "trainer"' in text
