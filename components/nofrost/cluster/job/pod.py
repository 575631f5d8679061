"""The pods of a training job: what both kinds of job put into them.

They fit the Pod Security Standard `restricted`. No token of the API is mounted, as training asks Kubernetes for
nothing; the token by which a cloud knows a service account (IRSA) is a volume of its own, which a webhook adds.
"""

from __future__ import annotations

from nofrost.cluster.job.identity import FIXED_ENV, JOB_NAME, RUN_ID
from nofrost.cluster.job.kinds import KUEUE
from nofrost.cluster.job.pod_settings import CONFIG_KEYS, DATA_CACHE_PATH, METRICS_PORT, SECRET_KEYS
from nofrost.cluster.job.settings import POD_GRACE_S, JobSettings
from nofrost.cluster.job.spec import JobSpec, Json
from nofrost.stage import SAVE_INTERVAL
from nofrost.telemetry.metrics.exposition import VARIABLE as METRICS_VARIABLE

# A proxy would stand between the processes, and outlive them, so that the job never does.
WITHOUT_ISTIO = {"sidecar.istio.io/inject": "false"}
CONTAINER_SECURITY = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}
# Prometheus finds pods by the ports that they declare.
PORTS = ({"name": "metrics", "containerPort": METRICS_PORT},)
MOUNTS = ({"name": "tmp", "mountPath": "/tmp"}, {"name": "shm", "mountPath": "/dev/shm"})
_DATA_CACHE = "data-cache"
# The same in every pod: the saves of a training take up to the grace after SIGTERM.
COMMON_POD_FIELDS = {
    "automountServiceAccountToken": False,
    "enableServiceLinks": False,
    "terminationGracePeriodSeconds": POD_GRACE_S,
}


def environment(spec: JobSpec) -> list[Json]:
    """Return the environment variables of the container; a Secret, a ConfigMap or a key that is missing is no error.

    PYTHONUNBUFFERED is not among them: the images have it, and the training operator adds it once more.
    """
    settings, credentials = spec.settings, spec.settings.credentials
    values = {
        JOB_NAME: spec.name,
        **({RUN_ID: spec.run} if spec.run else {}),
        SAVE_INTERVAL: str(settings.save_interval_s),
        METRICS_VARIABLE: str(METRICS_PORT),
        **(settings.data_cache.environment() if settings.data_cache else {}),
        **FIXED_ENV,
        **settings.env,
    }
    variables: list[Json] = [{"name": name, "value": verbatim(value)} for name, value in values.items()]
    sources = (
        ("secretKeyRef", credentials.secret, SECRET_KEYS),
        ("configMapKeyRef", credentials.config_map, CONFIG_KEYS),
    )
    for kind, source, keys in sources:
        if source is not None:
            references = ({"name": source, "key": key, "optional": True} for key in keys)
            variables += ({"name": each["key"], "valueFrom": {kind: each}} for each in references)
    return variables


def verbatim(text: str) -> str:
    """Return the text for which Kubernetes, which replaces ``$(NAME)`` and ``$$``, puts `text` into the container."""
    return text.replace("$", "$$")


def arguments(spec: JobSpec) -> list[str]:
    """Return the arguments of the image's entrypoint, which passes signals on and so remains the first process."""
    return [verbatim(argument) for argument in spec.arguments]


def resources(spec: JobSpec) -> Json:
    """Return requests of one node, which are also its limits."""
    needed = dict(spec.settings.resources.as_json())
    if spec.gpus:
        needed[spec.settings.gpu.resource] = str(spec.gpus)
    return {"requests": needed, "limits": dict(needed)}


def volumes(settings: JobSettings) -> list[Json]:
    """Return the volumes: the root file system cannot be written, and NCCL needs more shared memory than 64 MiB."""
    memory = {"medium": "Memory", "sizeLimit": settings.shared_memory}
    fixed: list[Json] = [{"name": "tmp", "emptyDir": {}}, {"name": "shm", "emptyDir": memory}]
    cache = settings.data_cache
    if cache is None:
        return fixed
    kind = {"persistentVolumeClaim": {"claimName": cache.claim}} if cache.claim else {"emptyDir": {}}
    return [*fixed, {"name": _DATA_CACHE, **kind}]


def mounts_of_data_cache(settings: JobSettings) -> list[Json]:
    """Return where the volume of the data cache is mounted, if there is one."""
    return [{"name": _DATA_CACHE, "mountPath": DATA_CACHE_PATH}] if settings.data_cache else []


def pod_security(settings: JobSettings) -> Json:
    """Return the security context of the pod."""
    user = settings.run_as
    return {
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
        **({"runAsUser": user, "runAsGroup": user} if user is not None else {}),
    }


def place(spec: JobSpec) -> Json:
    """Return the fields of the pod that say on which nodes it may run, and as whom it pulls and reads."""
    settings = spec.settings
    places = [settings.placement, *([settings.gpu] if spec.gpus else [])]
    selector = {key: value for each in places for key, value in each.node_selector.items()}
    tolerations = [each.model_dump(exclude_none=True) for one in places for each in one.tolerations]
    secrets = [{"name": name} for name in settings.pull_secrets]
    fields: Json = {
        "nodeSelector": selector,
        "tolerations": tolerations,
        "imagePullSecrets": secrets,
        "serviceAccountName": settings.service_account,
    }
    return {name: value for name, value in fields.items() if value}


def pod_metadata(spec: JobSpec) -> Json:
    """Return labels and annotations of the pods: those of the job without what is for Kueue."""
    labels = {key: value for key, value in spec.metadata()["labels"].items() if not key.startswith(f"{KUEUE}/")}
    return {"labels": {**labels, **WITHOUT_ISTIO}, "annotations": dict(WITHOUT_ISTIO)}
