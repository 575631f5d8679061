"""Submitting a study to Kubeflow, and waiting for its run."""

from pipelines.submit.api import Api
from pipelines.submit.api_errors import ApiError
from pipelines.submit.endpoint import Endpoint
from pipelines.submit.submission import StartedRun, SubmitRequest, start_run, submit_study
from pipelines.submit.waiting import wait

__all__ = ["Api", "ApiError", "Endpoint", "StartedRun", "SubmitRequest", "start_run", "submit_study", "wait"]
