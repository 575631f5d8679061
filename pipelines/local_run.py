"""`python -m pipelines run`: the compiled graph on this machine, task by task as processes or containers."""

import hashlib
import secrets
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from nofrost.cluster.job.spec import DataAccess
from nofrost.config import Study
from nofrost.errors import RunFailedError, UserError
from nofrost.lock import folder_lock
from nofrost.stage import save_interval_s
from nofrost.store import Output, Store, open_store, pull
from pipelines.children import Children
from pipelines.cluster_settings import Cluster, Retries
from pipelines.graph import make_pipeline
from pipelines.graph_settings import GraphSettings
from pipelines.kfp_local import run_pipeline
from pipelines.local_tasks import ContainerTasks, ProcessTasks, Tasks, image_id
from pipelines.package import push_source
from pipelines.run_log import RunLog
from pipelines.study_plan import plan_study

Runner = Literal["process", "docker"]


@dataclass(frozen=True)
class FinishedRun:
    """A local run that succeeded: its id, which `nofrost promote` takes, and the folder of its report."""

    run: str
    report: Path


def run(
    study: Study,
    *,
    runner: Runner,
    store: str,
    folder: Path,
    images: tuple[str, str],
    data_ref: str | None = None,
    gpus: int = 0,
    nodes: int = 1,
    shards: int = 1,
    data: DataAccess = "local",
    augment_shards: int = 1,
    caching: bool = True,
    quiet: bool = False,
) -> FinishedRun:
    """Run the pipeline for a study on this machine.

    A task that ran with the same refs, configuration and image (or, for processes, code) before is not run again: a run
    that was killed resumes with the tasks that had not finished.

    Args:
        runner: ``process`` runs tasks in this Python environment, ``docker`` in containers.
        store: URL of the store that outputs are pushed to.
        folder: for logs, the artifacts of tasks, the cache, and the report.
        images: of stages and of training, for ``docker``.
        data_ref: ref of the source data; None pushes the data at the study's ``dataset.path`` if there are any.
        gpus: GPUs on each node of a training; with any, an evaluation uses one.
        nodes: groups of processes of each training, which stand for machines.
        shards: number of parts of every evaluation.
        data: where a training reads shards of images, as :class:`GraphSettings` has it.
        augment_shards: number of parts of the augmentation.
        quiet: print the progress of tasks on standard error, not on standard output.

    Raises:
        UserError: Docker, an image or the store is not available, another run writes to the same folder, or
            NOFROST_SAVE_INTERVAL_S is wrong.
        StoppedError, KeyboardInterrupt: SIGTERM or SIGINT came; the tasks were asked to save, and have ended.
        RunFailedError: a task failed; the message names it and its last line of output.
    """
    folder = folder.absolute()
    target = open_store(store)
    if Path(target.url).is_file():
        raise UserError(f"store {target.url} is a file: give a folder, or s3://bucket/prefix")
    source = push_source(study, data_ref, target)
    # Tasks get the interval as a setting of the cluster, which comes before the variable of this process.
    cluster = Cluster(retries=Retries(count=0), save_interval_s=int(save_interval_s()))
    settings = GraphSettings(
        cluster, shards=shards, gpus=gpus, nodes=nodes, data=data, caching=caching, augment_shards=augment_shards
    )
    pipeline = make_pipeline(plan_study(study, gpus, nodes), settings)
    with folder_lock(folder):
        root, run_id = folder / "tasks", _new_id()
        root.mkdir(parents=True, exist_ok=True)
        run_log = RunLog(folder / "logs", sys.stderr if quiet else sys.stdout)
        # Of a machine that went down.
        for earlier in folder.glob("credentials-*"):
            earlier.unlink()
        # Not a name for all runs: the watchdog of a killed run deletes its file when the next run may have begun.
        credentials = folder / f"credentials-{run_id}"
        children = Children(run_log.say, secrets=[credentials])
        tasks: Tasks
        if runner == "docker":
            stage_image, train_image = map(image_id, images)
            # Containers started by root run as another user, who must be able to write here.
            root.chmod(0o777)
            # An error that every task would have is one before the first.
            target.container_environment()
            tasks = ContainerTasks(
                run_log, children, run_id, stage_image, train_image, gpus > 0, target, credentials, root
            )
        else:
            stage_image = train_image = f"process@sha256:{_code_digest()}"
            tasks = ProcessTasks(run_log, children, run_id)
        arguments = {
            "data_ref": source,
            "schedule": "",
            "store": target.url,
            "stage_image": stage_image,
            "train_image": train_image,
        }
        try:
            with children:
                cache, log = folder / "cache" if caching else None, folder / "logs" / "kfp.log"
                _run_graph(pipeline, arguments, tasks, root, cache, log)
        except (RunFailedError, RuntimeError):
            children.raise_if_stopped()
            raise
        children.raise_if_stopped()
        return _finished_run(run_log, folder, target, promotes=study.gate is not None)


def _run_graph(
    pipeline: Any, arguments: dict[str, Any], tasks: Tasks, root: Path, cache: Path | None, log: Path
) -> None:
    with log.open("w", encoding="utf-8") as file:
        try:
            run_pipeline(pipeline, arguments, tasks, run_id=tasks.run_id, root=root, cache=cache, log=file)
        except RuntimeError as error:
            failures = tasks.run_log.failures()
            if not failures:
                raise
            causes = "; ".join(f"{task.title} (exit code {task.exit_code}): {task.last_line()}" for task in failures)
            raise RunFailedError(f"the run failed in {causes}") from error


def _new_id() -> str:
    """Return an id for a run: ids sort by time."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"


def _finished_run(run_log: RunLog, folder: Path, store: Store, *, promotes: bool) -> FinishedRun:
    """Return the run and its report, after checking that its last tasks succeeded.

    Args:
        promotes: whether the study has a gate, and so a task that promotes.
    """
    # kfp.local may report success for a failed run. These tasks are never taken from the cache, so all must have been
    # executed.
    candidate, finish = run_log.last("write-candidate"), run_log.last("finish")
    promoted = run_log.last("promote") if promotes else finish
    ended = (candidate, finish, promoted)
    if candidate is None or not all(task and task.exit_code == 0 for task in ended):
        raise RunFailedError(f"the run did not complete: see {folder / 'logs'}")
    report = folder / "report"
    pull(Output.parse(candidate.parameters["report"]).ref, report, store)
    return FinishedRun(candidate.parameters["run"], report)


def _code_digest() -> str:
    """Return the SHA-256 of the package's files, which stands for the image's digest in the cache of process runs."""
    import nofrost

    folder = Path(nofrost.__file__).parent
    digest = hashlib.sha256(sys.version.encode())
    for path in sorted(folder.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            digest.update(f"{path.relative_to(folder)}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()
