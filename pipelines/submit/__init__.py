"""Starting the compiled pipeline on Kubeflow, and waiting for what becomes of it."""

from pipelines.submit.api import Api
from pipelines.submit.endpoint import Endpoint
from pipelines.submit.errors import ApiError
from pipelines.submit.submission import Submission, submit
from pipelines.submit.waiting import wait

__all__ = ["Api", "ApiError", "Endpoint", "Submission", "submit", "wait"]
