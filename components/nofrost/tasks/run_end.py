"""The tasks that end a run: its candidate, or what a part of a study has made, and how the run ended."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime

from nofrost import promotion
from nofrost.cluster.run_jobs import delete_run_jobs
from nofrost.config import parse_study
from nofrost.errors import remark
from nofrost.store import Output, Ref, open_store
from nofrost.tasks.ascii_text import from_ascii
from nofrost.tasks.labels import PROMOTION
from nofrost.tasks.run_record import RunRecord, outputs_name, record_name, write_outputs, write_record
from nofrost.tasks.study_check import check_study
from nofrost.tasks.task_errors import errors_of
from nofrost.tasks.task_exit import exit_on_error
from nofrost.telemetry.metrics import push_facts
from nofrost.telemetry.metrics.table import PIPELINE_SUCCESS


@exit_on_error(lambda **_: "write-candidate")
def write_candidate(study: str, source: str, outputs: Sequence[str], run: str, image: str, store: str) -> str:
    """Write the candidate that `nofrost promote RUN` merges into dvc.lock, and return its name in the store.

    With it the run has come to its end, which is pushed for Prometheus.

    Args:
        study: the study that was run, as YAML.
        source: ref of the source of the dataset, or empty.
        outputs: all outputs of the run.
        run: id of the run.
        image: the image in which the stages ran.
    """
    config = check_study(parse_study(from_ascii(study)))
    name = promotion.write_candidate(
        [Output.parse(text) for text in outputs],
        study=config,
        run=run,
        image=image,
        source=Ref.parse(source) if source else None,
        store=open_store(store, patient=True),
    )
    push_facts([PIPELINE_SUCCESS.fact(time.time())], study=config.name, task="write-candidate")
    return name


@exit_on_error(lambda **_: "record-outputs")
def record_outputs(outputs: Mapping[str, str | Sequence[str]], run: str, store: str) -> str:
    """Record the outputs of a run that is a part of a study, for the run that reports on all; return the record's name.

    Args:
        outputs: ``dataset`` and ``augmentation``, and lists: ``test_sets`` for the ood suites, ``trained`` for the
            runs, ``adversarial`` and ``ood`` for the runs and suites.
        run: id of the run.
    """
    write_outputs(outputs, run, open_store(store, patient=True))
    return outputs_name(run)


@exit_on_error(lambda **_: "finish")
def finish(run: str, state: str, store: str) -> str:
    """Delete the jobs that a run left on the cluster, record in the store how it ended, and return the record's name.

    A run has succeeded if its candidate, or the outputs of a part of a study, is in the store, and the promotion that
    follows has left no error. The record is a :class:`RunRecord`. Kubeflow's word in it is often wrong: it is RUNNING
    for most runs with nested pipelines that succeeded.

    Args:
        run: id of the run.
        state: how the run ended in Kubeflow's words, such as COMPLETE, RUNNING or FAILED.
    """
    # First, since it needs no store.
    for sentence in delete_run_jobs(run):
        remark(sentence)
    opened = open_store(store, patient=True)
    errors = errors_of(run, opened)
    is_written = any(name in opened.objects(name) for name in (promotion.candidate_name(run), outputs_name(run)))
    succeeded = is_written and not any(each.task == PROMOTION for each in errors)
    errors = [] if succeeded else errors
    error = "; ".join(f"{each.task} ended with {each.exit_code}: {each.message}" for each in errors)
    if not succeeded and not errors:
        error = (
            "it left no error: it was cancelled, or a pod was killed (no memory, a lost node) or never started: "
            "look at the run in Kubeflow"
        )
    record = RunRecord(
        run=run,
        state="succeeded" if succeeded else "failed",
        error=error,
        errors=[asdict(each) for each in errors],
        kubeflow=state,
        ended=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    write_record(record, opened)
    print(f"run {run}: {record.state}" + (f": {error}" if error else ""))
    return record_name(run)
