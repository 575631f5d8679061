"""Containers without root, capabilities, network or a writable root do all their work."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

TRAIN = ("nofrost", "train", "--study", "digits", "--recipe", "st", "--dataset", "/s3/dataset", "--out", "/s3/run")
PREPARE = ("nofrost", "prepare", "--source", "digits", "--image-size", "16", "--limit", "300", "--out", "/s3/dataset")
Run = Callable[..., Any]
STOPPED_LIMIT_S = 120


def test_without_a_command_an_image_prints_the_help(run: Run, image: str) -> None:
    ended = run(image)
    assert ended.code == 0
    assert "Usage: nofrost" in ended.output


def test_it_is_not_root(run: Run, image: str) -> None:
    assert run(image, "sh", "-c", "id -u; id -g").output.split() == ["1000", "1000"]


def test_the_read_only_root_is_read_only(run: Run, image: str) -> None:
    assert run(image, "touch", "/s3/file").code == 1


def test_kubeflow_can_write_where_it_puts_inputs_and_outputs(run: Run, image: str) -> None:
    for user in ("1000:1000", "123456:0"):  # the second as OpenShift assigns them
        ended = run(image, "touch", "/s3/file", "/minio/file", "/gcs/file", read_only=False, user=user)
        assert (ended.code, ended.output) == (0, "")


def test_wrong_input_ends_with_code_2(run: Run, image: str) -> None:
    ended = run(image, "nofrost", "train", "--recipe", "st", "--dataset", "/nowhere", "--out", "/tmp/run")
    assert ended.code == 2
    assert ended.output.startswith("nofrost: ")


def test_figures_can_be_drawn(run: Run, images: dict[str, str]) -> None:
    code = "import matplotlib.pyplot as p; p.plot([1, 2]); p.savefig('/tmp/figure.png')"
    assert run(images["stage"], "python", "-c", code).code == 0


def test_any_user_can_train(run: Run, images: dict[str, str], volume: dict[str, Any]) -> None:
    prepared = run(images["stage"], *PREPARE, volumes=volume)
    assert prepared.code == 0, prepared.output
    short = (*TRAIN, "--set", "schedule.epochs=1")
    for user, folder in (("1000:1000", "/s3/run"), ("123456:0", "/tmp/run")):
        trained = run(images["train"], *short[:-3], folder, *short[-2:], volumes=volume, user=user)
        assert trained.code == 0, trained.output


def test_a_stopped_training_saves(
    started: Callable[..., Any], run: Run, images: dict[str, str], volume: dict[str, Any]
) -> None:
    prepared = run(images["stage"], *PREPARE, volumes=volume)
    assert prepared.code == 0, prepared.output
    with started(images["train"], *TRAIN, "--set", "schedule.epochs=3000", volumes=volume) as container:
        end = time.monotonic() + STOPPED_LIMIT_S
        while (
            container.exec_run("test -e /s3/.run.nofrost-partial/unfinished/state.json").exit_code
            and time.monotonic() < end
        ):
            time.sleep(0.2)
        assert container.exec_run("cat /proc/1/comm").output == b"tini\n"
        container.kill("SIGTERM")  # as Kubernetes ends a pod
        stopped = container.wait(timeout=STOPPED_LIMIT_S)["StatusCode"]
        output = container.logs().decode()
    assert stopped == 143, output
    assert "after saving" in output
    saved = run(images["train"], "cat", "/s3/.run.nofrost-partial/unfinished/state.json", volumes=volume)
    assert saved.code == 0
