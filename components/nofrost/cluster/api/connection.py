"""Where the API server of Kubernetes is, and how this process proves who it is: as a pod, or with a kubeconfig."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nofrost.errors import UserError, reason

# What a kubelet mounts into every pod that has a service account. The token is replaced long before it expires.
ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
# A connection on which nothing comes is probed after 15 s, and three more times each 10 s.
KEEPALIVE = [
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    *(
        (socket.IPPROTO_TCP, getattr(socket, name), value)
        for name, value in (("TCP_KEEPIDLE", 15), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3))
        if hasattr(socket, name)
    ),
]
_NEITHER = (
    "Kubernetes cannot be reached: this is no pod with a service account, and there is no kubeconfig: run it as a task "
    "of the pipeline, or set KUBECONFIG"
)


@dataclass(frozen=True)
class Connection:
    """How to reach an API server.

    Attributes:
        url: such as ``https://10.0.0.1:443``, without "/" at its end.
        namespace: of this pod, or of the kubeconfig's context.
        authorization: returns the value of the header of that name at this moment; None for none.
        tls: arguments of urllib3's pool, such as ``ca_certs``; empty for http.
    """

    url: str
    namespace: str
    authorization: Callable[[], str | None]
    tls: dict[str, Any]


def connection() -> Connection:
    """Return the connection of this pod; outside of a cluster that of the kubeconfig.

    Raises:
        UserError: there is neither, or a file of it cannot be read.
    """
    if found := pod_connection():
        return found
    files = os.environ.get("KUBECONFIG") or "~/.kube/config"
    if any(Path(file).expanduser().is_file() for file in files.split(os.pathsep)):
        return _of_kubeconfig(files)
    raise UserError(_NEITHER)


def pod_connection() -> Connection | None:
    """Return the connection of the pod in which this runs; None outside of a cluster, or without a service account.

    Raises:
        UserError: a file of the service account cannot be read.
    """
    host = os.environ.get("KUBERNETES_SERVICE_HOST")
    if not host or not (ACCOUNT / "token").exists():
        return None
    return _of_pod(host, os.environ.get("KUBERNETES_SERVICE_PORT", "443"), ACCOUNT)


def pod_namespace() -> str | None:
    """Return the namespace of the pod in which this runs; None outside of a cluster."""
    try:
        return (ACCOUNT / "namespace").read_text(encoding="utf-8").strip() or None
    except OSError:
        return None


def _of_pod(host: str, port: str, account: Path) -> Connection:
    def authorization() -> str:
        # Read again for each request: tokens live for an hour.
        return f"Bearer {_text(account / 'token')}"

    # IPv6 addresses take brackets.
    url = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
    return Connection(url, _text(account / "namespace"), authorization, {"ca_certs": str(account / "ca.crt")})


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise UserError(f"the service account of this pod cannot be read ({reason(error)})") from None


def _of_kubeconfig(files: str) -> Connection:
    try:
        from kubernetes import client, config
    except ImportError as error:
        raise UserError(f"a kubeconfig needs more ({error}): run pip install 'nofrost[pipeline]'") from None
    configuration = client.Configuration()
    try:
        config.load_kube_config(files, client_configuration=configuration)
        _, context = config.list_kube_config_contexts(files)
    except Exception as error:
        # The package has many errors of its own, and a kubeconfig those of the files and programs that it names.
        raise UserError(f"the kubeconfig cannot be used ({reason(error)}): try `kubectl version` with it") from None
    tls: dict[str, Any] = {}
    if configuration.host.startswith("https"):
        tls = {"ca_certs": configuration.ssl_ca_cert} if configuration.verify_ssl else {"cert_reqs": "CERT_NONE"}
        if configuration.cert_file:
            tls |= {"cert_file": configuration.cert_file, "key_file": configuration.key_file}

    def authorization() -> str | None:
        value = configuration.get_api_key_with_prefix("authorization")
        return None if value is None else str(value)

    namespace = context.get("context", {}).get("namespace") or "default"
    return Connection(configuration.host.rstrip("/"), namespace, authorization, tls)
