"""Starting a run of a compiled pipeline. Equal pipelines are uploaded once, whoever submits them and how often."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import kfp_server_api as server

import nofrost
from pipelines.submit.api import Api
from pipelines.submit.compiled import read_compiled
from pipelines.submit.errors import ApiError


@dataclass(frozen=True)
class Submission:
    """A run that was started.

    Attributes:
        url: the run's page; only its path where the address of Kubeflow's pages is unknown.
        version: name of the pipeline's version that runs, made from its content.
        created_version: whether that version was not there before.
    """

    run_id: str
    url: str
    version: str
    created_version: bool


def submit(
    package: Path,
    arguments: Mapping[str, Any],
    api: Api,
    *,
    experiment: str,
    run_name: str,
    service_account: str | None = None,
    pipeline_root: str | None = None,
) -> Submission:
    """Start a run of the compiled pipeline in `package`.

    The pipeline, this version of it and the experiment are made if they are not there; stopped in between, the next
    submission goes on from what there is.

    Raises:
        UserError: the package or an argument is wrong (then nothing was contacted), or an ApiError.
    """
    compiled = read_compiled(package)
    compiled.check(arguments)
    pipeline_id, _ = _ensure(lambda: api.find_pipeline(compiled.name), lambda: api.create_pipeline(compiled.name))
    version_id, created = _ensure(
        lambda: api.find_version(pipeline_id, compiled.version),
        lambda: api.upload_version(pipeline_id, compiled.version, package, f"nofrost {nofrost.__version__}"),
    )
    how = "uploaded" if created else "is there already and is used again"
    print(f"pipeline {compiled.name}, version {compiled.version}: {how}", file=sys.stderr)
    experiment_id, _ = _ensure(lambda: api.find_experiment(experiment), lambda: api.create_experiment(experiment))
    run = server.V2beta1Run(
        experiment_id=experiment_id,
        display_name=run_name,
        pipeline_version_reference=server.V2beta1PipelineVersionReference(pipeline_id, version_id),
        runtime_config=server.V2beta1RuntimeConfig(parameters=dict(arguments), pipeline_root=pipeline_root),
        service_account=service_account,
    )
    try:
        run_id = api.start_run(run)
    except ApiError as error:
        if 0 < error.status < 500:
            raise
        page = f"{api.endpoint.ui_address()}/#/experiments/details/{experiment_id}"
        raise ApiError(f"{error}; before you submit again, see at {page} whether it runs all the same") from None
    return Submission(run_id, run_url(api, run_id), compiled.version, created)


def run_url(api: Api, run_id: str) -> str:
    """Return the address of a run's page."""
    return f"{api.endpoint.ui_address()}/#/runs/details/{run_id}"


def _ensure(find: Callable[[], str | None], create: Callable[[], str]) -> tuple[str, bool]:
    """Return the id that `find` returns, else that of what `create` makes, and whether it was made.

    What somebody else makes between the two is taken as found.
    """
    found = find()
    if found:
        return found, False
    try:
        return create(), True
    except ApiError as error:
        found = find() if error.exists else None
        if not found:
            raise
        return found, False
