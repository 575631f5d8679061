"""The specification of a training job, which both kinds of job are made from (`pytorchjob.py`, `trainjob.py`)."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Literal

from nofrost.cluster.job.identity import RUN_LABEL
from nofrost.cluster.job.kinds import KUEUE
from nofrost.cluster.job.settings import JobSettings
from nofrost.cluster.job.values import LABEL_VALUE
from nofrost.errors import UserError, shortened

Json = dict[str, Any]
# Where a training reads shards of images: on its node, where all of them lie, or in the store, as it needs them.
DataAccess = Literal["local", "stream"]
# Annotation with the SHA-256 of the specification: a job is adopted only if its is the same.
SPEC_ANNOTATION = "nofrost/spec"
# The operators append "-worker-999" and "-node-0-999-abcde" for their pods, whose names are labels of 63 characters:
# indices of three digits at most, as MOST_NODES allows.
LONGEST_NAME = 44
MOST_NODES, MOST_GPUS = 1000, 64
# Settings that launchers honour and jobs do not hold.
LAUNCHER_SETTINGS = ("backend", "queue_timeout_s")
# The kernel gives a program no longer argument.
_LONGEST_ARGUMENT = 128 * 1024 - 1
_IMAGE = re.compile(r"[a-zA-Z0-9][\w./:-]*@sha256:[0-9a-f]{64}")
_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


@dataclass(frozen=True)
class Training:
    """What a job trains: the options of `nofrost task train`.

    Attributes:
        recipe: as JSON.
        dataset, augmentation: PATH@REF.
        store: URL.
        data: where shards of images are read: ``local``, each node fetches all of them first, or ``stream``, they are
            fetched as they are needed.
        start: PATH@REF of a training that has done its first phases; empty where it has none.
    """

    recipe: str
    recipe_id: str
    seed: str
    dataset: str
    augmentation: str
    store: str
    data: DataAccess = "local"
    start: str = ""

    def arguments(self, gpus: int, nodes: int) -> tuple[str, ...]:
        """Return the arguments of `nofrost` that train this on each of the nodes."""
        options = {**asdict(self), "gpus": gpus, "nodes": nodes}
        if not self.start:
            del options["start"]
        return ("task", "train", *(f"--{name.replace('_', '-')}={value}" for name, value in options.items()))


@dataclass(frozen=True)
class Owner:
    """The pod of a launcher: Kubernetes deletes the job when it has deleted this pod."""

    name: str
    uid: str

    def reference(self) -> Json:
        """Return the entry of ``metadata.ownerReferences``."""
        # Neither a controller of the job, nor in the way of the pod's end: that would take further rights.
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "name": self.name,
            "uid": self.uid,
            "controller": False,
            "blockOwnerDeletion": False,
        }


@dataclass(frozen=True)
class JobSpec:
    """A training job.

    Attributes:
        image: by digest.
        gpus: of each node; 0 trains on the CPUs, in one process a node.
        run: id of the run of the pipeline; "" for none.

    Raises:
        UserError: image, gpus, nodes, namespace or run is nothing that a job can have.
    """

    training: Training
    image: str
    gpus: int
    nodes: int
    settings: JobSettings
    namespace: str
    run: str = ""
    owner: Owner | None = None

    def __post_init__(self) -> None:
        if len(self.image) > 500 or not _IMAGE.fullmatch(self.image):
            raise UserError(
                f"image {shortened(self.image)} has no digest: give IMAGE@sha256:..., as `docker push` prints it (a "
                "tag can move, and a job of the same name would train with other code)"
            )
        if not 0 <= self.gpus <= MOST_GPUS:
            raise UserError(f"{self.gpus} GPUs a node is not possible: give 0 to {MOST_GPUS}")
        if not 1 <= self.nodes <= MOST_NODES:
            raise UserError(f"{self.nodes} nodes is not possible: give 1 to {MOST_NODES}")
        if not _NAMESPACE.fullmatch(self.namespace):
            raise UserError(f"{shortened(self.namespace)} is not a namespace of Kubernetes: correct it")
        if self.run and not LABEL_VALUE.fullmatch(self.run):
            raise UserError(f"the id {shortened(self.run)} of the run cannot be the value of a label: correct it")
        try:
            longest = max(len(argument.encode()) for argument in self.arguments)
        except UnicodeEncodeError as error:
            raise UserError(f"{shortened(error.object)} is not UTF-8, which a pod takes: correct it") from None
        if longest > _LONGEST_ARGUMENT:
            raise UserError(f"recipe {self.training.recipe_id} is longer than a pod can take (128 KiB): shorten it")

    @property
    def processes(self) -> int:
        """Processes on each node."""
        return max(self.gpus, 1)

    @property
    def arguments(self) -> tuple[str, ...]:
        """The arguments of the container's entrypoint."""
        return ("nofrost", *self.training.arguments(self.gpus, self.nodes))

    @cached_property
    def digest(self) -> str:
        """The SHA-256 of everything that the job does and needs.

        Neither the run, nor its launcher, nor what only launchers honour is part of it, so that another run adopts it.
        """
        settings = {key: value for key, value in self.settings.as_json().items() if key not in LAUNCHER_SETTINGS}
        content = {"arguments": self.arguments, "image": self.image, "settings": settings}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    @property
    def name(self) -> str:
        """The name of the job: the same specification has the same name."""
        return job_name(self.training, self.digest)

    def metadata(self) -> Json:
        """Return name, namespace, labels, annotations and owner of the job."""
        queue = {"queue-name": self.settings.queue, "priority-class": self.settings.queue_priority}
        labels = {
            "app.kubernetes.io/name": "nofrost",
            "app.kubernetes.io/instance": self.name,
            "app.kubernetes.io/component": "train",
            "app.kubernetes.io/managed-by": "nofrost",
            **({RUN_LABEL: self.run} if self.run else {}),
            **{f"{KUEUE}/{key}": value for key, value in queue.items() if value},
        }
        training = {"nofrost/recipe": self.training.recipe_id, "nofrost/seed": self.training.seed}
        metadata: Json = {
            "name": self.name,
            "namespace": self.namespace,
            "labels": labels,
            "annotations": {SPEC_ANNOTATION: self.digest, **training},
        }
        if self.owner is not None:
            metadata["ownerReferences"] = [self.owner.reference()]
        return metadata


def job_name(training: Training, digest: str) -> str:
    """Return ``nofrost-RECIPE-SEED-HASH`` as a label of a domain name (RFC 1035), of at most 44 characters.

    Args:
        digest: of the specification of the job.
    """
    end = f"-{digest[:10]}"
    text = f"nofrost-{training.recipe_id}-{training.seed}".lower()
    slug = re.sub(r"[^a-z0-9]+", "-", text)[: LONGEST_NAME - len(end)].rstrip("-")
    return slug + end
