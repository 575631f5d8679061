"""What an account may do, and what was asked of the API server: both as group, resource and verb."""

from __future__ import annotations

import re
from collections.abc import Iterable

from tests.k8s.rendering import Json

Right = tuple[str, str, str]
_PATH = re.compile(
    r"/(?:api/v1|apis/(?P<group>[^/]+)/[^/]+)/namespaces/[^/]+"
    r"(?:/(?P<resource>[^/]+)(?:/(?P<name>[^/]+)(?P<part>/.+)?)?)?"
)
_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
# What everyone who is logged in may read, and ask about their own rights.
_DISCOVERY = re.compile(r"/apis?(/[^/]+){0,2}")
_OWN = re.compile(r"/apis/auth[a-z]+\.k8s\.io/v1/self[a-z]+reviews")


def allowed(role: Json) -> set[Right]:
    """Return what a Role allows; a resource with names is RESOURCE:NAME."""
    return {
        (group, f"{resource}:{name}" if name else resource, verb)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for name in rule.get("resourceNames", [""])
        for verb in rule["verbs"]
    }


def asked(requests: Iterable[tuple[str, str, dict[str, str]]]) -> set[Right]:
    """Return what requests need, of which each is method, path and query.

    Raises:
        AssertionError: the rights for one of them are not those of a namespace.
    """
    found = set()
    for method, path, query in requests:
        if (method == "GET" and _DISCOVERY.fullmatch(path)) or (method == "POST" and _OWN.fullmatch(path)):
            continue
        match = _PATH.fullmatch(path)
        assert match, f"{method} {path}: not in a namespace"
        # The right to read a namespace is one of its own.
        is_one = match["name"] or not match["resource"]
        reading = "watch" if query.get("watch") == "true" else "get" if is_one else "list"
        resource = (match["resource"] or "namespaces") + (match["part"] or "")
        found.add((match["group"] or "", resource, reading if method == "GET" else _VERBS[method]))
    return found
