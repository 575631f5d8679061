"""The TrainingRuntime of TrainJobs: what happens after each end of a pod, and that nothing of it changes unseen."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from nofrost.cluster.job.settings import JobSettings, load_job_settings
from nofrost.cluster.job.training_runtime import how_to_install, runtime_name, training_runtime
from nofrost.errors import UserError
from tests.cluster.job.crd import errors, needs_crds

GOLDEN = Path(__file__).parents[3] / "k8s" / "components" / "trainer" / "training-runtime.yaml"
COUNTED = "RestartJobSet"


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "nofrost", "task", "runtime", *arguments]
    return subprocess.run(line, capture_output=True, text=True, check=False)


def test_the_command_prints_the_runtime_that_is_installed() -> None:
    """A change of it is a decision: whoever has installed it has to apply it once more."""
    done = command()
    assert done.returncode == 0, done.stderr
    assert done.stdout == GOLDEN.read_text(encoding="utf-8")


@needs_crds
def test_the_runtime_that_is_installed_is_valid() -> None:
    assert errors("trainingruntimes", yaml.safe_load(GOLDEN.read_text(encoding="utf-8"))) == []


def message_of_the_job(runtime: dict[str, Any], code: int | None) -> tuple[str, str]:
    """Return reason and message with which a Job fails after the end of one of its pods.

    Args:
        code: exit code of the container; None if the node drained, or another pod had a higher priority.

    Source: pkg/controller/job/pod_failure_policy.go and job_controller.go of Kubernetes 1.31 to 1.34.
    """
    (job,) = runtime["spec"]["template"]["spec"]["replicatedJobs"]
    spec = job["template"]["spec"]
    assert spec["backoffLimit"] == 0
    pod = "research/nofrost-x-node-0-1-abcde"
    for index, rule in enumerate(spec["podFailurePolicy"]["rules"]):
        action, conditions, codes = rule["action"], rule.get("onPodConditions", ()), rule.get("onExitCodes")
        if code is None and {"type": "DisruptionTarget", "status": "True"} in conditions:
            text = f"Pod {pod} has condition DisruptionTarget matching {action} rule at index {index}"
        elif codes is not None and codes["operator"] == "In" and code in codes["values"]:
            name = codes["containerName"]
            text = (
                f"Container {name} for pod {pod} failed with exit code {code} matching {action} rule at index {index}"
            )
        else:
            continue
        assert action == "FailJob"
        return "PodFailurePolicy", text
    return "BackoffLimitExceeded", "Job has reached the specified backoff limit"


def action_of_the_jobset(runtime: dict[str, Any], reason: str, message: str) -> str:
    """Return what a JobSet does after the failure of one of its Jobs: the action of the first rule that matches.

    Source: KEP-262 of JobSet.
    """
    policy = runtime["spec"]["template"]["spec"]["failurePolicy"]
    for rule in policy["rules"]:
        patterns = rule["onJobFailureMessagePatterns"]
        if reason in rule["onJobFailureReasons"] and any(re.search(pattern, message) for pattern in patterns):
            action: str = rule["action"]
            return action
    return COUNTED


@pytest.mark.parametrize(
    ("code", "action"),
    [
        (2, "FailJobSet"),  # wrong input: the same everywhere
        (143, "RestartJobSetAndIgnoreMaxRestarts"),  # stopped after saving
        (200, "RestartJobSetAndIgnoreMaxRestarts"),  # another process is gone
        (None, "RestartJobSetAndIgnoreMaxRestarts"),  # evicted, or the node drains
        (1, COUNTED),  # a bug, or a machine
        (134, COUNTED),
        (137, COUNTED),  # killed for memory
        (139, COUNTED),
        (20, COUNTED),
        (22, COUNTED),
        (120, COUNTED),
    ],
)
def test_each_end_of_a_pod_has_its_consequence(code: int | None, action: str) -> None:
    runtime = training_runtime(JobSettings())
    assert action_of_the_jobset(runtime, *message_of_the_job(runtime, code)) == action


def test_a_name_in_the_message_decides_nothing() -> None:
    """The name of a pod holds the name of a recipe."""
    runtime = training_runtime(JobSettings())
    message = "Container node for pod research/failed-2-node-0-1-abcde failed with exit code 143 matching FailJob rule"
    assert action_of_the_jobset(runtime, "PodFailurePolicy", message) == "RestartJobSetAndIgnoreMaxRestarts"


def test_exit_codes_are_sorted_as_kubernetes_wants_them() -> None:
    (job,) = training_runtime(JobSettings())["spec"]["template"]["spec"]["replicatedJobs"]
    codes = job["template"]["spec"]["podFailurePolicy"]["rules"][1]["onExitCodes"]["values"]
    assert codes == sorted(codes) == [2, 143, 200]


@pytest.mark.parametrize(
    ("values", "path", "expected"),
    [
        ({"restarts": 7}, "spec.template.spec.failurePolicy.maxRestarts", 7),
        ({"gang": {"scheduler": "volcano"}}, "spec.podGroupPolicy", {"volcano": {}}),
        (
            {"gang": {"scheduler": "volcano", "queue": "research"}},
            "spec.template.metadata.annotations",
            {"scheduling.volcano.sh/queue-name": "research"},
        ),
        (
            {"gang": {"scheduler": "scheduler-plugins", "timeout_s": 60}},
            "spec.podGroupPolicy",
            {"coscheduling": {"scheduleTimeoutSeconds": 60}},
        ),
        ({"gang": {"scheduler": "volcano"}}, "pod.schedulerName", "volcano"),
        ({"gang": {"scheduler": "scheduler-plugins"}}, "pod.schedulerName", "scheduler-plugins-scheduler"),
        ({"gang": {"scheduler": "volcano", "scheduler_name": "mine"}}, "pod.schedulerName", "mine"),
        ({"priority_class": "high"}, "pod.priorityClassName", "high"),
        ({"image_pull_policy": "Never"}, "pod.containers.0.imagePullPolicy", "Never"),
    ],
)
def test_settings_of_the_runtime_are_in_it_and_give_it_a_name_of_its_own(
    values: dict[str, Any], path: str, expected: Any
) -> None:
    settings = JobSettings.model_validate(values)
    runtime = training_runtime(settings)
    pod = runtime["spec"]["template"]["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]
    value: Any = {**runtime, "pod": pod}
    for key in path.split("."):
        value = value[int(key) if isinstance(value, list) else key]
    assert value == expected
    assert re.fullmatch("nofrost-torch-[0-9a-f]{8}", runtime_name(settings))
    assert runtime["metadata"]["name"] == runtime_name(settings)


def test_other_settings_need_no_other_runtime() -> None:
    settings = JobSettings.model_validate({"queue": "a", "env": {"A": "b"}, "shared_memory": "64Gi", "run_as": 7})
    assert training_runtime(settings) == training_runtime(JobSettings())
    assert runtime_name(settings) == "nofrost-torch"


def test_a_runtime_of_the_user_is_not_written() -> None:
    settings = load_job_settings('{"runtime": "mine"}')
    assert runtime_name(settings) == "mine"
    with pytest.raises(UserError, match="mine is a runtime of your own"):
        training_runtime(settings)


@pytest.mark.parametrize("text", ["{}", '{"restarts": 1, "gang": {"scheduler": "volcano", "queue": "q"}}'])
def test_the_command_that_installs_a_runtime_prints_the_one_that_jobs_need(text: str) -> None:
    settings = load_job_settings(text)
    first, _, second = how_to_install(settings, "research").partition(" | ")
    assert second == "kubectl apply --namespace research -f -"
    assert shlex.split(first)[:3] == ["nofrost", "task", "runtime"]
    done = command(*shlex.split(first)[3:])
    assert done.returncode == 0, done.stderr
    assert yaml.safe_load(done.stdout) == training_runtime(settings)


def test_wrong_settings_are_one_sentence_on_the_command_line() -> None:
    done = command("--settings", '{"restart": 1}')
    assert done.returncode == 2
    assert done.stderr.startswith("nofrost: the settings of the training job: unknown key 'restart': did you mean")


def test_without_patterns_a_job_ends_and_does_not_start_again_for_ever() -> None:
    """An API server drops fields that an older definition of JobSets does not know."""
    runtime = training_runtime(JobSettings())
    for rule in runtime["spec"]["template"]["spec"]["failurePolicy"]["rules"]:
        rule["onJobFailureMessagePatterns"] = [""]
    assert action_of_the_jobset(runtime, *message_of_the_job(runtime, 2)) == "FailJobSet"
