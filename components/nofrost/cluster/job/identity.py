"""By what the pods and jobs of a run are known: environment variables and a label."""

from collections.abc import Mapping
from typing import Any

# Label of the jobs of a run, whose value is its id.
RUN_LABEL = "nofrost/run"
# Id of the run; set in every pod of a run. Without it there is no run.
RUN_ID = "NOFROST_RUN_ID"
# Name of the training job; set in its pods alone.
JOB_NAME = "NOFROST_JOB"
# Exit code of `nofrost task train` in place of 1 and all others for errors that are worth another try.
FAILURE_CODE = "NOFROST_FAILURE_CODE"
# What every pod of a training job has beside those that begin with NOFROST_: the one folder that can be written.
FIXED_ENV = {"HOME": "/tmp"}


def run_of(job: Any) -> str:
    """Return the id of the run that the pods of a job have in their environment; "" if they have none.

    It is the run that made the job, and the one under which its pods record their errors; the label names the run that
    has adopted the job last.
    """
    if isinstance(job, Mapping):
        if job.get("name") == RUN_ID:
            return str(job.get("value", ""))
        job = list(job.values())
    if isinstance(job, list):
        return next(filter(None, map(run_of, job)), "")
    return ""
