"""What the API server checks in objects that it is sent.

Sources: Kubernetes's documentation of object names, of owners, of field validation, and of updates of metadata.
"""

from __future__ import annotations

import re
from typing import Any

from tests.cluster.double import refusals
from tests.cluster.double.resources import NAMESPACE, Object, Resource
from tests.cluster.job.crd import FOLDER, errors

_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")
_UNKNOWN = ": unknown field"
# What a request may set in the metadata, besides finalizers.
_METADATA = ("name", "namespace", "labels", "annotations", "ownerReferences")
# What an update leaves as it is, whatever it says.
_KEPT = ("creationTimestamp", "generation", "deletionTimestamp", "deletionGracePeriodSeconds")


def check_new(resource: Resource, item: Object) -> None:
    """Check an object that is to be created, with kind and version.

    Raises:
        RefusedError: it is not valid.
    """
    metadata = item["metadata"]
    name = metadata.get("name", "")
    if (item["apiVersion"], item["kind"]) != (resource.api_version, resource.kind):
        raise refusals.bad_request(f"{item['apiVersion']}, {item['kind']} is no {resource.kind} of this path")
    if metadata.get("namespace", NAMESPACE) != NAMESPACE:
        raise refusals.bad_request(
            "the namespace of the provided object does not match the namespace sent on the request"
        )
    if metadata.get("resourceVersion"):
        raise refusals.bad_request("resourceVersion should not be set on objects to be created")
    if not name:
        raise refusals.invalid(resource, "", "metadata.name: Required value: name or generateName is required")
    if not _NAME.fullmatch(name) or len(name) > 253:
        raise refusals.invalid(
            resource, name, f'metadata.name: Invalid value: "{name}": must be a lowercase RFC 1123 subdomain'
        )
    _check_owners(resource, item)


def check_change(resource: Resource, item: Object, old: Object) -> None:
    """Check what an object is to become, and keep what the server alone sets.

    Raises:
        RefusedError: it is not valid.
    """
    has, before = item["metadata"], old["metadata"]
    name = before["name"]
    if has.get("name") != name:
        raise refusals.bad_request(
            f"the name of the object ({has.get('name')}) does not match the name on the URL ({name})"
        )
    if has.get("namespace") != NAMESPACE:
        raise refusals.bad_request(
            f"the namespace of the object ({has.get('namespace')}) does not match the namespace on the request "
            f"({NAMESPACE})"
        )
    if has.setdefault("uid", before["uid"]) != before["uid"]:
        raise refusals.invalid(resource, name, f'metadata.uid: Invalid value: "{has["uid"]}": field is immutable')
    if has.setdefault("resourceVersion", before["resourceVersion"]) != before["resourceVersion"]:
        why = "the object has been modified; please apply your changes to the latest version and try again"
        raise refusals.conflict(resource, name, why)
    for key in _KEPT:
        has.pop(key, None)
        has |= {key: before[key]} if key in before else {}
    _check_owners(resource, item)


def check_schema(resource: Resource, item: Object, old: Object | None = None) -> None:
    """Check an object against the definition of its kind, where that is at hand.

    An unknown field is refused as if the request had fieldValidation=Strict; without it, the real server would drop
    the field and warn.

    Raises:
        RefusedError: it is not valid.
    """
    if not resource.has_crd or not FOLDER.exists():
        return
    found = errors(resource.plural, _given(item), None if old is None else _given(old))
    if unknown := [error.removesuffix(_UNKNOWN).lstrip(".") for error in found if error.endswith(_UNKNOWN)]:
        fields = ", ".join(f'unknown field "{field}"' for field in unknown)
        what = f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}'
        raise refusals.bad_request(f"{what}: strict decoding error: {fields}")
    if found:
        raise refusals.invalid(resource, item["metadata"]["name"], "; ".join(error.lstrip(".") for error in found))


def _given(item: Object) -> Object:
    """Return what a request may set: neither the server's part of the metadata nor the status."""
    metadata = {key: value for key, value in item["metadata"].items() if key in _METADATA}
    return {**{key: item[key] for key in item if key != "status"}, "metadata": metadata}


def _check_owners(resource: Resource, item: Any) -> None:
    for index, owner in enumerate(item["metadata"].get("ownerReferences") or ()):
        if missing := [key for key in ("apiVersion", "kind", "name", "uid") if not owner.get(key)]:
            field = f"metadata.ownerReferences[{index}].{missing[0]}"
            raise refusals.invalid(resource, item["metadata"]["name"], f'{field}: Invalid value: "": must not be empty')
