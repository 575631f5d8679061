"""What a job has come to for a run, in the store: a launcher or node that starts again after that has nothing to do.

It is the object ``nofrost/jobs/JOB/runs/RUN``, JSON with the keys of :class:`JobResult`. The name of a job is that of
its content, so the same run need neither train again what it has trained, nor try again what can only fail again.
Another run has no such object: it may train again what is in the store. Without a run there is none, as nothing says
which starts belong together.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from nofrost.errors import remark
from nofrost.store import MissingError, Store


@dataclass(frozen=True)
class JobResult:
    """The end of a job for a run.

    Attributes:
        output: PATH@REF of what was trained; "" without that.
        error: why it can never succeed; "" if it has.
    """

    output: str = ""
    error: str = ""


def result_name(job: str, run: str) -> str:
    """Return the name of the object with the result of a job for a run."""
    return f"nofrost/jobs/{job}/runs/{run}"


def read_result(job: str, run: str, store: Store) -> JobResult | None:
    """Return what a job has come to for a run; None if that is not known, or `run` is "".

    Raises:
        UserError: the store refuses; UnavailableError: it does not answer.
    """
    if not run:
        return None
    try:
        return JobResult(**json.loads(store.get(result_name(job, run))))
    except MissingError:
        return None
    except (ValueError, TypeError):
        remark(f"{result_name(job, run)} in {store.url} is no result of a job, and is left out")
        return None


def write_result(job: str, run: str, result: JobResult, store: Store) -> None:
    """Note what a job has come to for a run; nothing if `run` is "".

    Raises:
        UserError: the store refuses; UnavailableError: it does not answer.
    """
    if run:
        store.put(result_name(job, run), json.dumps(asdict(result)).encode())
