"""Every object that any settings give is valid: both kinds of job, and the runtime of a TrainJob."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nofrost.cluster.job.kinds import JobBackend
from nofrost.cluster.job.pytorchjob import as_pytorchjob
from nofrost.cluster.job.settings import JobSettings, load_job_settings, refusal
from nofrost.cluster.job.spec import JobSpec, Owner
from nofrost.cluster.job.training_runtime import runtime_name, training_runtime
from nofrost.cluster.job.trainjob import as_trainjob
from nofrost.errors import UserError
from tests.cluster.job.crd import errors, needs_crds
from tests.cluster.job.jobs import IMAGE, TRAINING

WORDS = st.text("abzABZ019-_./ é$", max_size=70)
NAMES = st.from_regex(r"[a-z]([-a-z0-9]{0,20}[a-z0-9])?", fullmatch=True)
MAYBE = st.one_of(st.none(), NAMES, WORDS)
NUMBERS = st.one_of(st.none(), st.integers(-1, 3), st.integers(59, 10**6), st.integers(2**31 - 2, 2**31 + 1))
TOLERATIONS = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "key": st.one_of(NAMES, st.just("nvidia.com/gpu"), WORDS),
            "operator": st.sampled_from(["Equal", "Exists"]),
            "value": NAMES,
            "effect": st.sampled_from(["NoExecute", "NoSchedule", "PreferNoSchedule"]),
        },
    ),
    max_size=3,
)
PLACES = {"node_selector": st.dictionaries(st.one_of(NAMES, WORDS), MAYBE, max_size=3), "tolerations": TOLERATIONS}
MEMORY = st.sampled_from(["1Gi", "512Mi", "17179869184", "16G", "0", "1.5Gi"])
OPTIONS: dict[str, st.SearchStrategy[Any]] = {
    "backend": st.sampled_from(["auto", "pytorchjob", "trainjob", "none"]),
    "priority_class": MAYBE,
    "queue": MAYBE,
    "queue_priority": MAYBE,
    "gang": st.one_of(
        st.none(),
        st.fixed_dictionaries(
            {"scheduler": st.sampled_from(["volcano", "scheduler-plugins"])},
            optional={"scheduler_name": MAYBE, "queue": MAYBE, "timeout_s": NUMBERS},
        ),
    ),
    "deadline_s": NUMBERS,
    "queue_timeout_s": NUMBERS,
    "ttl_s": NUMBERS,
    "service_account": MAYBE,
    "pull_secrets": st.lists(NAMES, max_size=3),
    "env": st.dictionaries(
        st.one_of(st.sampled_from(["NCCL_SOCKET_IFNAME", "NCCL_DEBUG", "AWS_REGION", "PET_NNODES"]), WORDS),
        WORDS,
        max_size=4,
    ),
    "runtime": MAYBE,
    "restarts": NUMBERS,
    "resources": st.fixed_dictionaries(
        {}, optional={"cpu": st.sampled_from(["4", "500m", "0.5", "0"]), "memory": MEMORY}
    ),
    "placement": st.fixed_dictionaries({}, optional=PLACES),
    "gpu": st.fixed_dictionaries(
        {}, optional={**PLACES, "resource": st.sampled_from(["amd.com/gpu", "nvidia.com/mig-1g.5gb", "gpu"])}
    ),
    "shared_memory": MEMORY,
    "credentials": st.fixed_dictionaries({}, optional={"secret": MAYBE, "config_map": MAYBE}),
    "run_as": NUMBERS,
    "save_interval_s": NUMBERS,
    "image_pull_policy": st.sampled_from(["Always", "IfNotPresent", "Never"]),
    "data_cache": st.fixed_dictionaries({"limit": MEMORY}, optional={"claim": MAYBE}),
}


def test_every_setting_is_tried() -> None:
    assert set(OPTIONS) == set(JobSettings.model_fields)


def check(spec: JobSpec) -> int:
    """Check both kinds of job of a specification, and return how many of them can have its settings."""
    valid = 0
    kinds: tuple[tuple[str, JobBackend, Callable[[JobSpec], Any]], ...] = (
        ("pytorchjobs", "pytorchjob", as_pytorchjob),
        ("trainjobs", "trainjob", as_trainjob),
    )
    for plural, backend, build in kinds:
        if reason := refusal(spec.settings, backend):
            with pytest.raises(UserError, match=re.escape(reason)):
                build(spec)
            continue
        value = build(spec)
        assert errors(plural, value) == []
        assert json.loads(json.dumps(value)) == value
        valid += 1
    if spec.settings.runtime is not None:
        return valid
    runtime = training_runtime(spec.settings)
    assert errors("trainingruntimes", runtime) == []
    assert runtime["metadata"]["name"] == runtime_name(spec.settings)
    return valid


def loaded_or_none(values: dict[str, Any]) -> JobSettings | None:
    """Return these settings; None if they are refused."""
    try:
        return load_job_settings(json.dumps(values))
    except UserError:
        return None


SPECS = {
    "gpus": st.integers(0, 64),
    "nodes": st.sampled_from([1, 2, 3, 1000]),
    "run": st.sampled_from(["", "3f2b8c1e-7a54-4f0b-9d3c-2b1a0c9e8d7f"]),
    "owner": st.sampled_from([None, Owner("launch-1", "4f2a")]),
    "training": st.builds(
        replace, st.just(TRAINING), recipe=st.text(max_size=50), recipe_id=WORDS.filter(bool), seed=st.just("0")
    ),
}


@needs_crds
@pytest.mark.parametrize("option", OPTIONS)
@settings(max_examples=12, deadline=None, derandomize=True, database=None)
@given(data=st.data())
def test_any_value_of_each_option_is_refused_in_a_sentence_or_gives_valid_objects(
    option: str, data: st.DataObject
) -> None:
    loaded = loaded_or_none({option: data.draw(OPTIONS[option])})
    if loaded is not None:
        check(JobSpec(settings=loaded, image=IMAGE, namespace="research", **data.draw(st.fixed_dictionaries(SPECS))))


@needs_crds
@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(values=st.fixed_dictionaries({}, optional=OPTIONS), spec=st.fixed_dictionaries(SPECS))
def test_any_options_together_are_refused_in_a_sentence_or_give_valid_objects(
    values: dict[str, Any], spec: dict[str, Any]
) -> None:
    """Options of which one is refused alone are left out, so that many remain together."""
    loaded = loaded_or_none({key: value for key, value in values.items() if loaded_or_none({key: value}) is not None})
    if loaded is not None:
        check(JobSpec(settings=loaded, image=IMAGE, namespace="research", **spec))


@needs_crds
@pytest.mark.parametrize(
    "values",
    [
        {},
        {"queue": "team-a", "queue_priority": "high", "priority_class": "high"},
        {"gang": {"scheduler": "volcano", "queue": "q", "scheduler_name": "v"}, "priority_class": "high"},
        {"gang": {"scheduler": "scheduler-plugins", "timeout_s": 60}},
        {"service_account": "trainer", "pull_secrets": ["a", "b"], "run_as": None},
        {"image_pull_policy": "Never", "restarts": 0},
    ],
)
@pytest.mark.parametrize("gpus", [0, 8])
@pytest.mark.parametrize("nodes", [1, 2])
def test_both_kinds_of_job_have_these_settings(values: dict[str, Any], gpus: int, nodes: int) -> None:
    spec = JobSpec(TRAINING, IMAGE, gpus, nodes, JobSettings.model_validate(values), "research")
    assert check(spec) == 2
