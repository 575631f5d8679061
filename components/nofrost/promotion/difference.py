"""How two entries of dvc.lock differ, in words that a person can review."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from nofrost.store import Ref

K = TypeVar("K")
Entry = Mapping[str, Any]  # of a stage in dvc.lock: cmd, deps, params, outs


@dataclass(frozen=True)
class Change:
    """One thing that a promotion changes in dvc.lock.

    Attributes:
        stage: name of the stage, such as train@sat-0.
        kind: "out", "dep", "param" or "cmd".
        name: path of the output or dependency, or dotted key of the parameter.
        before: the ref; of parameters and commands the value as JSON; None when there was none.
        after: the same of the run; None when there is none any more.
    """

    stage: str
    kind: str
    name: str
    before: str | None
    after: str | None


def changes(before: Mapping[str, Entry], after: Mapping[str, Entry]) -> Iterator[Change]:
    """Yield what differs in each stage of `after` from the same stage of `before`."""
    for stage, entry in after.items():
        for (kind, name), old, new in differing(_facts(before.get(stage, {})), _facts(entry)):
            yield Change(stage, kind, name, old, new)


def differing(before: Mapping[K, Any], after: Mapping[K, Any]) -> Iterator[tuple[K, str | None, str | None]]:
    """Yield key, value before and value after, as text, where two mappings differ; None where the key is missing."""
    for key in [*after, *(key for key in before if key not in after)]:
        if key not in before or key not in after or before[key] != after[key]:
            yield key, _text(before[key]) if key in before else None, _text(after[key]) if key in after else None


def leaves(value: Any, key: str = "") -> dict[str, Any]:
    """Return each value below nested mappings under its dotted key."""
    if not isinstance(value, Mapping) or not value:
        return {key: value}
    found: dict[str, Any] = {}
    for name, inside in value.items():
        found |= leaves(inside, f"{key}.{name}" if key else str(name))
    return found


def _facts(entry: Entry) -> dict[tuple[str, str], Any]:
    facts: dict[tuple[str, str], Any] = {}
    for kind in ("out", "dep"):
        facts |= {(kind, str(item.get("path"))): _content(item) for item in entry.get(f"{kind}s", ())}
    for file, values in entry.get("params", {}).items():
        prefix = "" if file == "params.yaml" else f"{file}:"
        facts |= {("param", prefix + key): value for key, value in leaves(values).items()}
    if "cmd" in entry:
        facts["cmd", ""] = entry["cmd"]
    return facts


def _content(item: Mapping[str, Any]) -> Any:
    if "md5" in item:
        return Ref(item["md5"], item.get("size"), item.get("nfiles"))
    return {key: value for key, value in item.items() if key != "path"}


def _text(value: Any) -> str:
    return str(value) if isinstance(value, Ref) else json.dumps(value, ensure_ascii=False, default=str)
