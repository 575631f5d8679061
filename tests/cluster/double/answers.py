"""The answer of the API server to each request: discovery, objects, lists, watches and logs."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tests.cluster.double import lists, refusals
from tests.cluster.double.logs import Logs
from tests.cluster.double.objects import Objects
from tests.cluster.double.refusals import RefusedError
from tests.cluster.double.resources import PODS, RESOURCES, Object, Resource
from tests.cluster.double.validation import check_change, check_new, check_schema

_LIST = {"labelSelector", "fieldSelector", "limit", "continue"}
_WATCH = {"labelSelector", "fieldSelector", "watch", "resourceVersion", "timeoutSeconds", "allowWatchBookmarks"}
_LOG = {"container", "follow", "previous", "sinceTime", "timestamps", "tailLines"}
_VERBS = {"POST": "create", "PATCH": "patch", "DELETE": "delete"}


class Request:
    """A request of a client.

    Attributes:
        path, query: of its address.
    """

    def __init__(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> None:
        url = urlsplit(target)
        query = parse_qsl(url.query, keep_blank_values=True)
        self.method, self.path, self.query, self.body = method, url.path, dict(query), body
        self.token = headers.get("Authorization", "").removeprefix("Bearer ")
        self.content_type = headers.get("Content-Type")
        self.has_repeats = len(self.query) != len(query)

    def allow(self, names: set[str]) -> None:
        """Refuse query parameters that the real server would ignore, and those whose work is not done here."""
        for key, value in self.query.items():
            if key not in names or not value:
                raise refusals.bad_request(f"unknown or empty query parameter {key}={value}")

    def content(self, content_type: str = "application/json") -> Object:
        """Return the body, which has to be an object of this type."""
        if self.content_type != content_type:
            message = f"the body of the request was in an unknown format: {self.content_type}"
            raise RefusedError(415, "UnsupportedMediaType", message)
        try:
            content = json.loads(self.body)
        except ValueError:
            raise refusals.bad_request("the body is no JSON") from None
        if not isinstance(content, dict):
            raise refusals.bad_request("the body is no object")
        return content


class Answers:
    """Answers to requests about some objects and logs.

    Attributes:
        resources: the kinds that the server knows.
        is_starting: it knows no rights yet, as in the first moments after its start, and so refuses everything.
        bookmark_s: seconds between two bookmarks of a watch.
    """

    def __init__(self, objects: Objects, logs: Logs) -> None:
        self.resources, self.is_starting, self.bookmark_s = list(RESOURCES), False, 0.1
        self._objects, self._logs = objects, logs

    def answer(self, request: Request, is_open: Callable[[], bool]) -> tuple[int, Object] | Iterator[bytes]:
        """Return status and content, or the lines of a stream, which ends when the connection is not open any more."""
        if request.has_repeats:
            raise refusals.bad_request("a query parameter is given twice")
        if request.method == "GET" and (found := self._discovery(request.path)) is not None:
            if self.is_starting:
                raise refusals.forbidden_path(request.path)
            request.allow(set())
            return 200, found
        for resource in self.resources:
            if request.path == resource.path or request.path.startswith(f"{resource.path}/"):
                name, _, part = request.path.removeprefix(resource.path).lstrip("/").partition("/")
                if self.is_starting:
                    verb = _VERBS.get(request.method) or ("get" if name else "list")
                    raise refusals.forbidden(resource, verb, name)
                with self._objects.changed:
                    return self._answer(request, resource, name, part, is_open)
        raise _unknown_path()

    def _answer(
        self, request: Request, resource: Resource, name: str, part: str, is_open: Callable[[], bool]
    ) -> tuple[int, Object] | Iterator[bytes]:
        match request.method, bool(name), part:
            case "GET", False, "":
                if request.query.get("watch") == "true":
                    request.allow(_WATCH)
                    return lists.watch(self._objects, resource, request.query, self.bookmark_s, is_open)
                request.allow(_LIST)
                return 200, lists.page(self._objects, resource, request.query)
            case "POST", False, "":
                request.allow(set())
                return 201, self._create(resource, request.content())
            case "GET", True, "":
                request.allow(set())
                return 200, self._objects.get(resource, name)
            case "GET", True, "log" if resource is PODS:
                request.allow(_LOG)
                return self._logs.read(self._objects.get(resource, name), request.query, is_open)
            case "PATCH", True, "":
                request.allow(set())
                return 200, self._patch(resource, name, request.content("application/merge-patch+json"))
            case "DELETE", True, "":
                request.allow(set())
                options = request.content() if request.body else {}
                return 200, self._delete(resource, name, options)
        raise _unknown_path()

    def _create(self, resource: Resource, item: Object) -> Object:
        item = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": {}} | item
        check_new(resource, item)
        if resource.has_status:
            item.pop("status", None)
        check_schema(resource, item)
        return self._objects.create(resource, item)

    def _patch(self, resource: Resource, name: str, change: Object) -> Object:
        old = self._objects.get(resource, name)
        item = copy.deepcopy(old)
        if resource.has_status:
            change = {key: value for key, value in change.items() if key != "status"}
        merge(item, change)
        check_change(resource, item, old)
        check_schema(resource, item, old)
        return self._objects.replace(resource, item)

    def _delete(self, resource: Resource, name: str, options: Object) -> Object:
        metadata = self._objects.get(resource, name)["metadata"]
        unknown = set(options) - {"kind", "apiVersion", "propagationPolicy", "preconditions"}
        # The others are right as well; nothing here needs them.
        if unknown or options.get("propagationPolicy", "Background") != "Background":
            raise refusals.bad_request(f"DeleteOptions {options}")
        for key, wanted in options.get("preconditions", {}).items():
            if metadata[key] != wanted:
                what = {"uid": "UID", "resourceVersion": "ResourceVersion"}[key]
                why = f"the {what} in the precondition ({wanted}) does not match the {what} in record ({metadata[key]})"
                raise refusals.conflict(resource, name, f"{why}. The object might have been deleted and then recreated")
        if held := self._objects.delete(resource, name):
            return held
        named = {**refusals.details(resource, name), "uid": metadata["uid"]}
        return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": named}

    def _discovery(self, path: str) -> Object | None:
        groups = []
        for group, version in sorted({(each.group, each.version) for each in self.resources if each.group}):
            described = {"groupVersion": f"{group}/{version}", "version": version}
            groups.append({"name": group, "versions": [described], "preferredVersion": described})
            if path == f"/apis/{group}":
                return {"kind": "APIGroup", "apiVersion": "v1", **groups[-1]}
            if path == f"/apis/{group}/{version}":
                served = [each for each in self.resources if (each.group, each.version) == (group, version)]
                listed = {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": described["groupVersion"]}
                return {**listed, "resources": [_described(each) for each in served]}
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups} if path == "/apis" else None


def _described(resource: Resource) -> Object:
    return {
        "name": resource.plural,
        "singularName": resource.kind.lower(),
        "namespaced": True,
        "kind": resource.kind,
        "verbs": ["delete", "get", "list", "patch", "create", "watch"],
    }


def merge(item: Object, change: Mapping[str, Any]) -> None:
    """Merge a change into an object (RFC 7386)."""
    for key, value in change.items():
        if value is None:
            item.pop(key, None)
        elif isinstance(value, dict) and isinstance(item.get(key), dict):
            merge(item[key], value)
        else:
            item[key] = copy.deepcopy(value)


def _unknown_path() -> RefusedError:
    return RefusedError(404, "", "404 page not found")
