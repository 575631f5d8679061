"""A job is adopted, or waited for, also where others delete it and make it anew meanwhile."""

from __future__ import annotations

import threading
import time

from nofrost.cluster.launcher.creation import await_deletion, create_or_adopt
from tests.cluster.launcher.launched_job import NAME, LaunchedJob, api_of


def test_a_new_job_of_the_name_ends_the_wait_for_the_old_one(launched: LaunchedJob) -> None:
    launched.server.add(launched.resource, NAME, spec={})
    launched.add_pods(launched.status("Running"), launched.status("Running"))
    began = time.monotonic()
    await_deletion(api_of(launched.server), launched.kind, NAME, "uid-of-the-old-one", 10.0, 0.05)
    assert time.monotonic() - began < 5


def test_a_job_that_is_made_anew_before_it_is_adopted(launched: LaunchedJob) -> None:
    body = launched.body(run="run-1", owner="launcher-1")
    own = {key: body[key] for key in ("metadata", "spec")}
    launched.server.add(launched.resource, NAME, **own)

    def replace(method: str, path: str) -> None:
        if method == "PATCH":
            launched.server.faults.remove(replace)
            launched.server.remove(launched.resource, NAME)
            launched.server.add(launched.resource, NAME, **own)

    launched.server.faults.append(replace)
    found = create_or_adopt(
        api_of(launched.server),
        launched.kind,
        launched.body(run="run-2", owner="launcher-2"),
        save_log=lambda: None,
        deletion_s=10.0,
        interval_s=0.05,
        asked=threading.Event(),
    )
    assert found["metadata"]["labels"]["nofrost/run"] == "run-2"
    assert launched.server.find(launched.resource, NAME)["metadata"]["uid"] == found["metadata"]["uid"]
