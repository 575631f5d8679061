"""Errors of the KFP API, each as one sentence with its remedy."""

import json
import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import kfp_server_api
import urllib3.exceptions as http

from nofrost.errors import UnavailableError, UserError
from pipelines.submit.versions import explanation

LONGEST_REASON = 400
# Of Go's protojson; it writes a space or a no-break space before the name, to keep others from relying on its text.
_UNKNOWN_FIELD = re.compile(r"unknown field[\s\xa0]*\\?\"(\w+)")
# Since kubeflow/pipelines#14181, after 2.17, a service account other than the default one has to be on a list.
_ACCOUNT = re.compile(r"ALLOWEDSERVICEACCOUNTS|service ?accounts?\b", re.IGNORECASE)


class ApiError(UserError):
    """The KFP API could not be reached, or refused a request.

    Attributes:
        status: HTTP status of its answer; 0 if there was none from a KFP API.
        exists: whether it refused to create what exists already.
        undone: whether the API itself said that it did not do what was asked.
    """

    def __init__(self, message: str, *, status: int = 0, exists: bool = False, undone: bool = False) -> None:
        super().__init__(message)
        self.status = status
        self.exists = exists
        self.undone = undone


class TransientApiError(ApiError, UnavailableError):
    """The KFP API could not be reached, or failed a request that may succeed a little later."""


@contextmanager
def explained(address: str, action: str) -> Iterator[None]:
    """Turn what kfp's client raises in the block into an ApiError; `action` is the request ("to start the run")."""
    try:
        yield
    except kfp_server_api.ApiException as error:
        raise _refused(address, action, error) from None
    except http.HTTPError as error:
        raise _unreachable(address, error) from None
    except UnicodeDecodeError:
        raise not_kfp(address) from None
    except UserError:
        raise
    # of kfp's client itself, such as for two experiments of one name
    except ValueError as error:
        raise ApiError(f"the KFP API at {address} cannot be asked {action}: {error}") from None


def not_kfp(address: str) -> ApiError:
    """Return the error for an address where something other than a KFP API answers."""
    return ApiError(
        f"{address} answers, but is not a KFP API: give the address of the API, or of Kubeflow, with --host"
    )


def _unreachable(address: str, error: http.HTTPError) -> ApiError:
    reason = error.reason if isinstance(error, http.MaxRetryError) else error
    if isinstance(reason, http.SSLError):
        cause = reason.args[0] if reason.args else None
        if isinstance(cause, ssl.SSLCertVerificationError):
            why = f"is not trusted ({cause.verify_message}): give that of its authority with --ca-cert"
            return ApiError(f"the certificate of {address} {why}, or the name that it was issued for with --host")
        return ApiError(f"{address} fails the TLS handshake: check the port and --ca-cert, or use http://")
    if isinstance(reason, http.ResponseError):  # redirects are not followed
        return ApiError(f"{address} redirects, as for a log-in: give a token with --token-file, or another --host")
    if isinstance(reason, http.NameResolutionError):
        why = "unknown host name"
    elif isinstance(reason, http.ConnectTimeoutError | http.NewConnectionError):
        why = "no connection"
    elif isinstance(reason, http.ReadTimeoutError):
        why = "no answer in time"
    else:
        why = "connection lost"
    message = f"the KFP API at {address} cannot be reached ({why}): check --host and the network or port-forward to it"
    return TransientApiError(message)


def _refused(address: str, action: str, error: Any) -> ApiError:
    status = error.status or 0
    reason = _reason(error)
    if field := _UNKNOWN_FIELD.search(reason or ""):
        message = f"the KFP API at {address} refused {action} ({status}): it does not know the field {field[1]}"
        return ApiError(f"{message}, as {explanation(field[1])}", status=status)
    if status in (400, 403) and _ACCOUNT.search(reason or ""):
        message = f"the KFP API at {address} refused {action} ({status}): its service account is not allowed"
        return ApiError(
            f"{message}: let the administrator add it to ALLOWEDSERVICEACCOUNTS of the API server, and give you the "
            f"verb use on it where several users share the installation (it says: {reason})",
            status=status,
        )
    if status in (401, 403):
        message = f"the KFP API at {address} denies access ({status}) when asked {action}"
        return ApiError(f"{message}: give a valid token with --token-file, or ask for permission", status=status)
    if status == 429 or status >= 500:
        # Older servers answer with 500 to what newer ones answer with 409.
        exists = "already exist" in (reason or "")
        message = f"the KFP API at {address} failed {action} ({status}): {reason or error.reason}"
        # In front of the API, a proxy answers with 503 also when the API broke off in the middle of a request.
        undone = status in (429, 503) and reason is not None
        return TransientApiError(message, status=status, exists=exists, undone=undone)
    if reason is None:
        return not_kfp(address)
    message = f"the KFP API at {address} refused {action} ({status}): {reason}"
    return ApiError(message, status=status, exists=status == 409)


def _reason(error: Any) -> str | None:
    """Return the API's own message without a stack trace that may follow; None if the answer is not from the API."""
    try:
        body = json.loads(error.body)
    except (TypeError, ValueError):
        return None
    if not isinstance(body, dict):
        return None
    text = str(body.get("error_message") or body.get("message") or body.get("error") or "").strip()
    return text.split("\n")[0][:LONGEST_REASON] or "no reason given"
