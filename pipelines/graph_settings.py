"""What a graph is compiled with beside the plan of a study."""

from collections.abc import Sequence
from dataclasses import dataclass

from nofrost.cluster.job.spec import MOST_GPUS, MOST_NODES, DataAccess
from nofrost.errors import UserError
from pipelines.cluster_settings import Cluster


@dataclass(frozen=True)
class GraphSettings:
    """What a graph is compiled with beside the plan of a study.

    Attributes:
        cluster: resources, placement and credentials of the tasks.
        shards: of every evaluation, at least 1.
        gpus: on each node of a training, as the plan was made for. With any, an evaluation has one.
        nodes: machines for each training, as the plan was made for.
        data: where a training reads shards of images: ``local``, each node fetches all of them first, or ``stream``,
            they are fetched as they are needed.
        augment_shards: of the augmentation, at least 1.
        caching: reuse the output of a task that ran with the same refs, configuration and image before.

    Raises:
        UserError: no training can have that many GPUs or nodes on this cluster.
    """

    cluster: Cluster
    shards: int = 1
    gpus: int = 0
    nodes: int = 1
    data: DataAccess = "local"
    caching: bool = True
    augment_shards: int = 1

    def __post_init__(self) -> None:
        for name, number, least, most in (("gpus", self.gpus, 0, MOST_GPUS), ("nodes", self.nodes, 1, MOST_NODES)):
            if not least <= number <= most:
                raise UserError(f"{name} {number} is not possible: give {least} to {most}")
        if self.nodes > 1 and self._backend == "none":
            raise UserError(
                f"nodes {self.nodes} need a training job, and training_job.backend is none: set it to auto, or use one "
                "node"
            )

    @property
    def _backend(self) -> str:
        return self.cluster.training_job.backend

    @property
    def launches_jobs(self) -> bool:
        """Whether a training is a job beside the pod of its task, and not in it: on several GPUs or nodes."""
        return (self.gpus > 1 or self.nodes > 1) and self._backend != "none"

    @property
    def evaluation_gpus(self) -> int:
        return min(self.gpus, 1)


def shard_names(count: int) -> Sequence[str]:
    """Return the names of the shards that a stage is divided into; none for a single task."""
    return [f"{index}/{count}" for index in range(count)] if count > 1 else []
