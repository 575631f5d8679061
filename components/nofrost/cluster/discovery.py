"""What a cluster has for training jobs: asked of its API server, never guessed from a creation that fails."""

from __future__ import annotations

from typing import Literal

from nofrost.cluster.api.client import KubernetesApi
from nofrost.cluster.api.errors import KubernetesError
from nofrost.cluster.job.kinds import JOB_KINDS, TRAINJOB, JobBackend, JobKind
from nofrost.cluster.job.settings import JobSettings
from nofrost.cluster.job.training_runtime import how_to_install, runtime_name
from nofrost.errors import UserError

RUNTIMES = "trainingruntimes"
_INSTALL = (
    "install Kubeflow's training operator 1.9 (https://github.com/kubeflow/training-operator) or Kubeflow Trainer 2.3 "
    "(https://github.com/kubeflow/trainer)"
)


def served_kinds(api: KubernetesApi) -> list[JobKind]:
    """Return the kinds of training jobs that the cluster knows, the first choice first.

    Raises:
        KubernetesError: the server refuses to say that, or does not answer.
    """
    groups = {group.get("name"): group for group in api.get("/apis").get("groups", ())}
    return [kind for kind in JOB_KINDS if _is_served(api, kind, groups.get(kind.group, {}).get("versions", ()))]


def choose_kind(api: KubernetesApi, backend: Literal["auto", JobBackend]) -> JobKind:
    """Return the kind of job to create: a PyTorchJob where the cluster knows it, otherwise a TrainJob.

    Raises:
        UserError: the cluster does not know the kind that `backend` names, or none with "auto".
        KubernetesError: the server does not answer.
    """
    try:
        served = served_kinds(api)
    except KubernetesError as error:
        if error.is_transient:
            raise
        raise UserError(f"{error}: let the service account of this pod read it, or name a backend") from None
    wanted = [kind for kind in served if backend in ("auto", kind.kind.lower())]
    if not wanted:
        kinds = " nor ".join(kind.kind for kind in JOB_KINDS if backend in ("auto", kind.kind.lower()))
        neither = f"neither {kinds}" if backend == "auto" else f"no {kinds}"
        raise UserError(f"the cluster knows {neither}: {_INSTALL}, or choose another backend")
    return wanted[0]


def has_runtime(api: KubernetesApi, settings: JobSettings, namespace: str) -> bool:
    """Return whether a namespace has the TrainingRuntime of TrainJobs with these settings.

    Raises:
        KubernetesError: the server refuses to say that, or does not answer.
    """
    try:
        api.get(f"/apis/{TRAINJOB.api_version}/namespaces/{namespace}/{RUNTIMES}/{runtime_name(settings)}")
    except KubernetesError as error:
        if error.status != 404:
            raise
        return False
    return True


def check_runtime(api: KubernetesApi, settings: JobSettings) -> None:
    """Check that the TrainingRuntime of TrainJobs with these settings is there: without it only an event would say so.

    Raises:
        UserError: it is not; the message has the command that installs it.
        KubernetesError: the server does not answer.
    """
    try:
        if has_runtime(api, settings, api.namespace):
            return
    except KubernetesError as error:
        # Whoever may not read it has to trust that it is there.
        if error.status == 403:
            return
        raise
    missing = f"there is no TrainingRuntime {runtime_name(settings)} in namespace {api.namespace}"
    if settings.runtime is not None:
        raise UserError(f"{missing}: create it, or delete runtime in the settings of the training job")
    raise UserError(f"{missing}: run {how_to_install(settings, api.namespace)}")


def _is_served(api: KubernetesApi, kind: JobKind, versions: list[dict[str, str]]) -> bool:
    # The group of the training operator has other kinds too, such as notebooks.
    if kind.version not in [each.get("version") for each in versions]:
        return False
    listed = api.get(f"/apis/{kind.api_version}").get("resources", ())
    return kind.plural in [each.get("name") for each in listed]
