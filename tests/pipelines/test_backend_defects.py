"""The backend of these tests shows what a real one does wrong, so that a graph which rests on it fails here."""

# No `from __future__ import annotations`: Kubeflow evaluates the annotations of pipelines.

from pathlib import Path
from typing import Any

import pytest
from kfp import compiler, dsl, kubernetes

from tests.pipelines.backend import VERSIONS, Backend, ContainerError, Pod, RefusedError


@dsl.component(base_image="image", install_kfp_package=False)
def produce(text: str) -> str:
    return text


@dsl.component(base_image="image", install_kfp_package=False)
def consume(texts: list[str], gpus: int = 0) -> str:
    return str(gpus)


@dsl.component(base_image="image", install_kfp_package=False)
def finish(status: dsl.PipelineTaskFinalStatus) -> None:
    print(status)


def echo(pod: Pod) -> dict[str, Any]:
    """A container that returns its first input."""
    return {name: f"{pod.component} {next(iter(pod.inputs.values()))}" for name in pod.outputs}


def backend(pipeline: Any, folder: Path, version: str) -> Backend:
    compiler.Compiler().compile(pipeline, str(folder / "package.yaml"))
    return Backend(folder / "package.yaml", version)


@pytest.mark.parametrize("version", VERSIONS)
def test_one_of_two_branches_fails_once_the_branch_comes_from_the_cache(version: str, tmp_path: Path) -> None:
    @dsl.pipeline(name="choice")
    def choice(big: bool) -> str:
        with dsl.If(big == True):  # noqa: E712  (a condition that Kubeflow evaluates)
            one = produce(text="one")
        with dsl.Else():
            other = produce(text="other")
        text: str = dsl.OneOf(one.output, other.output)
        return text

    @dsl.pipeline(name="root")
    def root(big: bool) -> None:
        consume(texts=[choice(big=big).output])

    server = backend(root, tmp_path, version)
    cold = server.run({"big": True}, echo)
    assert cold.state == "Succeeded"
    assert [pod.inputs["texts"] for pod in cold.ran("consume")] == [["produce one"]]
    warm = server.run({"big": True}, echo)
    assert warm.state == "Failed"
    assert "OneOf: No successful task found" in warm.errors[0]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_number_of_gpus_that_is_an_integer_parameter_is_dropped(version: str, tmp_path: Path) -> None:
    @dsl.pipeline(name="root")
    def root(number: int, text: str) -> None:
        consume(texts=["number"], gpus=number).set_accelerator_type("nvidia.com/gpu").set_accelerator_limit(number)
        consume(texts=["constant"], gpus=1).set_accelerator_type("nvidia.com/gpu").set_accelerator_limit(1)
        consume(texts=[text], gpus=1).set_accelerator_type("nvidia.com/gpu").set_accelerator_limit(text)

    ended = backend(root, tmp_path, version).run({"number": 1, "text": "2"}, echo)
    limits = {pod.inputs["texts"][0]: pod.limits for pod in ended.pods}
    assert limits == {"number": {}, "constant": {"nvidia.com/gpu": "1"}, "2": {"nvidia.com/gpu": "2"}}


def test_an_old_server_refuses_fields_that_it_does_not_know(tmp_path: Path) -> None:
    @dsl.pipeline(name="root")
    def root() -> None:
        kubernetes.set_security_context(produce(text="one"), run_as_user=1000)

    with pytest.raises(RefusedError, match="securityContext"):
        backend(root, tmp_path, "2.15").run({}, echo)
    assert backend(root, tmp_path, "2.16").run({}, echo).state == "Succeeded"

    @dsl.pipeline(name="limited", pipeline_config=dsl.PipelineConfig(active_deadline_seconds=60))
    def limited() -> None:
        kubernetes.set_image_pull_policy(produce(text="one"), "Always")

    with pytest.raises(RefusedError, match="activeDeadlineSeconds"):
        backend(limited, tmp_path, "2.16").run({}, echo)


@pytest.mark.parametrize(("version", "told"), [("2.15", "RUNNING"), ("2.17", "FAILED")])
def test_the_final_status_is_that_of_the_metadata(version: str, told: str, tmp_path: Path) -> None:
    """Never SUCCEEDED: COMPLETE after a cold run, RUNNING when tasks came from the cache or failed deep down."""

    @dsl.pipeline(name="inner")
    def inner() -> str:
        text: str = produce(text="one").output
        return text

    @dsl.pipeline(name="root")
    def root() -> None:
        with dsl.ExitHandler(finish().set_caching_options(False)):
            consume(texts=[inner().output])

    def fail(pod: Pod) -> dict[str, Any]:
        if pod.component == "produce":
            raise ContainerError("exit code 1")
        return echo(pod)

    server = backend(root, tmp_path, version)
    failed = server.run({}, fail)
    assert (failed.state, [pod.component for pod in failed.pods]) == ("Failed", ["produce", "finish"])
    states = [server.run({}, echo).ran("finish")[0].inputs["status"]["state"] for _ in range(2)]
    assert [failed.ran("finish")[0].inputs["status"]["state"], *states] == [told, "COMPLETE", "RUNNING"]


@pytest.mark.parametrize("version", VERSIONS)
def test_what_a_loop_collects_is_in_its_order(version: str, tmp_path: Path) -> None:
    @dsl.pipeline(name="inner")
    def inner(text: str) -> str:
        inside: str = produce(text=text).output
        return inside

    @dsl.pipeline(name="root")
    def root(texts: list[str]) -> None:
        with dsl.ParallelFor(texts) as text:
            item = inner(text=text)
        consume(texts=dsl.Collected(item.output))

    server = backend(root, tmp_path, version)
    for _ in range(2):
        ended = server.run({"texts": ["a", "b"]}, echo)
        assert ended.state == "Succeeded"
    assert server.run({"texts": ["b", "a"]}, echo).ran("consume")[0].inputs["texts"] == ["produce b", "produce a"]
