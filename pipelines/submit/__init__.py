"""Submitting a study to Kubeflow, and waiting for its run."""

from pipelines.submit.api import Api
from pipelines.submit.api_errors import ApiError, TransientApiError
from pipelines.submit.completion import complete
from pipelines.submit.endpoint import Endpoint
from pipelines.submit.start import StartedRun, start_run
from pipelines.submit.submission import SubmitRequest, submit_study
from pipelines.submit.waiting import EndedError, wait

__all__ = [
    "Api",
    "ApiError",
    "EndedError",
    "Endpoint",
    "StartedRun",
    "SubmitRequest",
    "TransientApiError",
    "complete",
    "start_run",
    "submit_study",
    "wait",
]
