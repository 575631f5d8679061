"""Start a run of a compiled pipeline. Equal pipelines are uploaded once, whoever submits them and however often."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import nofrost
from nofrost.errors import UnavailableError, say
from pipelines.submit.api import Api
from pipelines.submit.api_errors import ApiError, TransientApiError
from pipelines.submit.compiled import CompiledPipeline


@dataclass(frozen=True)
class StartedRun:
    """A run that was started.

    Attributes:
        url: the run's page; only its path where the address of Kubeflow's pages is unknown.
        version: name of the version of the pipeline, made from its content.
        created_version: whether this version is new.
    """

    run_id: str
    url: str
    version: str
    created_version: bool


@dataclass(frozen=True)
class Uploaded:
    """A compiled pipeline and an experiment that the API has, by their ids.

    Attributes:
        created_version: whether this version is new.
    """

    pipeline_id: str
    version_id: str
    experiment_id: str
    created_version: bool


def upload(compiled: CompiledPipeline, api: Api, experiment: str) -> Uploaded:
    """Create the pipeline, this version of it and the experiment where they do not exist.

    When this is interrupted, the next call uses what was created.

    Raises:
        UserError: the namespace is missing, or there is none there.
        ApiError: the API refuses, or cannot be reached.
    """
    pipeline_id, _ = _ensure(lambda: api.find_pipeline(compiled.name), lambda: api.create_pipeline(compiled.name))
    version_id, created = _ensure(
        lambda: api.find_version(pipeline_id, compiled.version),
        lambda: api.upload_version(pipeline_id, compiled.version, compiled.path, f"nofrost {nofrost.__version__}"),
    )
    how = "uploaded" if created else "exists already and is reused"
    say(f"pipeline {compiled.name}, version {compiled.version}: {how}")
    return Uploaded(pipeline_id, version_id, _experiment(api, experiment), created)


def start_run(
    compiled: CompiledPipeline,
    arguments: Mapping[str, str],
    api: Api,
    *,
    experiment: str,
    run_name: str,
    service_account: str | None = None,
    pipeline_root: str | None = None,
) -> StartedRun:
    """Start a run of a compiled pipeline with those of `arguments` that are parameters of it, after uploading it.

    Raises:
        UserError: the namespace is missing, or there is none there.
        ApiError: the API refuses.
        TransientApiError: it cannot be reached or is busy, and has not started the run.
        UnavailableError: it may have started the run or not.
    """
    uploaded = upload(compiled, api, experiment)
    try:
        run_id = api.create_run(
            uploaded.experiment_id,
            run_name,
            params={name: arguments[name] for name in compiled.parameters},
            pipeline_id=uploaded.pipeline_id,
            version_id=uploaded.version_id,
            pipeline_root=pipeline_root,
            service_account=service_account,
        )
    except ApiError as error:
        is_transient = isinstance(error, TransientApiError)
        if error.undone or (error.status and not is_transient):
            raise
        page = f"{api.endpoint.ui_address()}/#/experiments/details/{uploaded.experiment_id}"
        # Not a TransientApiError, after which the request is sent again: the run may have begun, or begin later.
        kind = UnavailableError if is_transient else ApiError
        raise kind(f"{error}; before you submit again, check at {page} whether it runs anyway") from None
    return StartedRun(run_id, api.endpoint.run_url(run_id), compiled.version, uploaded.created_version)


def _experiment(api: Api, name: str) -> str:
    try:
        return api.experiment(name)
    except ApiError as error:
        # Somebody else may have created it in between.
        if not error.exists:
            raise
        return api.experiment(name)


def _ensure(find: Callable[[], str | None], create: Callable[[], str]) -> tuple[str, bool]:
    """Return the id that `find` returns, else that of `create`, and whether it was created."""
    existing = find()
    if existing:
        return existing, False
    try:
        return create(), True
    except ApiError as error:
        # Somebody else may have created it in between.
        existing = find() if error.exists else None
        if not existing:
            raise
        return existing, False
