"""Refusals of the API server: each is a Status with the code, reason, message and details of the real one."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from tests.cluster.double.resources import NAMESPACE, Object, Resource

USER = f"system:serviceaccount:{NAMESPACE}:launcher"


class RefusedError(Exception):
    """An answer that is a Status of Kubernetes.

    Args:
        reason: "" where the server gives none.
        headers: of the answer, beside the usual ones.
    """

    def __init__(
        self, code: int, reason: str, message: str, headers: dict[str, str] | None = None, details: Object | None = None
    ) -> None:
        super().__init__(message)
        self.code, self.reason, self.message, self.headers = code, reason, message, headers or {}
        self.details = details

    def status(self) -> Object:
        return {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            **({"reason": self.reason} if self.reason else {}),
            **({} if self.details is None else {"details": self.details}),
            "code": self.code,
        }

    def body(self) -> bytes:
        # A path that the server does not know is answered with text.
        is_text = self.code == 404 and not self.reason
        return self.message.encode() if is_text else json.dumps(self.status()).encode()


class CutError(Exception):
    """Closes the connection without an answer, or in the middle of one."""


class AnswerError(Exception):
    """An answer that is none of the API server, though its code is 200: that of a proxy, for example."""

    def __init__(self, content: Any) -> None:
        super().__init__(content)
        self.content = content


def refusing(fault: Exception, method: str, end: str, times: float = 1) -> Callable[[str, str], None]:
    """Return a fault of the first requests with a method, to paths with this end."""
    left = [times]

    def refuse(asked: str, path: str) -> None:
        if asked == method and path.endswith(end) and left[0] > 0:
            left[0] -= 1
            raise fault

    return refuse


def details(resource: Resource, name: str) -> Object:
    """Details of a refusal: `kind` is the plural name there."""
    return {"name": name, **({"group": resource.group} if resource.group else {}), "kind": resource.plural}


def bad_request(message: str) -> RefusedError:
    return RefusedError(400, "BadRequest", message)


def not_found(resource: Resource, name: str) -> RefusedError:
    message = f'{resource.full_name} "{name}" not found'
    return RefusedError(404, "NotFound", message, details=details(resource, name))


def already_exists(resource: Resource, name: str) -> RefusedError:
    message = f'{resource.full_name} "{name}" already exists'
    return RefusedError(409, "AlreadyExists", message, details=details(resource, name))


def conflict(resource: Resource, name: str, why: str) -> RefusedError:
    message = f'Operation cannot be fulfilled on {resource.full_name} "{name}": {why}'
    return RefusedError(409, "Conflict", message, details=details(resource, name))


def invalid(resource: Resource, name: str, why: str) -> RefusedError:
    """A refusal of an object; `why` names the field, as in "metadata.uid: Invalid value: ..."."""
    named = {**details(resource, name), "kind": resource.kind}
    return RefusedError(422, "Invalid", f'{resource.full_kind} "{name}" is invalid: {why}', details=named)


def forbidden(resource: Resource, verb: str, name: str = "") -> RefusedError:
    what = f'{resource.full_name} "{name}"' if name else resource.full_name
    who = f'User "{USER}" cannot {verb} resource "{resource.plural}" in API group "{resource.group}"'
    message = f'{what} is forbidden: {who} in the namespace "{NAMESPACE}"'
    named = {key: value for key, value in details(resource, name).items() if value}
    return RefusedError(403, "Forbidden", message, details=named)


def forbidden_path(path: str) -> RefusedError:
    return RefusedError(403, "Forbidden", f'forbidden: User "{USER}" cannot get path "{path}"', details={})
