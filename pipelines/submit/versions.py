"""Versions of Kubeflow Pipelines: which are supported, and what a compiled pipeline needs.

Since when a server knows a field is in kubeflow/pipelines: #12782 (securityContext), #13184 and #13187 (limits of time
of a run). Older servers refuse a package or a run with a field that they do not know.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from nofrost.errors import UserError, remark

Version = tuple[int, int]

OLDEST: Version = (2, 15)
NEWEST: Version = (2, 17)


@dataclass(frozen=True)
class Feature:
    """A field of a compiled pipeline that not every supported server knows.

    Attributes:
        setting: the key of cluster.yaml that it comes from.
        since: the first version of the server that knows it.
    """

    setting: str
    since: Version


FEATURES = {
    "securityContext": Feature("run_as", (2, 16)),
    "activeDeadlineSeconds": Feature("deadline_s", (2, 17)),
    "resourceTtlOnCompletion": Feature("kept_s", (2, 17)),
}


def needs(platform: Mapping[str, Any]) -> set[str]:
    """Return the keys of FEATURES that the settings of a compiled pipeline for Kubernetes use.

    Args:
        platform: the second document of the package; empty if there is none.
    """
    kubernetes = platform.get("platforms", {}).get("kubernetes", {})
    executors = kubernetes.get("deploymentSpec", {}).get("executors", {}).values()
    fields = {*kubernetes.get("pipelineConfig", {}), *(field for executor in executors for field in executor)}
    return fields & set(FEATURES)


def parse(text: str) -> Version | None:
    """Return the version of a release from the server's tag ("2.17.0", "v2.15.2-rc.1"); None for any other tag."""
    match = re.match(r"v?(\d+)\.(\d+)\b", text)
    return (int(match[1]), int(match[2])) if match else None


def problem(text: str, fields: Iterable[str]) -> str | None:
    """Return why a server of the version `text` cannot run a pipeline with these fields; None if it can, or may."""
    version = parse(text)
    if version is None:
        return None
    if version < OLDEST:
        return f"KFP {text} is not supported: use {supported()}"
    newer = [FEATURES[field] for field in sorted(fields) if version < FEATURES[field].since]
    if not newer:
        return None
    wanted = "; ".join(f"{feature.setting} needs {shown(feature.since)}" for feature in newer)
    remedy = ", ".join(f"{feature.setting}: null" for feature in newer)
    return f"KFP {text} is too old for this pipeline ({wanted}): set {remedy} in the file of --cluster, or upgrade KFP"


def doubt(text: str) -> str | None:
    """Return why it is not known whether a server of the version `text` can run a pipeline; None if it is known."""
    version = parse(text)
    if version is None:
        return f"the version of KFP is not known (it reports {text!r}): the pipeline is made for {supported()}"
    if version > NEWEST:
        return f"KFP {text} is newer than those that the pipeline is made for, {supported()}"
    return None


def check_version(text: str, fields: Iterable[str], address: str) -> None:
    """Check that a server can run a pipeline, before anything is uploaded; say a remark where that is not known.

    Args:
        text: the server's tag.
        fields: what the pipeline uses, as `needs` returns it.

    Raises:
        UserError: it is too old; the message names the settings that need a newer one.
    """
    if why := problem(text, fields):
        raise UserError(f"{address}: {why}")
    if why := doubt(text):
        remark(f"{address}: {why}")


def explanation(field: str) -> str:
    """Return what it means that a server does not know a field, and what to do."""
    feature = FEATURES.get(field)
    if feature is None:
        return f"this KFP is older than the pipeline needs: use {supported()}"
    return f"this KFP is older than {shown(feature.since)}: set {feature.setting}: null in the file of --cluster"


def release(text: str) -> str:
    """Return major and minor version of a server, such as "2.15"; of one that is not known, the newest supported."""
    return shown(parse(text) or NEWEST)


def supported() -> str:
    return f"{shown(OLDEST)} to {shown(NEWEST)}"


def shown(version: Version) -> str:
    return ".".join(map(str, version))
