"""kfp's client with time limits and one attempt for each request: the only file that uses private places of it.

`tests/pipelines/submit/test_kfp_client.py` fails with a clear message if a release of kfp moves them.
"""

import io
import json
import warnings
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import Any

import kfp_server_api as server
from kfp.client import Client
from kfp_server_api.rest import RESTClientObject

from nofrost.errors import UserError
from pipelines.submit.api_errors import explained, not_kfp
from pipelines.submit.endpoint import HOST_VARIABLES

TIMEOUT_S = (5, 60)  # to connect, to answer


@dataclass(frozen=True)
class Health:
    """What an API says of itself.

    Attributes:
        version: such as "2.17.0"; "unknown", "master" or empty where the server was not built for a release.
        multi_user: whether one installation serves several users, each in a namespace.
    """

    version: str
    multi_user: bool


class KfpClient(Client):  # type: ignore[misc]  # kfp has no types
    """kfp's client, which finds host and credentials, but fails at once and writes no files.

    The original repeats a request that failed three times at once, asks five times in 25 s for the health and prints
    tracebacks of that, has no time limit, and writes to the home folder.

    Attributes:
        address: of the API.
        token_is_renewed: whether the token is read again for every request.
    """

    address = ""
    token_is_renewed = False

    def __init__(self, **options: Any) -> None:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "This client only works with Kubeflow Pipeline", FutureWarning)
            super().__init__(**options)
        # kfp's methods take no time limit, and all send their requests through this object.
        self._run_api.api_client.rest_client = _LimitedRest(self._existing_config)

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

    def health(self) -> Health:
        """Ask the API for its health; raise ApiError if it does not answer or is another server."""
        with explained(self.address, "to report its health"):
            answer = self.healthzs.healthz_service_get_healthz(_preload_content=False, _request_timeout=TIMEOUT_S)
        # kfp's own type leaves out the version. Kubeflow's pages, at whose address there is an API as well, call it
        # differently.
        try:
            health = json.loads(answer.data)
            version = health.get("tag_name") or health.get("apiServerTagName") or ""
            return Health(str(version), bool(health.get("multi_user")))
        except (ValueError, AttributeError):
            raise not_kfp(self.address) from None

    def get_kfp_healthz(self, sleep_duration: int = 0) -> Any:
        """Return the health in kfp's form; kfp asks for it when it connects."""
        return server.V2beta1GetHealthzResponse(multi_user=self.health().multi_user)

    def set_user_namespace(self, namespace: str) -> None:
        """Use this namespace from now on, without writing it to the home folder."""
        self._context_setting["namespace"] = namespace.strip()


class _LimitedRest(RESTClientObject):  # type: ignore[misc]
    """Requests with a time limit."""

    def request(self, *arguments: Any, _request_timeout: Any = None, **options: Any) -> Any:
        return super().request(*arguments, _request_timeout=_request_timeout or TIMEOUT_S, **options)
