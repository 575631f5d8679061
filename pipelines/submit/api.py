"""The KFP API through kfp's own client: the requests of a submission, each with a time limit of a minute."""

import io
import json
import warnings
from contextlib import redirect_stdout
from functools import cached_property
from pathlib import Path
from typing import Any

import kfp_server_api as server
from kfp.client import Client

from nofrost.errors import UserError
from pipelines.submit.api_errors import ApiError, explained, not_kfp
from pipelines.submit.endpoint import HOST_VARIABLES, Endpoint

TIMEOUT_S = (5, 60)  # to connect, to answer


class _Client(Client):  # type: ignore[misc]  # kfp has no types
    """kfp's client, which finds host and credentials, but fails at once and writes no files.

    The original retries an error of the host five times in 25 s, prints tracebacks, has no time limit, and writes to
    the home folder.
    """

    address = ""
    token_is_renewed = False

    def _load_config(self, host: str | None, *others: Any) -> Any:
        with redirect_stdout(io.StringIO()):  # the original prints that there is no kubeconfig
            config = super()._load_config(host, *others)
        if not host and config.host == server.Configuration().host:
            raise UserError(f"there is no address of a KFP API: give --host or set {HOST_VARIABLES[0]}")
        config.host = config.host if "://" in config.host else f"http://{config.host}"  # in a cluster
        config.retries = 0
        self.address = config.host
        self.token_is_renewed = config.refresh_api_key_hook is not None
        return config

    def get_kfp_healthz(self, sleep_duration: int = 0) -> Any:
        """Return the health of the API, whose answer leaves out false values."""
        with explained(self.address, "to report its health"):
            health = self.healthzs.healthz_service_get_healthz(_preload_content=False, _request_timeout=TIMEOUT_S)
        try:
            answer = json.loads(health.data)
            return server.V2beta1GetHealthzResponse(multi_user=bool(answer.get("multi_user")))
        except (ValueError, AttributeError):
            raise not_kfp(self.address) from None

    def set_user_namespace(self, namespace: str) -> None:
        """Remember the namespace of this pod, without writing it to the home folder."""
        self._context_setting["namespace"] = namespace.strip()


class Api:
    """The KFP API at one address, connected to on first use. Every method raises ApiError."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint

    @cached_property
    def _client(self) -> Any:
        endpoint = self.endpoint
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "This client only works with Kubeflow Pipeline", FutureWarning)
            return _Client(host=endpoint.address(), ssl_ca_cert=endpoint.authority(), **endpoint.credentials())

    def connect(self) -> None:
        """Check that there is a KFP API that accepts the credentials, unless that was checked before."""
        _ = self._client

    @cached_property
    def namespace(self) -> str | None:
        """The user's namespace; None where the installation serves one user."""
        address = self._client.address
        if not self._client.get_kfp_healthz().multi_user:
            if self.endpoint.namespace:
                raise UserError(f"{address} serves one user and has no namespaces: omit --namespace")
            return None
        namespace = self.endpoint.namespace or self._client.get_user_namespace()
        if not namespace:
            raise UserError(f"{address} serves several users: give your namespace with --namespace")
        return str(namespace)

    def find_pipeline(self, name: str) -> str | None:
        """Return the id of the pipeline with this name, None if there is none."""
        operation = self._client.pipelines.pipeline_service_get_pipeline_by_name
        try:
            pipeline = self._call("to look for a pipeline", operation, name, namespace=self.namespace)
        except ApiError as error:
            if error.status == 404:
                return None
            raise
        return self._id(pipeline.pipeline_id)

    def create_pipeline(self, name: str) -> str:
        """Create a pipeline that has no version yet and return its id."""
        pipeline = server.V2beta1Pipeline(display_name=name, namespace=self.namespace)
        pipeline = self._call("to create a pipeline", self._client.pipelines.pipeline_service_create_pipeline, pipeline)
        return self._id(pipeline.pipeline_id)

    def find_version(self, pipeline_id: str, name: str) -> str | None:
        """Return the id of this version of a pipeline, None if there is none."""
        operation = self._client.pipelines.pipeline_service_list_pipeline_versions
        answer = self._call("to look for a version", operation, pipeline_id, filter=_named(name))
        versions = [version for version in answer.pipeline_versions or () if version.display_name == name]
        return self._id(versions[0].pipeline_version_id) if versions else None

    def upload_version(self, pipeline_id: str, name: str, package: Path, description: str) -> str:
        """Upload a compiled pipeline as a new version and return the version's id."""
        operation = self._client.pipeline_uploads.upload_pipeline_version
        version = self._call(
            f"to accept {package}", operation, str(package), name=name, pipelineid=pipeline_id, description=description
        )
        return self._id(version.pipeline_version_id)

    def find_experiment(self, name: str) -> str | None:
        """Return the id of the experiment with this name, None if there is none."""
        operation = self._client.experiments.experiment_service_list_experiments
        answer = self._call("to look for an experiment", operation, filter=_named(name), namespace=self.namespace)
        experiments = [experiment for experiment in answer.experiments or () if experiment.display_name == name]
        return self._id(experiments[0].experiment_id) if experiments else None

    def create_experiment(self, name: str) -> str:
        """Create an experiment and return its id."""
        experiment = server.V2beta1Experiment(display_name=name, namespace=self.namespace)
        operation = self._client.experiments.experiment_service_create_experiment
        return self._id(self._call("to create an experiment", operation, experiment).experiment_id)

    def create_run(self, run: server.V2beta1Run) -> str:
        """Start a run and return its id."""
        created = self._call("to start the run", self._client.runs.run_service_create_run, run)
        return self._id(created.run_id)

    def run(self, run_id: str) -> Any:
        """Return a run as a ``V2beta1Run``. A login page in its place is a transient ApiError."""
        run = self._call("to show the run", self._client.runs.run_service_get_run, run_id)
        if run.run_id != run_id:
            raise ApiError(str(not_kfp(self._client.address)), transient=True)
        return run

    def _call(self, action: str, operation: Any, *arguments: Any, **options: Any) -> Any:
        try:
            with explained(self._client.address, action):
                return operation(*arguments, _request_timeout=TIMEOUT_S, **options)
        except ApiError as error:
            error.transient |= error.status == 401 and self._client.token_is_renewed
            raise

    def _id(self, value: str | None) -> str:
        if not value:
            raise not_kfp(self._client.address)
        return value


def _named(name: str) -> str:
    """Return the API's filter for a name, in the form that kfp's own client sends."""
    return json.dumps({"predicates": [{"operation": 1, "key": "display_name", "stringValue": name}]})
