"""`python -m pipelines run`: the compiled graph on this machine, task by task as processes or containers."""

from __future__ import annotations

import contextlib
import hashlib
import sys
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from nofrost.config import Study, study_as_yaml
from nofrost.errors import RunFailedError
from nofrost.store import Output, open_store, pull
from pipelines.cluster import Cluster, Retries
from pipelines.graph import make_pipeline
from pipelines.journal import Journal
from pipelines.runners import Containers, as_containers, as_processes, image_id, s3_environment
from pipelines.source import source_ref

Runner = Literal["process", "docker"]


@dataclass(frozen=True)
class Finished:
    """A local run that went well: its id, which `nofrost promote` takes, and where its report was put."""

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
    shards: int = 1,
    caching: bool = True,
    quiet: bool = False,
) -> Finished:
    """Run the pipeline for a study on this machine.

    A task that ran with the same refs, configuration and image (or, for processes, code) before is not run again: a run
    that was killed goes on with the tasks that were not finished.

    Args:
        runner: ``process`` runs tasks in this Python environment, ``docker`` in containers.
        store: URL of the store that outputs are pushed to.
        folder: takes logs, the artifacts of tasks, the cache, and the report.
        images: of stages and of training, for ``docker``.
        data_ref: ref of the source data; None pushes what stands at the study's ``dataset.path`` if it is needed.
        gpus: GPUs for each training and evaluation: 0 or 1.
        shards: number of parts of every evaluation.
        quiet: tell of tasks on standard error, not standard output.

    Raises:
        UserError: Docker, an image or the store cannot be had.
        RunFailedError: a task failed; the sentence names it and says what it said.
    """
    folder = folder.absolute()
    target = open_store(store)
    source = source_ref(study, data_ref, target)
    root = folder / "tasks"
    root.mkdir(parents=True, exist_ok=True)
    journal = Journal(folder / "logs", sys.stderr if quiet else sys.stdout)
    way: AbstractContextManager[Any]
    if runner == "docker":
        stage_image, train_image = map(image_id, images)
        root.chmod(0o777)  # containers of root's runs are another user
        folders = () if target.url.startswith("s3://") else (Path(target.url),)
        way = as_containers(journal, Containers(stage_image, train_image, gpus > 0, s3_environment(target), folders))
    else:
        stage_image = train_image = f"process@sha256:{_code_digest()}"
        way = as_processes(journal)
    arguments = {
        "study": study_as_yaml(study),
        "data_ref": source,
        "store": target.url,
        "stage_image": stage_image,
        "train_image": train_image,
        "gpus": gpus,
        "shards": shards,
    }
    with way as local_runner, (folder / "logs" / "kfp.log").open("w", encoding="utf-8") as log:
        _walk(arguments, local_runner, root, folder / "cache", caching, journal, log)
    return _finished(journal, folder, store)


def _walk(
    arguments: dict[str, Any], runner: Any, root: Path, cache: Path, caching: bool, journal: Journal, log: Any
) -> None:
    """Let kfp.local walk the graph; what it prints itself goes to a log."""
    from kfp import local

    pipeline: Any = make_pipeline(Cluster(retries=Retries(count=0)), caching=caching)
    local.init(runner, pipeline_root=str(root), enable_caching=caching, cache_root=str(cache))
    try:
        with contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
            pipeline(**arguments)
    except RuntimeError as error:
        failures = journal.failures()
        if not failures:
            raise
        told = "; ".join(f"{task.title} (exit code {task.exit_code}): {task.last_words()}" for task in failures)
        raise RunFailedError(f"the run failed in {told}") from error


def _finished(journal: Journal, folder: Path, store: str) -> Finished:
    """Return what the run made, after checking that it came to its end: kfp.local is not taken at its word."""
    last, ending = journal.named("write-candidate"), journal.named("finish")  # these two never come from the cache
    if last is None or ending is None or last.exit_code or ending.exit_code:
        raise RunFailedError(f"the run did not come to its end: see {folder / 'logs'}")
    report = folder / "report"
    pull(Output.parse(last.parameters["report"]).ref, report, open_store(store))
    return Finished(last.parameters["run"], report)


def _code_digest() -> str:
    """Return the SHA-256 of the package's files: what the image's digest is to a container."""
    import nofrost

    folder = Path(nofrost.__file__).parent
    digest = hashlib.sha256(sys.version.encode())
    for path in sorted(folder.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            digest.update(f"{path.relative_to(folder)}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()
