"""The doubles of the KFP API with recurring runs and of Kubernetes, and the commands of schedules against them."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("kfp")
pytest.importorskip("cronsim")

from tests.cluster.conftest import kubeconfig, server  # noqa: F401  (fixtures)
from tests.pipelines.schedule.recurring_double import RecurringDouble
from tests.store.conftest import moto, moto_endpoint  # noqa: F401  (fixtures)

IMAGE = "registry.example/nofrost-{}@sha256:" + "0" * 64
STUDY = ("--study", "digits", "--set", 'runs.recipe=["st"]')
Command = Callable[..., Any]
_COMPILED: dict[Any, Any] = {}


@pytest.fixture
def kfp(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[RecurringDouble]:
    """The double of the KFP API, running; neither kfp nor a kubeconfig finds anything else."""
    from kfp import client

    for name in ("KF_PIPELINES_ENDPOINT", "KF_PIPELINES_UI_ENDPOINT", "KFP_ENDPOINT", "KF_PIPELINES_SA_TOKEN_PATH",
                 "KFP_EXISTING_TOKEN", "KUBERNETES_SERVICE_HOST"):  # fmt: skip
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "no kubeconfig"))
    monkeypatch.setattr(client.Client, "_LOCAL_KFP_CONTEXT", str(tmp_path / "no-context.json"))
    with RecurringDouble() as double:
        thread = threading.Thread(target=double.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield double
        double.shutdown()
        thread.join()
    assert not double.errors


@pytest.fixture
def kubernetes(kfp: RecurringDouble, server: Any, kubeconfig: Path, monkeypatch: pytest.MonkeyPatch) -> Any:  # noqa: F811
    """The double of Kubernetes, to which the kubeconfig leads; Kubeflow serves several users beside it."""
    pytest.importorskip("kubernetes")
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
    kfp.multi_user = True
    return server


@pytest.fixture
def command(kfp: RecurringDouble, moto: str, monkeypatch: pytest.MonkeyPatch) -> Command:  # noqa: F811
    """Run a command of schedules and return what it prints as JSON: command("status", "weekly")."""
    from click.testing import CliRunner

    from pipelines.cli import pipelines
    from pipelines.submit.packages import Packages

    # The same graph is compiled in most tests.
    original = Packages.compile_study

    def compiled(packages: Packages, plan: Any) -> Any:
        key = plan, repr(packages.settings)
        if key not in _COMPILED:
            _COMPILED[key] = original(packages, plan)
        return _COMPILED[key]

    monkeypatch.setattr(Packages, "compile_study", compiled)

    def command(*words: str) -> Any:
        given = ["--host", kfp.url, "--json", *(("--namespace", "research") if kfp.multi_user else ())]
        if words[0] != "status":
            given += ["--store", moto]
        if words[0] == "schedule":
            given += [*STUDY, "--stage-image", IMAGE.format("stage"), "--train-image", IMAGE.format("train")]
        result = CliRunner().invoke(pipelines, [*words, *given])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    return command
