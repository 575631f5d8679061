"""The KFP API through kfp's own client: the requests of a submission, each error of which is one sentence."""

import io
import json
from contextlib import redirect_stdout
from functools import cached_property
from pathlib import Path
from typing import Any

import kfp_server_api as server

from nofrost.errors import UserError
from pipelines.submit.api_errors import ApiError, TransientApiError, explained, not_kfp
from pipelines.submit.endpoint import Endpoint
from pipelines.submit.kfp_client import Health, KfpClient

_PAGE = 100


class Api:
    """The KFP API at one address, connected to on first use. Every method raises ApiError."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint

    @cached_property
    def _client(self) -> KfpClient:
        endpoint = self.endpoint
        return KfpClient(host=endpoint.address(), ssl_ca_cert=endpoint.authority(), **endpoint.credentials())

    @cached_property
    def health(self) -> Health:
        """Version and mode of the API, which was reached and accepted the credentials."""
        return self._client.health()

    def connect(self) -> None:
        """Check that there is a KFP API that accepts the credentials, unless that was checked before."""
        _ = self.health

    @property
    def address(self) -> str:
        """The address of the API, also where kfp found it."""
        return self._client.address

    @cached_property
    def namespace(self) -> str | None:
        """The user's namespace; None where the installation serves one user."""
        client = self._client
        if not self.health.multi_user:
            if self.endpoint.namespace:
                raise UserError(f"{client.address} serves one user and has no namespaces: omit --namespace")
            # Another installation may have left one in kfp's settings.
            client.set_user_namespace("")
            return None
        namespace = self.endpoint.namespace or client.get_user_namespace()
        if not namespace:
            raise UserError(f"{client.address} serves several users: give your namespace with --namespace")
        client.set_user_namespace(namespace)
        return str(namespace)

    def find_pipeline(self, name: str) -> str | None:
        """Return the id of the pipeline with this name, None if there is none."""
        # kfp's get_pipeline_id does not look into the user's namespace.
        answer = self._call(
            "to look for a pipeline", self._client.list_pipelines, filter=_named(name), namespace=self.namespace
        )
        return self._first_id(answer.pipelines, name, "pipeline_id")

    def create_pipeline(self, name: str) -> str:
        """Create a pipeline that has no version yet and return its id."""
        # kfp's upload_pipeline would create a version as well, and give it the name of the pipeline.
        pipeline = server.V2beta1Pipeline(display_name=name, namespace=self.namespace)
        pipeline = self._call("to create a pipeline", self._client.pipelines.pipeline_service_create_pipeline, pipeline)
        return self._id(pipeline.pipeline_id)

    def find_version(self, pipeline_id: str, name: str) -> str | None:
        """Return the id of this version of a pipeline, None if there is none."""
        operation = self._client.list_pipeline_versions
        answer = self._call("to look for a version", operation, pipeline_id, filter=_named(name))
        return self._first_id(answer.pipeline_versions, name, "pipeline_version_id")

    def upload_version(self, pipeline_id: str, name: str, package: Path, description: str) -> str:
        """Upload a compiled pipeline as a new version and return the version's id."""
        operation = self._client.upload_pipeline_version
        version = self._call(
            "to accept the pipeline", operation, str(package), name, pipeline_id=pipeline_id, description=description
        )
        return self._id(version.pipeline_version_id)

    def find_experiment(self, name: str) -> str | None:
        """Return the id of the experiment with this name, None if there is none."""
        operation = self._client.list_experiments
        answer = self._call("to look for an experiment", operation, filter=_named(name), namespace=self.namespace)
        return self._first_id(answer.experiments, name, "experiment_id")

    def experiment(self, name: str) -> str:
        """Return the id of the experiment with this name, which is created if there is none."""
        operation = self._client.create_experiment
        experiment = self._call("to create an experiment", operation, name, namespace=self.namespace)
        return self._id(experiment.experiment_id)

    def create_run(self, experiment_id: str, name: str, **options: Any) -> str:
        """Start a run and return its id; `options` are those of kfp's ``run_pipeline``."""
        run = self._call("to start the run", self._client.run_pipeline, experiment_id, name, **options)
        return self._id(run.run_id)

    def run(self, run_id: str) -> Any:
        """Return a run as a ``V2beta1Run``. A login page in its place is a TransientApiError."""
        run = self._call("to show the run", self._client.get_run, run_id)
        if run.run_id != run_id:
            raise TransientApiError(str(not_kfp(self._client.address)))
        return run

    def recurring_runs(self) -> list[Any]:
        """Return all recurring runs as ``V2beta1RecurringRun``, those of the namespace where there is one."""
        found: list[Any] = []
        token = ""
        while True:
            answer = self._call(
                "to list the recurring runs",
                self._client.list_recurring_runs,
                page_token=token,
                page_size=_PAGE,
                namespace=self.namespace,
            )
            found += answer.recurring_runs or ()
            token = answer.next_page_token or ""
            if not token:
                return found

    def create_recurring_run(self, experiment_id: str, name: str, **options: Any) -> str:
        """Create a recurring run and return its id; `options` are those of kfp's method of this name."""
        operation = self._client.create_recurring_run
        created = self._call("to create the recurring run", operation, experiment_id, name, **options)
        return self._id(created.recurring_run_id)

    def enable_recurring_run(self, recurring_run_id: str) -> None:
        """Let a recurring run start runs from now on."""
        self._call("to enable the recurring run", self._client.enable_recurring_run, recurring_run_id)

    def delete_recurring_run(self, recurring_run_id: str) -> None:
        """Delete a recurring run; its runs stay. One that is gone is no error."""
        try:
            self._call("to delete the recurring run", self._client.delete_recurring_run, recurring_run_id)
        except ApiError as error:
            if error.status != 404:
                raise

    def newest_runs(self) -> list[Any]:
        """Return the newest hundred runs as ``V2beta1Run``, the newest first."""
        answer = self._call(
            "to list the runs",
            self._client.list_runs,
            page_size=_PAGE,
            sort_by="created_at desc",
            namespace=self.namespace,
        )
        return list(answer.runs or ())

    def _call(self, action: str, operation: Any, *arguments: Any, **options: Any) -> Any:
        try:
            # kfp prints links, which are not those of the web pages where KF_PIPELINES_UI_ENDPOINT is not set.
            with explained(self._client.address, action), redirect_stdout(io.StringIO()):
                return operation(*arguments, **options)
        except ApiError as error:
            if error.status == 401 and self._client.token_is_renewed:
                raise TransientApiError(str(error), status=401, undone=True) from None
            raise

    def _first_id(self, things: list[Any] | None, name: str, key: str) -> str | None:
        """Return the id of the first that bears the name: the filter of an old server may be a wider one."""
        named = [thing for thing in things or () if thing.display_name == name]
        return self._id(getattr(named[0], key)) if named else None

    def _id(self, value: str | None) -> str:
        if not value:
            raise not_kfp(self._client.address)
        return value


def _named(name: str) -> str:
    """Return the API's filter for a name, in the form that kfp's own client sends."""
    return json.dumps({"predicates": [{"operation": 1, "key": "display_name", "stringValue": name}]})
