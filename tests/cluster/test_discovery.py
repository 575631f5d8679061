"""The kind of job is what the cluster knows: asked of its API server."""

from __future__ import annotations

from typing import Any

import pytest

from nofrost.cluster.discovery import choose_kind
from nofrost.cluster.job.kinds import JOB_KINDS
from nofrost.errors import UserError
from tests.cluster.double.api_server import ApiServer
from tests.cluster.double.refusals import RefusedError
from tests.cluster.double.resources import NOTEBOOKS, PYTORCHJOBS, TRAINJOBS
from tests.cluster.launcher.launched_job import api_of


def refuse_once(server: ApiServer, error: RefusedError) -> None:
    def refuse(method: str, path: str) -> None:
        server.faults.remove(refuse)
        raise error

    server.faults.append(refuse)


@pytest.mark.parametrize(
    ("served", "backend", "kind"),
    [
        ((PYTORCHJOBS, TRAINJOBS), "auto", "PyTorchJob"),
        ((TRAINJOBS,), "auto", "TrainJob"),
        ((NOTEBOOKS, TRAINJOBS), "auto", "TrainJob"),
        ((PYTORCHJOBS, TRAINJOBS), "trainjob", "TrainJob"),
        ((PYTORCHJOBS,), "pytorchjob", "PyTorchJob"),
    ],
)
def test_the_kind_of_job_is_what_the_cluster_knows(served: Any, backend: Any, kind: str, server: ApiServer) -> None:
    server.resources = list(served)
    assert choose_kind(api_of(server), backend).kind == kind


@pytest.mark.parametrize(
    ("served", "backend", "message"),
    [
        ((NOTEBOOKS,), "auto", "neither PyTorchJob nor TrainJob: install .*training-operator.*kubeflow/trainer"),
        ((PYTORCHJOBS,), "trainjob", "knows no TrainJob: install"),
        ((), "pytorchjob", "knows no PyTorchJob: install"),
    ],
)
def test_a_kind_of_job_that_the_cluster_does_not_know(
    served: Any, backend: Any, message: str, server: ApiServer
) -> None:
    server.resources = list(served)
    with pytest.raises(UserError, match=message) as error:
        choose_kind(api_of(server), backend)
    assert error.value.exit_code == 2


def test_discovery_that_is_refused_is_no_missing_kind(server: ApiServer) -> None:
    refuse_once(server, RefusedError(403, "Forbidden", "no"))
    with pytest.raises(UserError, match=r"refuses to give /apis \(403: no\): let the service"):
        choose_kind(api_of(server), "auto")
    refuse_once(server, RefusedError(500, "X", "not ready"))
    assert choose_kind(api_of(server), "auto") is JOB_KINDS[0]
