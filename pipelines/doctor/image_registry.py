"""Whether an image is in its registry under the digest that it is given by."""

import http.client
import json
import re
import urllib.error
import urllib.parse
import urllib.request

from pipelines.doctor.finding import Finding

TIMEOUT_S = 20
MANIFESTS = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
_IMAGE = re.compile(r"(?P<name>[\w./:-]+?)(:[\w.-]+)?@(?P<digest>sha256:[0-9a-f]{64})")
# Docker Hub's registry, and the hosts that names of its images may have.
_HUB, _HUB_NAMES = "registry-1.docker.io", ("docker.io", "index.docker.io")
_CHALLENGE = re.compile(r'(\w+)="([^"]*)"')


def check_image(check: str, option: str, image: str | None) -> Finding:
    """Ask the registry, without a login, for the manifest of an image (OCI distribution specification).

    Args:
        check: name of the finding.
        option: of the command, for the message.
        image: ``NAME@sha256:...``; None where none was given.
    """
    if image is None:
        return Finding(check, "unknown", f"give {option} to look for it")
    match = _IMAGE.fullmatch(image)
    if match is None:
        return Finding(check, "missing", f"{image} has no digest: give IMAGE@sha256:..., as `docker push` prints it")
    host, path = _place(match["name"])
    scheme = "http" if re.fullmatch(r"(localhost|127\.[\d.]+)(:\d+)?", host) else "https"
    try:
        status = _status(f"{scheme}://{host}/v2/{path}/manifests/{match['digest']}")
    except (OSError, ValueError, http.client.HTTPException):
        return Finding(check, "unknown", f"the registry {host} cannot be reached from here")
    if status == 200:
        return Finding(check, "ok", f"{match['digest'][:19]} is at {host}/{path}")
    if status == 404:
        return Finding(check, "missing", f"{host} has no {path} with {match['digest'][:19]}: push it, or correct it")
    return Finding(check, "unknown", f"{host} does not say without a login whether it has it ({status})")


def _place(name: str) -> tuple[str, str]:
    """Return host and path of an image's name, as docker reads it."""
    first, _, rest = name.partition("/")
    if rest and ("." in first or ":" in first or first == "localhost"):
        if first not in _HUB_NAMES:
            return first, rest
        name = rest
    return _HUB, name if "/" in name else f"library/{name}"


def _status(url: str) -> int:
    """Return the HTTP status for a manifest; a registry that wants a token gets the one that it gives to everybody."""
    status, challenge = _head(url)
    if status != 401 or not challenge.lower().startswith("bearer "):
        return status
    fields = dict(_CHALLENGE.findall(challenge))
    realm = fields.pop("realm", "")
    if urllib.parse.urlsplit(realm).scheme not in ("http", "https"):
        return status
    query = urllib.parse.urlencode({key: fields[key] for key in ("service", "scope") if key in fields})
    try:
        with urllib.request.urlopen(f"{realm}?{query}", timeout=TIMEOUT_S) as answer:
            body = json.loads(answer.read(1 << 20))
    except urllib.error.HTTPError:
        return status
    token = body.get("token") or body.get("access_token") or ""
    return _head(url, f"Bearer {token}")[0]


def _head(url: str, authorization: str | None = None) -> tuple[int, str]:
    """Return the status, and how the registry wants to be asked."""
    headers = {"Accept": ", ".join(MANIFESTS), **({"Authorization": authorization} if authorization else {})}
    try:
        with urllib.request.urlopen(
            urllib.request.Request(url, headers=headers, method="HEAD"), timeout=TIMEOUT_S
        ) as answer:
            return answer.status, ""
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers.get("WWW-Authenticate", "")
