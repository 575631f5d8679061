"""A validator of objects against CustomResourceDefinitions, as strict as an API server that refuses unknown fields.

It checks the structural schema, unique keys of lists, defaults, the metadata that the API server itself knows, and the
rules in CEL (`x-kubernetes-validations`). The definitions are those of the releases, in ../shared/crds beside the
repository. A keyword of a schema that it does not know ends it, so that nothing is left unchecked in silence.

Source: the pages "Custom Resource Definitions", "Labels and Selectors" and "Object Names and IDs" of the documentation
of Kubernetes.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

FOLDER = Path(__file__).resolve().parents[4] / "shared" / "crds"
# Parts of definitions, as far as our manifests use them: no release of theirs is at hand.
PARTS = Path(__file__).resolve().parents[2] / "k8s" / "crds"
needs_crds = pytest.mark.skipif(not FOLDER.exists(), reason="needs the definitions in ../shared/crds")

_CHECKED = {
    "type", "properties", "additionalProperties", "required", "items", "enum", "pattern", "format", "minimum",
    "maximum", "minLength", "maxLength", "minItems", "maxItems", "minProperties", "x-kubernetes-int-or-string",
    "x-kubernetes-list-type", "x-kubernetes-list-map-keys", "x-kubernetes-validations", "default",
}  # fmt: skip
# `anyOf` stands beside x-kubernetes-int-or-string alone, and a map type says how objects are merged.
_WITHOUT_EFFECT = {"description", "anyOf", "x-kubernetes-map-type"}
_TYPES: dict[str, Any] = {"object": dict, "array": list, "string": str, "boolean": bool, "integer": int}
_BITS = {"int32": 31, "int64": 63}
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")
_SUBDOMAIN = re.compile(r"(?=.{1,253}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_LABEL = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_MOST_BYTES_OF_ANNOTATIONS = 256 * 1024
Json = dict[str, Any]


@cache
def crd(plural: str) -> Json:
    """Return the definition of a kind of object, such as ``trainjobs``."""
    own = PARTS / f"{plural}.yaml"
    with (own if own.exists() else FOLDER / f"{plural}.yaml").open(encoding="utf-8") as file:
        definition: Json = yaml.load(file, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    return definition


def errors(plural: str, value: Json, old: Json | None = None) -> list[str]:
    """Return what the API server would refuse in an object, each with its path; nothing for a valid one.

    Args:
        plural: the kind of the object.
        old: the object that it replaces; None when it is created.
    """
    (version,) = crd(plural)["spec"]["versions"]
    group, kind = crd(plural)["spec"]["group"], crd(plural)["spec"]["names"]["kind"]
    found = []
    for key, expected in (("apiVersion", f"{group}/{version['name']}"), ("kind", kind)):
        if value.get(key) != expected:
            found.append(f"{key}: {value.get(key)!r} is not {expected}")
    schema = version["schema"]["openAPIV3Schema"]
    value = _defaulted(schema, copy.deepcopy(value))
    old = None if old is None else _defaulted(schema, copy.deepcopy(old))
    return [*found, *_metadata(value.get("metadata")), *_errors(schema, value, old, "")]


def _defaulted(schema: Mapping[str, Any], value: Any) -> Any:
    """Set the defaults of a schema in a value, as the API server does before it validates."""
    if isinstance(value, dict):
        for key, inner in schema.get("properties", {}).items():
            if "default" in inner and key not in value:
                value[key] = copy.deepcopy(inner["default"])
            if key in value:
                _defaulted(inner, value[key])
        if isinstance(schema.get("additionalProperties"), dict):
            for item in value.values():
                _defaulted(schema["additionalProperties"], item)
    elif isinstance(value, list):
        for item in value:
            _defaulted(schema.get("items", {}), item)
    return value


def _errors(schema: Mapping[str, Any], value: Any, old: Any, path: str) -> Iterator[str]:
    unknown = set(schema) - _CHECKED - _WITHOUT_EFFECT
    assert not unknown, f"{path}: the validator does not know {sorted(unknown)}"
    kind = schema.get("type")
    if schema.get("x-kubernetes-int-or-string"):
        if isinstance(value, bool) or not isinstance(value, int | str):
            yield f"{path}: {value!r} is neither integer nor string"
            return
    elif not isinstance(value, _TYPES[str(kind)]) or (kind == "integer" and isinstance(value, bool)):
        yield f"{path}: {value!r} is no {kind}"
        return
    if "enum" in schema and value not in schema["enum"]:
        yield f"{path}: {value!r} is none of {schema['enum']}"
    if isinstance(value, str):
        yield from _text_errors(schema, value, path)
    elif isinstance(value, int) and not isinstance(value, bool):
        yield from _number_errors(schema, value, path)
    elif isinstance(value, list):
        yield from _list_errors(schema, value, old, path)
    elif isinstance(value, dict):
        yield from _object_errors(schema, value, old, path)
    yield from _rule_errors(schema, value, old, path)


def _text_errors(schema: Mapping[str, Any], value: str, path: str) -> Iterator[str]:
    if not schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value)):
        yield f"{path}: {len(value)} characters"
    if "pattern" in schema and not re.search(schema["pattern"], value):
        yield f"{path}: {value!r} does not match {schema['pattern']}"
    if schema.get("format") == "date-time" and not _TIME.fullmatch(value):
        yield f"{path}: {value!r} is no time"


def _number_errors(schema: Mapping[str, Any], value: int, path: str) -> Iterator[str]:
    if not schema.get("minimum", value) <= value <= schema.get("maximum", value):
        yield f"{path}: {value} is out of range"
    bits = _BITS.get(schema.get("format", "int64"))
    assert bits is not None, f"{path}: the validator does not know the format {schema['format']}"
    if not -(2**bits) <= value < 2**bits:
        yield f"{path}: {value} is no {schema.get('format', 'int64')}"


def _list_errors(schema: Mapping[str, Any], value: list[Any], old: Any, path: str) -> Iterator[str]:
    if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
        yield f"{path}: {len(value)} items"
    kind, keys = schema.get("x-kubernetes-list-type", "atomic"), schema.get("x-kubernetes-list-map-keys", ())
    assert kind in ("atomic", "set", "map"), f"{path}: the validator does not know lists of type {kind}"
    identities = [
        tuple(item.get(key) for key in keys) if kind == "map" and isinstance(item, dict) else item for item in value
    ]
    before = []
    if kind == "map" and isinstance(old, list):
        before = [(tuple(item.get(key) for key in keys), item) for item in old]
    for index, (item, identity) in enumerate(zip(value, identities, strict=True)):
        if kind != "atomic" and identity in identities[:index]:
            yield f"{path}[{index}]: {identity!r} is there twice"
        # Kubernetes compares items with old ones only where the list is a map.
        item_before = next((each for same, each in before if same == identity), None)
        yield from _errors(schema["items"], item, item_before, f"{path}[{index}]")


def _object_errors(schema: Mapping[str, Any], value: Json, old: Any, path: str) -> Iterator[str]:
    if len(value) < schema.get("minProperties", 0):
        yield f"{path}: {len(value)} properties"
    for key in schema.get("required", ()):
        if key not in value:
            yield f"{path}.{key}: is required"
    properties, additional = schema.get("properties", {}), schema.get("additionalProperties")
    for key, item in value.items():
        inner, before = f"{path}.{key}", old.get(key) if isinstance(old, dict) else None
        # The metadata of the object itself has no schema: every API server knows it.
        if inner == ".metadata":
            continue
        if key in properties:
            yield from _errors(properties[key], item, before, inner)
        elif isinstance(additional, dict):
            yield from _errors(additional, item, before, inner)
        else:
            yield f"{inner}: unknown field"
    if path.endswith(".metadata"):
        yield from _key_errors(value, path)


def _rule_errors(schema: Mapping[str, Any], value: Any, old: Any, path: str) -> Iterator[str]:
    import cel

    for rule in schema.get("x-kubernetes-validations", ()):
        variables = {"self": value}
        if re.search(r"\boldSelf\b", rule["rule"]):
            if old is None:
                continue
            variables["oldSelf"] = old
        try:
            holds = cel.compile(rule["rule"]).execute(variables)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            holds = f"{type(error).__name__}: {error}"
        if holds is not True:
            yield f"{path}: {rule.get('message', rule['rule'])} ({holds})"


def _metadata(value: Any) -> Iterator[str]:
    """Yield what is wrong in the metadata of the object itself."""
    if not isinstance(value, dict):
        yield f"metadata: {value!r} is no object"
        return
    known = {"name", "namespace", "labels", "annotations", "ownerReferences"}
    yield from (f"metadata.{key}: unknown field" for key in sorted(set(value) - known))
    for key, pattern in (("name", _SUBDOMAIN), ("namespace", _NAMESPACE)):
        text = value.get(key, "runtimes-have-none" if key == "namespace" else None)
        if not isinstance(text, str) or not pattern.fullmatch(text):
            yield f"metadata.{key}: {text!r}"
    yield from _key_errors(value, "metadata")
    owners = value.get("ownerReferences", [])
    if not isinstance(owners, list) or not all(isinstance(owner, dict) for owner in owners):
        yield f"metadata.ownerReferences: {owners!r} is no list of objects"
        return
    for index, owner in enumerate(owners):
        if set(owner) - {"controller", "blockOwnerDeletion"} != {"apiVersion", "kind", "name", "uid"}:
            yield f"metadata.ownerReferences[{index}]: its keys are {sorted(owner)}"
        yield from (
            f"metadata.ownerReferences[{index}].{key}: {item!r}"
            for key, item in owner.items()
            if not isinstance(item, bool if key in ("controller", "blockOwnerDeletion") else str) or item == ""
        )


def _key_errors(metadata: Json, path: str) -> Iterator[str]:
    """Yield what is wrong in labels and annotations, also of the pods that a controller will make."""
    labels, annotations = metadata.get("labels", {}), metadata.get("annotations", {})
    if not isinstance(labels, dict) or not isinstance(annotations, dict):
        yield f"{path}: labels and annotations are maps"
        return
    for what, items in (("labels", labels), ("annotations", annotations)):
        for key, item in items.items():
            prefix, slash, name = key.rpartition("/")
            if not _LABEL.fullmatch(name) or (slash and not _SUBDOMAIN.fullmatch(prefix)):
                yield f"{path}.{what}: {key!r} is no key"
            if not isinstance(item, str) or (what == "labels" and item and not _LABEL.fullmatch(item)):
                yield f"{path}.{what}.{key}: {item!r} is no value"
    if sum(len(key) + len(str(item)) for key, item in annotations.items()) > _MOST_BYTES_OF_ANNOTATIONS:
        yield f"{path}.annotations: too long"
