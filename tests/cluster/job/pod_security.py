"""What the Pod Security Standard `restricted` demands of a pod.

Source: the page "Pod Security Standards" of the documentation of Kubernetes.
"""

from __future__ import annotations

from typing import Any

_VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}


def problems(pod: dict[str, Any]) -> list[str]:
    """Return what the standard refuses in the specification of a pod."""
    found = [name for name in ("hostNetwork", "hostPID", "hostIPC") if pod.get(name)]
    found += [f"volume {volume['name']}" for volume in pod.get("volumes", ()) if not set(volume) - {"name"} <= _VOLUMES]
    outer = pod.get("securityContext", {})
    for container in (*pod.get("initContainers", ()), *pod["containers"]):
        inner = container.get("securityContext", {})
        both = {**outer, **inner}
        rules = {
            "privileged": not inner.get("privileged", False),
            "allowPrivilegeEscalation": inner.get("allowPrivilegeEscalation") is False,
            "capabilities": "ALL" in inner.get("capabilities", {}).get("drop", ()),
            "added capabilities": set(inner.get("capabilities", {}).get("add", ())) <= {"NET_BIND_SERVICE"},
            "runAsNonRoot": both.get("runAsNonRoot") is True,
            "runAsUser": both.get("runAsUser") != 0,
            "seccompProfile": both.get("seccompProfile", {}).get("type") in ("RuntimeDefault", "Localhost"),
            "hostPort": not any("hostPort" in port for port in container.get("ports", ())),
        }
        found += [f"{container['name']}: {rule}" for rule, is_kept in rules.items() if not is_kept]
        # Not demanded by the standard, but promised.
        if inner.get("readOnlyRootFilesystem") is not True:
            found.append(f"{container['name']}: readOnlyRootFilesystem")
    return found
