"""Address and credentials of the KFP API: from the options, else from the environment variables that kfp reads."""

import os
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from nofrost.errors import UserError
from nofrost.limits import regular_file
from pipelines.submit.api_errors import TransientApiError

HOST_VARIABLES = ("KF_PIPELINES_ENDPOINT", "KFP_ENDPOINT")  # of kfp's Python client, of its command line
UI_VARIABLE = "KF_PIPELINES_UI_ENDPOINT"
TOKEN_FILE_VARIABLE = "KF_PIPELINES_SA_TOKEN_PATH"
TOKEN_VARIABLE = "KFP_EXISTING_TOKEN"


@dataclass(frozen=True)
class Endpoint:
    """Address and credentials of the KFP API.

    Attributes:
        host: address, such as ``http://localhost:8080``; else ``KF_PIPELINES_ENDPOINT`` or ``KFP_ENDPOINT``, else
            the cluster of this pod, else that of the current kubeconfig.
        namespace: of the user, where one installation serves several.
        token_file: file with a bearer token, read for every request, so that a renewed one is used; else the file that
            ``KF_PIPELINES_SA_TOKEN_PATH`` names, else the token in ``KFP_EXISTING_TOKEN``.
        ca_cert: PEM file of the authority that signed the host's certificate.
    """

    host: str | None = None
    namespace: str | None = None
    token_file: Path | None = None
    ca_cert: Path | None = None

    def address(self) -> str | None:
        """Return the address without a slash at its end, or None where kfp has to find the cluster.

        Raises:
            UserError: it is not the address of an API.
        """
        text = self.host or _first_set(*HOST_VARIABLES)
        if text is None:
            return None
        if "@" in text:
            # The address is not shown, as it may contain a password.
            raise UserError("the address of the KFP API must not have a user or password: use --token-file")
        try:
            parts = urlsplit(text)
            valid = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:  # of a port or of an IPv6 address
            valid = False
        if not valid:
            raise UserError(
                f"host {text!r} is not an address: give one like http://localhost:8080 or https://kfp.example.org"
            )
        if parts.query or parts.fragment:
            page = text.split("#")[0].split("?")[0].rstrip("/")
            raise UserError(f"host {text!r} is the address of a web page: give that of the API, such as {page}")
        return text.rstrip("/")

    def ui_address(self) -> str:
        """Return the address of Kubeflow's web pages; only a path where it is unknown."""
        return (_first_set(UI_VARIABLE) or self.address() or "/pipeline").rstrip("/")

    def run_url(self, run_id: str) -> str:
        """Return the address of a run's page."""
        return f"{self.ui_address()}/#/runs/details/{run_id}"

    def credentials(self) -> dict[str, Any]:
        """Return the credentials as arguments of ``kfp.Client``; none where kfp finds its own.

        Raises:
            UserError: there is a token and it cannot be used.
        """
        if self.address() is None:
            if self.token_file is not None:
                raise UserError("a token is valid for one address only: give --host with --token-file")
            return {}
        variable = _first_set(TOKEN_FILE_VARIABLE)
        path = self.token_file or (Path(variable) if variable else None)
        if path is not None:
            token_file = TokenFile(path)
            token_file.read()
            return {"credentials": token_file}
        token = _first_set(TOKEN_VARIABLE)
        return {"existing_token": _valid_token(token, TOKEN_VARIABLE)} if token else {}

    def authority(self) -> str | None:
        """Return the path of the authority's certificate.

        Raises:
            UserError: the file is missing or is not a certificate.
        """
        if self.ca_cert is None:
            return None
        try:
            ssl.create_default_context(cafile=self.ca_cert)
        except OSError:  # SSLError, for bad content, is one too
            raise UserError(f"{self.ca_cert} is not a certificate: give the PEM file of the authority") from None
        return str(self.ca_cert)


@dataclass(frozen=True)
class TokenFile:
    """A bearer token in a file that Kubernetes renews in place; has the interface of kfp's ``TokenCredentialsBase``."""

    path: Path

    def read(self) -> str:
        """Return the token; raise UserError if there is none."""
        try:
            return _valid_token(regular_file(self.path).read_text(encoding="utf-8"), str(self.path))
        except (OSError, UnicodeDecodeError):
            raise UserError(f"token file {self.path} cannot be read: give a text file with a token") from None

    def refresh_api_key_hook(self, config: Any) -> None:
        """Set the token in the configuration; the client calls this before every request."""
        try:
            config.api_key["authorization"] = self.read()
        except UserError as error:
            # The file may be in the middle of a renewal.
            raise TransientApiError(str(error), undone=True) from None


def _valid_token(token: str, origin: str) -> str:
    token = token.strip()
    # Python's HTTP client shows a header with other characters in its error message.
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise UserError(f"{origin} has no bearer token: one line of ASCII characters without spaces is needed")
    return token


def _first_set(*variables: str) -> str | None:
    return next((os.environ[name] for name in variables if os.environ.get(name)), None)
