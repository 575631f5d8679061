"""Whether an API server would take an object: by the schemas of Kubernetes or the definition of its kind.

A kind of which neither is known is a fault, as are fields that the schema does not have.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import kubernetes_validate

from tests.cluster.job.crd import FOLDER, PARTS, crd, errors

Json = dict[str, Any]
# The oldest release of Kubernetes that the manifests are for.
VERSION = "1.31"


def faults(item: Json) -> list[str]:
    """Return what is wrong in an object, each with its path."""
    what = f"{item['kind']} {item['metadata']['name']}"
    plural = _plurals().get((item["apiVersion"], item["kind"]))
    if plural is not None:
        return [f"{what}: {error}" for error in errors(plural, item)]
    try:
        kubernetes_validate.validate(item, VERSION, strict=True)
    except kubernetes_validate.ValidationError as error:
        return [f"{what}: {'.'.join(map(str, error.path))}: {error.message}"]
    except kubernetes_validate.SchemaNotFoundError:
        return [f"{what}: no schema of {item['apiVersion']} is known"]
    return []


@cache
def _plurals() -> dict[tuple[str, str], str]:
    """The kinds with a definition, by API version and kind."""
    found = {}
    for folder in (FOLDER, PARTS):
        for path in sorted(folder.glob("*.yaml")):
            spec = crd(path.stem)["spec"]
            (version,) = spec["versions"]
            found[f"{spec['group']}/{version['name']}", spec["names"]["kind"]] = path.stem
    return found
