"""Posts of the progress of a training to Kubeflow Trainer, which shows them in the status of the TrainJob.

Trainer 2.2 or later with the feature gate `TrainJobStatus` (alpha, off by default) puts three variables into every
container of a TrainJob: where to post, and the files with the authority's certificate and a token for this one job.
Where one is missing, nothing is posted. The body has the form of `status.trainerStatus` of the TrainJob; its limits are
those of the TrainJob's CRD (trainer.kubeflow.org/v1alpha1). Source: Kubeflow Trainer, KEP-2779.
"""

from __future__ import annotations

import json
import os
import ssl
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from http.client import HTTPSConnection
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from nofrost.errors import reason, remark

if TYPE_CHECKING:
    from nofrost.telemetry.work import Progress

VARIABLES = (
    "KUBEFLOW_TRAINER_SERVER_URL",
    "KUBEFLOW_TRAINER_SERVER_CA_CERT",
    "KUBEFLOW_TRAINER_SERVER_TOKEN",
)
INTERVAL_S = 5.0  # each post is a write to the cluster's database
PAUSE_AFTER_ERROR_S = 60.0
TIMEOUT_S = 3.0  # of the connection, and of each wait for the server
LONGEST_END_S = 5.0  # that the end of the training waits for the last post
_LARGEST = 2**31 - 1  # of a whole number in the CRD
_LONGEST = 64  # characters of a name or value


@contextmanager
def posted(work: Progress) -> Iterator[None]:
    """Post the progress of `work` while the block runs, at most once in :data:`INTERVAL_S` seconds, and at its end.

    A thread of its own reads the progress and posts it: the work neither waits for a post nor fails with it. The first
    error is a remark, later ones are silent. After a block that raised, nothing more is posted, and so nothing waits.
    """
    url, authority, token = (os.environ.get(name, "") for name in VARIABLES)
    if not (url and authority and token):
        yield
        return
    posts = _Posts(work, url, Path(authority), Path(token))
    # A daemon: a server that hangs does not keep the process.
    thread = threading.Thread(target=posts.run, name="trainjob-status", daemon=True)
    thread.start()
    try:
        yield
        posts.is_complete = True
    finally:
        posts.ended.set()
    thread.join(LONGEST_END_S)


class _Posts:
    """The loop of the thread, from the start of the work to its end."""

    def __init__(self, work: Progress, url: str, authority: Path, token: Path) -> None:
        self.work, self.url, self.authority, self.token = work, url, authority, token
        self.ended = threading.Event()
        self.is_complete = self.has_failed = False

    def run(self) -> None:
        latest: tuple[object, ...] = ()
        pause = INTERVAL_S
        while True:
            now = (self.work.done, self.work.figures)
            if now != latest:
                is_posted = self._post()
                latest, pause = (now, INTERVAL_S) if is_posted else (latest, PAUSE_AFTER_ERROR_S)
            if self.ended.wait(pause):
                break
        if self.is_complete:
            self._post()

    def _post(self) -> bool:
        """Post the progress; return whether the server took it."""
        try:
            status = trainer_status(self.work, is_complete=self.is_complete)
            _send(self.url, self.authority, self.token, {"trainerStatus": status})
        except Exception as error:
            if not self.has_failed:
                self.has_failed = True
                remark(f"the status of the TrainJob cannot be posted ({reason(error)}): the training continues without")
            return False
        return True


def trainer_status(work: Progress, *, is_complete: bool) -> dict[str, Any]:
    """Return `status.trainerStatus`: percentage, seconds left and figures of the work, and the time.

    100 % is for complete work alone: after the last step the model is still validated and saved.
    """
    share = min(99, 100 * work.done // max(1, work.total))
    remaining_s = 0.0 if is_complete else work.remaining_s()
    figures = sorted(work.figures.items())
    return {
        "progressPercentage": 100 if is_complete else max(0, share),
        **({} if remaining_s is None else {"estimatedRemainingSeconds": int(min(remaining_s, _LARGEST))}),
        "metrics": [{"name": name[:_LONGEST], "value": f"{value:.6g}"} for name, value in figures],
        "lastUpdatedTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def _send(url: str, authority: Path, token: Path, body: object) -> None:
    """Post a body as JSON; certificate and token are read each time, as both are replaced while a job runs.

    Raises:
        OSError: the server does not answer, refuses, or is not the one of the authority.
        ValueError: the address is not one of HTTPS, or the token is not one line of ASCII.
    """
    address = urlsplit(url)
    if address.scheme != "https" or not address.hostname:
        raise ValueError(f"{VARIABLES[0]} is not an address of HTTPS")
    secret = token.read_text(encoding="ascii").strip()
    # An HTTP client's own error about such a header would show it.
    if not secret.isprintable():
        raise ValueError(f"{VARIABLES[2]} is not a file of one line")
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {secret}"}
    context = ssl.create_default_context(cafile=authority)
    # No proxy and no redirect: the token is for this server alone.
    connection = HTTPSConnection(address.hostname, address.port, timeout=TIMEOUT_S, context=context)
    with closing(connection):
        connection.request("POST", address.path, json.dumps(body), headers)
        answer = connection.getresponse()
        if answer.status // 100 != 2:
            raise OSError(f"HTTP {answer.status}")
