"""Settings of a task on the cluster: image, resources, nodes, shared memory, credentials, environment, retries."""

from typing import Any

from kfp import kubernetes
from kfp.dsl.pipeline_task import PipelineTask

from nofrost.cluster.job.identity import RUN_ID
from nofrost.cluster.job.pod_settings import (
    CONFIG_KEYS,
    DATA_CACHE_PATH,
    METRICS_PORT,
    SECRET_KEYS,
    Placement,
    Resources,
)
from nofrost.stage import SAVE_INTERVAL
from nofrost.telemetry.metrics.exposition import VARIABLE as METRICS_VARIABLE
from pipelines.cluster_settings import Cluster

SMALL = Resources(cpu="500m", memory="1Gi")  # for tasks that only write notes, or start a job and follow it


def placed(
    task: PipelineTask, stage: Any, image: str, *, cluster: Cluster, caching: bool, gpus: int = 0
) -> PipelineTask:
    """Apply the settings of the cluster to a task, and return it.

    Args:
        stage: the stage whose resources it gets; None for a task that only writes notes or follows a job.
        image: a pipeline parameter.
        caching: whether Kubeflow may reuse an earlier output of the same refs, configuration and image.
        gpus: GPUs of the task, which put it on nodes that have them.
    """
    resources = cluster.resources_of(stage) if stage else SMALL
    task.set_container_image(image)
    task.set_cpu_request(resources.cpu).set_cpu_limit(resources.cpu)
    task.set_memory_request(resources.memory).set_memory_limit(resources.memory)
    task.set_caching_options(caching)
    retries = cluster.retries
    if retries.count:
        task.set_retry(retries.count, retries.first_wait, retries.factor, retries.window)
    # From the pod's label: as an input of the task it would be a part of the key of the cache.
    kubernetes.use_field_path_as_env(task, RUN_ID, "metadata.labels['pipeline/runid']")
    # What network policies and Prometheus select; a training job has the same labels.
    kubernetes.add_pod_label(task, "app.kubernetes.io/name", "nofrost")
    kubernetes.add_pod_label(task, "app.kubernetes.io/component", stage or "task")
    if stage in ("train", "evaluate"):
        task.set_env_variable(METRICS_VARIABLE, str(METRICS_PORT))
        task.set_env_variable(SAVE_INTERVAL, str(cluster.save_interval_s))
        kubernetes.empty_dir_mount(task, "shm", "/dev/shm", medium="Memory", size_limit=cluster.shared_memory)
    cache = cluster.data_cache
    if cache and stage in ("augment", "train", "evaluate", "report"):
        for name, value in cache.environment().items():
            task.set_env_variable(name, value)
        if cache.claim:
            kubernetes.mount_pvc(task, cache.claim, DATA_CACHE_PATH)
        else:
            kubernetes.empty_dir_mount(task, "data-cache", DATA_CACHE_PATH)
    # The root file system is read-only where the namespace requires it, so temporary files need a volume.
    kubernetes.empty_dir_mount(task, "tmp", "/tmp")
    _on(task, cluster.placement)
    if gpus:
        # A constant: Kubeflow's backend ignores a number of GPUs that is an integer parameter of the pipeline.
        task.set_accelerator_type(cluster.gpu.resource).set_accelerator_limit(gpus)
        _on(task, cluster.gpu)
    _with_credentials(task, cluster)
    kubernetes.set_image_pull_policy(task, cluster.image_pull_policy)
    user = cluster.run_as
    if user is not None:
        kubernetes.set_security_context(task, run_as_user=user, run_as_group=user, run_as_non_root=True)
    return task


def _on(task: PipelineTask, placement: Placement) -> None:
    for key, value in placement.node_selector.items():
        kubernetes.add_node_selector(task, key, value)
    for toleration in placement.tolerations:
        kubernetes.add_toleration(task, **toleration.model_dump())


def _with_credentials(task: PipelineTask, cluster: Cluster) -> None:
    """Set credentials and endpoint as environment variables; a missing Secret or key is no error (IRSA)."""
    secret, config_map = cluster.credentials.secret, cluster.credentials.config_map
    if secret is not None:
        kubernetes.use_secret_as_env(task, secret, {key: key for key in SECRET_KEYS}, optional=True)
    if config_map is not None:
        kubernetes.use_config_map_as_env(task, config_map, {key: key for key in CONFIG_KEYS}, optional=True)
