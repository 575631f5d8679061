"""Where the KFP API is and how to be let in: what the options say, else the environment, as kfp itself reads it."""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from nofrost.errors import UserError
from pipelines.submit.errors import ApiError

HOST_VARIABLES = ("KF_PIPELINES_ENDPOINT", "KFP_ENDPOINT")  # of kfp's Python client, of its command line
UI_VARIABLE = "KF_PIPELINES_UI_ENDPOINT"
TOKEN_FILE_VARIABLE = "KF_PIPELINES_SA_TOKEN_PATH"
TOKEN_VARIABLE = "KFP_EXISTING_TOKEN"


@dataclass(frozen=True)
class Endpoint:
    """Where the KFP API is and how to be let in.

    Attributes:
        host: its address, such as ``http://localhost:8080``; else ``KF_PIPELINES_ENDPOINT`` or ``KFP_ENDPOINT``, else
            the cluster that we run in, else that of the current kubeconfig.
        namespace: of the user, where one installation serves several.
        token_file: holds a bearer token and is read for every request, so that a renewed one is used; else the file
            that ``KF_PIPELINES_SA_TOKEN_PATH`` names, else the token in ``KFP_EXISTING_TOKEN``.
        ca_cert: PEM file of the authority that signed the host's certificate.
    """

    host: str | None = None
    namespace: str | None = None
    token_file: Path | None = None
    ca_cert: Path | None = None

    def address(self) -> str | None:
        """Return the address without a slash at its end, or None where the cluster is to be found by kfp.

        Raises:
            UserError: it is no address of an API.
        """
        text = self.host or _first_set(*HOST_VARIABLES)
        if text is None:
            return None
        if "@" in text:  # not shown: it may be a password
            raise UserError("the address of the KFP API must carry no user or password: give a token with --token-file")
        try:
            parts = urlsplit(text)
            known = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:  # of a port or of an IPv6 address
            known = False
        if not known:
            raise UserError(
                f"host {text!r} is no address: write it like http://localhost:8080 or https://kfp.example.org"
            )
        if parts.query or parts.fragment:
            page = text.split("#")[0].split("?")[0].rstrip("/")
            raise UserError(f"host {text!r} is the address of a page: give that of the API, such as {page}")
        return text.rstrip("/")

    def ui_address(self) -> str:
        """Return what links to Kubeflow's pages start with; only a path where no address is known."""
        return (_first_set(UI_VARIABLE) or self.address() or "/pipeline").rstrip("/")

    def credentials(self) -> dict[str, Any]:
        """Return the arguments of ``kfp.Client`` that let us in; none where kfp finds its own way.

        Raises:
            UserError: there is a token and it cannot be used.
        """
        if self.address() is None:
            if self.token_file is not None:
                raise UserError("a token is for one address: give --host beside --token-file")
            return {}
        named = _first_set(TOKEN_FILE_VARIABLE)
        path = self.token_file or (Path(named) if named else None)
        if path is not None:
            token_file = TokenFile(path)
            token_file.read()
            return {"credentials": token_file}
        token = _first_set(TOKEN_VARIABLE)
        return {"existing_token": _checked(token, TOKEN_VARIABLE)} if token else {}

    def authority(self) -> str | None:
        """Return the path of the authority's certificate.

        Raises:
            UserError: the file is missing or holds none.
        """
        if self.ca_cert is None:
            return None
        try:
            ssl.create_default_context(cafile=self.ca_cert)
        except OSError:  # also of what is in the file
            raise UserError(f"{self.ca_cert} is no certificate: give the PEM file of the authority") from None
        return str(self.ca_cert)


@dataclass(frozen=True)
class TokenFile:
    """A bearer token in a file, in the form of kfp's ``TokenCredentialsBase``: Kubernetes renews it in place."""

    path: Path

    def read(self) -> str:
        """Return the token; UserError when there is none."""
        try:
            return _checked(self.path.read_text(encoding="utf-8"), str(self.path))
        except (OSError, UnicodeDecodeError):
            raise UserError(f"token file {self.path} cannot be read: give a text file that holds a token") from None

    def refresh_api_key_hook(self, config: Any) -> None:
        """Put the token into the configuration; the client calls this before every request."""
        try:
            config.api_key["authorization"] = self.read()
        except UserError as error:
            raise ApiError(str(error), passing=True) from None  # it may be about to be renewed


def _checked(token: str, source: str) -> str:
    token = token.strip()
    if not token or not token.isascii() or not token.isprintable() or " " in token:  # else HTTP shows it in its error
        raise UserError(f"{source} holds no bearer token: one line of ASCII characters without spaces is needed")
    return token


def _first_set(*variables: str) -> str | None:
    return next((os.environ[name] for name in variables if os.environ.get(name)), None)
