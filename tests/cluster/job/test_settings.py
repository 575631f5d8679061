"""Settings of training jobs: whatever Kubernetes, or one kind of job, would refuse is one sentence."""

from __future__ import annotations

import json
from typing import Any

import pytest

from nofrost.cluster.job.settings import RUNTIME_SETTINGS, JobSettings, check_backend, load_job_settings, refusal
from nofrost.errors import UserError

LONG = "a" * 254


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"backend": "mpijob"}, "backend: input should be 'auto', 'pytorchjob', 'trainjob' or 'none'"),
        ({"quue": "a"}, "unknown key 'quue': did you mean 'queue'?"),
        ({"priority_class": "High"}, "priority_class: Kubernetes refuses 'High'"),
        ({"priority_class": LONG}, "priority_class: Kubernetes refuses"),
        ({"queue": "a" * 64}, "queue: Kubernetes refuses"),
        ({"queue": "Team"}, "queue: Kubernetes refuses 'Team'"),
        ({"queue": "a", "gang": {"scheduler": "volcano"}}, "queue and gang both decide when all pods start"),
        ({"queue_priority": "high"}, "queue_priority is of a queue of Kueue: add queue"),
        ({"gang": {"scheduler": "yunikorn"}}, "gang.scheduler: input should be 'volcano' or 'scheduler-plugins'"),
        ({"gang": {}}, "key gang.scheduler is missing"),
        ({"gang": {"scheduler": "volcano", "timeout_s": 60}}, "gang: volcano takes no timeout"),
        ({"gang": {"scheduler": "scheduler-plugins", "queue": "q"}}, "gang: the scheduler plugins have no queues"),
        ({"gang": {"scheduler": "scheduler-plugins", "timeout_s": 0}}, "gang.timeout_s"),
        ({"gang": {"scheduler": "volcano", "scheduler_name": "My Volcano"}}, "gang.scheduler_name: Kubernetes"),
        ({"deadline_s": 59}, "deadline_s"),
        ({"deadline_s": 2**31}, "deadline_s"),
        ({"deadline_s": True}, "deadline_s: true is not a number"),
        ({"deadline_s": None}, "deadline_s"),
        ({"queue_timeout_s": 0}, "queue_timeout_s"),
        ({"ttl_s": -1}, "ttl_s"),
        ({"service_account": "me@here"}, "service_account: Kubernetes refuses 'me@here'"),
        ({"pull_secrets": ["a", "b", "a"]}, "pull_secrets: a is there twice"),
        ({"pull_secrets": ["a b"]}, "pull_secrets.0: Kubernetes refuses 'a b'"),
        ({"pull_secrets": [f"a{number}" for number in range(65)]}, "pull_secrets"),
        ({"env": {"NCCL SOCKET": "x"}}, "env.NCCL SOCKET: 'NCCL SOCKET' is not a name of an environment variable"),
        ({"env": {"1A": "x"}}, "not a name of an environment variable"),
        ({"env": {"PET_NNODES": "2"}}, "PET_NNODES is set by the operator of the jobs, or torch: delete it"),
        ({"env": {"TORCHELASTIC_RUN_ID": "x"}}, "is set by the operator"),
        ({"env": {"PET_RDZV_BACKEND": "c10d"}}, "is set by the operator"),
        ({"env": {"MASTER_ADDR": "x"}}, "is set by the operator"),
        ({"env": {"WORLD_SIZE": "2"}}, "is set by the operator"),
        ({"env": {"NOFROST_JOB": "x"}}, "NOFROST_JOB is set by nofrost: delete it"),
        ({"env": {"HOME": "/root"}}, "HOME is set by nofrost"),
        ({"env": {"AWS_SECRET_ACCESS_KEY": "x"}}, "comes from the Secret or the ConfigMap of credentials"),
        ({"env": {"NCCL_DEBUG": 1}}, "env.NCCL_DEBUG"),
        ({"env": {"NCCL_DEBUG": "INFO\n"}}, "env.NCCL_DEBUG: 'INFO\\n' is not a value of a variable"),
        ({"env": {f"A{number}": "" for number in range(101)}}, "env"),
        ({"runtime": "My-Runtime"}, "runtime: Kubernetes refuses 'My-Runtime'"),
        ({"restarts": 101}, "restarts"),
        ({"resources": {"cpu": "many"}}, "resources.cpu: 'many' is not a CPU quantity"),
        ({"resources": {"gpus": 8}}, "unknown key 'resources.gpus'"),
        ({"shared_memory": "64"}, "shared_memory: '64' is not a size of memory"),
        ({"gpu": {"resource": "gpu"}}, "gpu.resource: Kubernetes refuses 'gpu'"),
        ({"gpu": {"resource": "requests.nvidia.com/gpu"}}, "gpu.resource: Kubernetes refuses"),
        ({"gpu": {"resource": "kubernetes.io/gpu"}}, "gpu.resource: Kubernetes refuses"),
        ({"gpu": {"resource": "node.kubernetes.io/gpu"}}, "gpu.resource: Kubernetes refuses"),
        ({"gpu": {"tolerations": [{}] * 65}}, "gpu.tolerations"),
        ({"placement": {"node_selector": {"a b": ""}}}, "placement.node_selector.a b: Kubernetes refuses 'a b'"),
        ({"credentials": {"secret": "A"}}, "credentials.secret: Kubernetes refuses 'A'"),
        ({"run_as": 0}, "run_as"),
        ({"save_interval_s": 10}, "save_interval_s"),
        ({"image_pull_policy": "Sometimes"}, "image_pull_policy"),
        ({"backend": "pytorchjob", "runtime": "mine"}, "runtime: a PyTorchJob has none"),
        ({"backend": "trainjob", "ttl_s": 60}, "ttl_s: a TrainJob has none, its launcher deletes it"),
        ({"backend": "trainjob", "runtime": "mine", "restarts": 1}, "restarts: a TrainJob takes it from its runtime"),
    ],
)
def test_what_cannot_be_is_one_sentence(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as error:
        load_job_settings(json.dumps(values))
    text = str(error.value)
    assert text.startswith("the settings of the training job: "), text
    assert message in text
    assert "\n" not in text


def test_what_is_no_json_is_one_sentence() -> None:
    with pytest.raises(UserError, match=r"training job is not valid JSON .*`python -m pipelines compile`"):
        load_job_settings("{queue: a}")


def test_settings_survive_their_json() -> None:
    settings = JobSettings.model_validate(
        {
            "gang": {"scheduler": "volcano", "queue": "research"},
            "priority_class": "high",
            "env": {"NCCL_SOCKET_IFNAME": "eth0", "GLOO_SOCKET_IFNAME": "eth0"},
            "placement": {"tolerations": [{"key": "a", "operator": "Equal", "value": "b"}]},
            "pull_secrets": ["registry"],
        }
    )
    assert load_job_settings(json.dumps(settings.as_json())) == settings


CHANGES: dict[str, Any] = {
    "restarts": 1,
    "gang": {"scheduler": "volcano"},
    "priority_class": "high",
    "image_pull_policy": "Always",
}


def test_every_setting_of_the_runtime_is_tried_below() -> None:
    assert set(CHANGES) == set(RUNTIME_SETTINGS)


@pytest.mark.parametrize("name", CHANGES)
def test_settings_of_a_runtime_are_refused_beside_a_runtime_of_the_user(name: str) -> None:
    settings = JobSettings.model_validate({name: CHANGES[name]})
    assert refusal(settings, "trainjob") == ""
    with pytest.raises(UserError, match=f"{name}: a TrainJob takes it from its runtime mine: write it there"):
        check_backend(settings.model_copy(update={"runtime": "mine"}), "trainjob")


@pytest.mark.parametrize("backend", ["auto", "none"])
def test_settings_for_one_kind_of_job_may_stand_beside_a_backend_that_is_open(backend: str) -> None:
    settings = JobSettings.model_validate({"backend": backend, "ttl_s": 60})
    assert refusal(settings, "pytorchjob") == ""
    with pytest.raises(UserError, match="ttl_s: a TrainJob has none"):
        check_backend(settings, "trainjob")
