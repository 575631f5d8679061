"""All checks, in the order in which a submission needs what they look for."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipelines.cluster_settings import load_cluster
from pipelines.doctor.capacity import check_capacity
from pipelines.doctor.conditional_writes import check_store
from pipelines.doctor.finding import Finding
from pipelines.doctor.image_registry import check_image
from pipelines.doctor.installation import check_installation
from pipelines.doctor.kfp_version import check_kfp
from pipelines.doctor.service_account import check_service_account, check_use
from pipelines.doctor.training_jobs import check_training_jobs
from pipelines.graph_settings import GraphSettings
from pipelines.submit import Api, Endpoint


@dataclass(frozen=True)
class Subject:
    """What a submission would use.

    Attributes:
        store: URL of the store.
        service_account: of the pods; None for Kubeflow's own.
        stage_image, train_image: None where they are not to be checked.
        cluster: YAML file that describes the cluster; None for the default.
        gpus, nodes: of each training.
        installation: whether to look for what the manifests in k8s/ install as well.
    """

    endpoint: Endpoint
    store: str
    service_account: str | None = None
    stage_image: str | None = None
    train_image: str | None = None
    cluster: Path | None = None
    gpus: int = 0
    nodes: int = 1
    installation: bool = False


def examine(subject: Subject) -> Iterator[Finding]:
    """Yield what is found; what cannot be reached is a finding and no error.

    Raises:
        UserError: the file of the cluster is wrong, or does not fit the numbers of GPUs and nodes.
    """
    cluster = load_cluster(subject.cluster)
    settings = GraphSettings(cluster, gpus=subject.gpus, nodes=subject.nodes)
    account = subject.endpoint.namespace, subject.service_account
    yield check_kfp(Api(subject.endpoint), settings)
    yield check_service_account(*account, cluster)
    if subject.service_account is not None:
        yield check_use(*account)
    jobs = cluster.job_settings()
    yield from check_training_jobs(jobs, *account, needed=settings.launches_jobs)
    yield from check_capacity(jobs, subject.endpoint.namespace, gpus=subject.gpus, nodes=subject.nodes)
    yield from check_store(subject.store)
    yield check_image("stage image", "--stage-image", subject.stage_image)
    yield check_image("train image", "--train-image", subject.train_image)
    if subject.installation:
        yield from check_installation(subject.endpoint.namespace, cluster, subject.store)
