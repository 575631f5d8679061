"""All checks, in the order in which a submission needs what they look for."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipelines.cluster_settings import load_cluster
from pipelines.doctor.cluster_objects import check_service_account, check_training_jobs
from pipelines.doctor.conditional_writes import check_store
from pipelines.doctor.finding import Finding
from pipelines.doctor.image_registry import check_image
from pipelines.doctor.kfp_version import check_kfp
from pipelines.submit import Api, Endpoint


@dataclass(frozen=True)
class Subject:
    """What a submission would use.

    Attributes:
        store: URL of the store.
        service_account: of the pods; None for Kubeflow's own.
        stage_image, train_image: None where they are not to be checked.
        cluster: YAML file that describes the cluster; None for the default.
    """

    endpoint: Endpoint
    store: str
    service_account: str | None = None
    stage_image: str | None = None
    train_image: str | None = None
    cluster: Path | None = None


def examine(subject: Subject) -> Iterator[Finding]:
    """Yield what is found; what cannot be reached is a finding and no error.

    Raises:
        UserError: the file of the cluster is wrong.
    """
    cluster = load_cluster(subject.cluster)
    yield check_kfp(Api(subject.endpoint), cluster)
    yield check_service_account(subject.endpoint.namespace, subject.service_account, cluster)
    yield check_training_jobs()
    yield from check_store(subject.store)
    yield check_image("stage image", "--stage-image", subject.stage_image)
    yield check_image("train image", "--train-image", subject.train_image)
