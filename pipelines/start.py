"""`python -m pipelines submit`: what a study needs is pushed and compiled, then its run starts on the cluster."""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

from nofrost.config import Study, study_as_yaml
from nofrost.errors import UserError
from nofrost.store import open_store
from pipelines.package import write_package
from pipelines.source import source_ref
from pipelines.submit import Api, Endpoint, Submission, submit, wait

DIGEST = re.compile(r".+@sha256:[0-9a-f]{64}")


@dataclass(frozen=True)
class Start:
    """What is to run: the study, and the parameters of the pipeline.

    Attributes:
        store: URL of the store on S3.
        stage_image, train_image: by digest.
        data_ref: ref of the source data; None pushes what stands at the study's ``dataset.path``.
        cluster: YAML file that describes the cluster; None for the default.
        caching: take outputs of tasks that ran before.
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
                    f"{option} {image} names no digest: write IMAGE@sha256:..., as `docker push` prints it (a tag can "
                    "move, and the cache would give old results for new code)"
                )
        if not self.store.startswith("s3://"):
            raise UserError(f"store {self.store} is a folder of this machine, which pods do not see: name one on S3")


def start(
    request: Start,
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
) -> Submission:
    """Start the run; with `wait_for`, return when it has succeeded.

    Raises:
        UserError: something that was given is wrong, or the store or the API cannot be had.
        RunFailedError: the run did not succeed.
    """
    api = Api(Endpoint(host, namespace, token_file, ca_cert))
    store = open_store(request.store)
    arguments = {
        "store": store.url,
        "stage_image": request.stage_image,
        "train_image": request.train_image,
        "study": study_as_yaml(request.study),
        "data_ref": source_ref(request.study, request.data_ref, store),
        "gpus": request.gpus,
        "nodes": request.nodes,
        "shards": request.shards,
    }
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / "nofrost.yaml"
        write_package(package, request.cluster, caching=request.caching)
        started = submit(
            package,
            arguments,
            api,
            experiment=experiment,
            run_name=run_name or request.study.name,
            service_account=service_account,
            pipeline_root=pipeline_root,
        )
    if wait_for:
        print(f"run {started.run_id}: {started.url}", flush=True)
        wait(started.run_id, api, timeout=timeout)
    return started
