"""Submitting a study: push its source data, compile and upload the pipeline, start a run, and wait for it.

Equal pipelines are uploaded once, whoever submits them and however often.
"""

import re
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nofrost
from nofrost.config import Study
from nofrost.errors import UserError, say
from nofrost.store import open_store
from pipelines.cluster import load_cluster
from pipelines.graph import make_pipeline
from pipelines.package import push_source, write_package
from pipelines.plan import plan_study
from pipelines.submit.api import Api
from pipelines.submit.api_errors import ApiError
from pipelines.submit.compiled import read_compiled
from pipelines.submit.endpoint import Endpoint
from pipelines.submit.texts import check_texts
from pipelines.submit.versions import check_version
from pipelines.submit.waiting import wait

DIGEST = re.compile(r".+@sha256:[0-9a-f]{64}")


@dataclass(frozen=True)
class SubmitRequest:
    """A study to run on Kubeflow, and the parameters of the pipeline.

    Attributes:
        store: URL of the store on S3.
        stage_image, train_image: by digest.
        data_ref: ref of the source data; None pushes the data at the study's ``dataset.path``.
        cluster: YAML file that describes the cluster; None for the default.
        caching: reuse outputs of tasks that ran before.
    """

    study: Study
    store: str
    stage_image: str
    train_image: str
    data_ref: str | None = None
    gpus: int = 0
    nodes: int = 1
    shards: int = 1
    cluster: Path | None = None
    caching: bool = True

    def __post_init__(self) -> None:
        for option, image in (("--stage-image", self.stage_image), ("--train-image", self.train_image)):
            if not DIGEST.fullmatch(image):
                raise UserError(
                    f"{option} {image} has no digest: give IMAGE@sha256:..., as `docker push` prints it (a tag can "
                    "move, and the cache would return old results for new code)"
                )
        if not self.store.startswith("s3://"):
            raise UserError(f"store {self.store} is a folder of this machine, which pods cannot see: give one on S3")


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


def submit_study(
    request: SubmitRequest,
    *,
    host: str | None,
    namespace: str | None,
    token_file: Path | None,
    ca_cert: Path | None,
    experiment: str,
    run_name: str | None,
    service_account: str | None,
    pipeline_root: str | None,
    wait_for: bool,
    timeout: float | None,
) -> StartedRun:
    """Start a run; with `wait_for`, return when it has succeeded.

    Raises:
        UserError: the request or an option is wrong, or the store or the API cannot be reached.
        RunFailedError: the run did not succeed.
    """
    run_name = run_name or request.study.name
    check_texts(
        {
            "--store": request.store,
            "--stage-image": request.stage_image,
            "--train-image": request.train_image,
            "--run-name": run_name,
            "--experiment": experiment,
            "--service-account": service_account,
            "--pipeline-root": pipeline_root,
        }
    )
    api = Api(Endpoint(host, namespace, token_file, ca_cert))
    store = open_store(request.store)
    pipeline = make_pipeline(
        plan_study(request.study, request.gpus, request.nodes),
        load_cluster(request.cluster),
        shards=request.shards,
        gpus=request.gpus,
        nodes=request.nodes,
        caching=request.caching,
    )
    arguments = {
        "store": store.url,
        "stage_image": request.stage_image,
        "train_image": request.train_image,
        "data_ref": push_source(request.study, request.data_ref, store),
    }
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / "nofrost.yaml"
        write_package(package, pipeline)
        started = start_run(
            package,
            arguments,
            api,
            experiment=experiment,
            run_name=run_name,
            service_account=service_account,
            pipeline_root=pipeline_root,
        )
    if wait_for:
        print(f"run {started.run_id}: {started.url}", flush=True)
        wait(started.run_id, api, timeout=timeout)
    return started


def start_run(
    package: Path,
    arguments: Mapping[str, Any],
    api: Api,
    *,
    experiment: str,
    run_name: str,
    service_account: str | None = None,
    pipeline_root: str | None = None,
) -> StartedRun:
    """Start a run of the compiled pipeline in `package`.

    The pipeline, this version of it and the experiment are created if they do not exist. When this is interrupted, the
    next submission uses what was created.

    Raises:
        UserError: the package holds other characters than ASCII, or the API cannot run it.
        ApiError: the API cannot be reached or refuses.
    """
    compiled = read_compiled(package)
    check_version(api.health.version, compiled.needs, api.address)
    pipeline_id, _ = _ensure(lambda: api.find_pipeline(compiled.name), lambda: api.create_pipeline(compiled.name))
    version_id, created = _ensure(
        lambda: api.find_version(pipeline_id, compiled.version),
        lambda: api.upload_version(pipeline_id, compiled.version, package, f"nofrost {nofrost.__version__}"),
    )
    how = "uploaded" if created else "exists already and is reused"
    say(f"pipeline {compiled.name}, version {compiled.version}: {how}")
    experiment_id = _experiment(api, experiment)
    try:
        run_id = api.create_run(
            experiment_id,
            run_name,
            params=dict(arguments),
            pipeline_id=pipeline_id,
            version_id=version_id,
            pipeline_root=pipeline_root,
            service_account=service_account,
        )
    except ApiError as error:
        if error.status and not error.transient:
            raise
        page = f"{api.endpoint.ui_address()}/#/experiments/details/{experiment_id}"
        raise ApiError(f"{error}; before you submit again, check at {page} whether it runs anyway") from None
    return StartedRun(run_id, api.endpoint.run_url(run_id), compiled.version, created)


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
