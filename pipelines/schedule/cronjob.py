"""Schedules that are CronJobs of Kubernetes, which have a time zone each: their jobs ask Kubeflow to start a run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from nofrost.cluster.api.client import KubernetesApi
from nofrost.cluster.api.connection import connection
from nofrost.cluster.api.errors import KubernetesError
from nofrost.cluster.job.pod import CONTAINER_SECURITY, WITHOUT_ISTIO, pod_security, verbatim
from nofrost.cluster.job.pod_settings import CONFIG_KEYS, SECRET_KEYS
from nofrost.errors import UserError
from nofrost.tasks.scheduled_run import HOST, JOB, TOKEN_FILE
from pipelines.cluster_settings import Cluster
from pipelines.schedule.definition import LABEL, PREFIX, FoundSchedule, Schedule
from pipelines.schedule.differences import differences, merge_patch, removed

KIND = "CronJob"
# Seconds for which a request is repeated that meets a transient error: somebody waits for the command.
RETRY_S = 20.0
_MADE = "nofrost/made"
# What network policies and Prometheus select.
_LABELS = {"app.kubernetes.io/name": "nofrost", "app.kubernetes.io/component": "schedule"}
# Of a run that could not be started in time, such as while the cluster was down; only the last one is made up for.
_LATEST_S = 6 * 3600
# Kubeflow in an installation for several users asks for a token that was made for it.
_AUDIENCE = "pipelines.kubeflow.org"
_TOKEN_S = 3600


class CronJobs:
    """The CronJobs of a namespace that belong to schedules.

    Args:
        namespace, service_account: of the pods.
        image: of the stages, by digest.
        cluster: where pods may run, and as which user.
        host: address of Kubeflow's API for pods.
    """

    kind = KIND

    def __init__(self, namespace: str, service_account: str = "", image: str = "", cluster: Cluster | None = None,
                 host: str = "") -> None:  # fmt: skip
        self._api = KubernetesApi(connection(), retry_for_s=RETRY_S)
        self._path = f"/apis/batch/v1/namespaces/{namespace}/cronjobs"
        self._account, self._image, self._host = service_account, image, host
        self._cluster = cluster or Cluster()

    def find(self, name: str | None = None) -> list[FoundSchedule]:
        """Return those of a schedule, or of all schedules."""
        selector = f"{LABEL}={name}" if name else LABEL
        return [_found(each) for each in self._ask("list", lambda: self._api.items(self._path, labelSelector=selector))]

    def difference(self, schedule: Schedule, found: list[FoundSchedule]) -> list[str]:
        """Return a line for each difference between what there is and the schedule."""
        if not found:
            return [f"{KIND} {schedule.full_name}: to be created"]
        wanted, current = self._spec(schedule), found[0]
        gone = removed(current.applied or {}, wanted)
        lines = [*differences(current.spec, wanted), *gone]
        # Without it, `status` would say for ever that it was edited.
        return lines or ["the note of how it was made: to be written again"] * (current.applied != wanted)

    def apply(self, schedule: Schedule, found: list[FoundSchedule]) -> None:
        """Bring about the schedule, where `found` is what there is of it."""
        spec = self._spec(schedule)
        made = {"cron": schedule.cron.text, "zone": schedule.zone.key, "spec": spec}
        labels, annotations = {LABEL: schedule.name}, {_MADE: json.dumps(made, sort_keys=True)}
        metadata: dict[str, Any] = {"name": schedule.full_name, "labels": labels, "annotations": annotations}
        if not found:
            content = {"apiVersion": "batch/v1", "kind": KIND, "metadata": metadata, "spec": spec}
            self._ask("create", lambda: self._api.create(self._path, content))
            return
        patch = merge_patch(found[0].applied or {}, spec)
        # The version lets the server refuse it if somebody else has changed the object meanwhile.
        metadata["resourceVersion"] = found[0].content["metadata"]["resourceVersion"]
        path = f"{self._path}/{schedule.full_name}"
        self._ask("change", lambda: self._api.patch(path, {"metadata": metadata, "spec": patch}))

    def delete(self, found: FoundSchedule) -> None:
        """Delete one and its jobs; the runs that they started stay."""
        name = found.content["metadata"]["name"]
        self._ask("delete", lambda: self._api.delete(f"{self._path}/{name}", found.id))

    def _ask(self, verb: str, ask: Any) -> Any:
        try:
            return ask()
        except KubernetesError as error:
            if error.status == 409 and verb == "create":
                raise UserError(
                    f"the namespace has a CronJob of this name without the label {LABEL}, which somebody took away: "
                    f"delete it with `kubectl delete cronjob {PREFIX}NAME`, and run the same again"
                ) from None
            if error.status == 409:
                raise UserError("somebody else changes the schedule at this moment: run the same again") from None
            if error.status == 403:
                why = f"ask for the right to {verb} cronjobs of batch in this namespace"
                raise UserError(f"{error}: {why}, or give --form recurring-run where UTC will do") from None
            raise

    def _spec(self, schedule: Schedule) -> dict[str, Any]:
        return {
            "schedule": schedule.cron.text,
            "timeZone": schedule.zone.key,
            "concurrencyPolicy": "Forbid",
            "startingDeadlineSeconds": _LATEST_S,
            "suspend": False,
            "successfulJobsHistoryLimit": 3,
            "failedJobsHistoryLimit": 3,
            "jobTemplate": {
                "metadata": {"labels": {LABEL: schedule.name}},
                "spec": {
                    "backoffLimit": 3,
                    "activeDeadlineSeconds": 1800,
                    "template": {
                        "metadata": {
                            "labels": {LABEL: schedule.name, **_LABELS, **WITHOUT_ISTIO},
                            "annotations": dict(WITHOUT_ISTIO),
                        },
                        "spec": self._pod(schedule),
                    },
                },
            },
        }

    def _pod(self, schedule: Schedule) -> dict[str, Any]:
        settings = self._cluster.job_settings()
        folder, file = TOKEN_FILE.rsplit("/", 1)
        token = {"audience": _AUDIENCE, "expirationSeconds": _TOKEN_S, "path": file}
        job = {"fieldRef": {"fieldPath": "metadata.labels['job-name']"}}
        amounts = {"cpu": "500m", "memory": "512Mi"}
        placement = settings.placement
        optional: dict[str, Any] = {
            "nodeSelector": dict(placement.node_selector),
            "tolerations": [each.model_dump(exclude_none=True) for each in placement.tolerations],
            "imagePullSecrets": [{"name": name} for name in settings.pull_secrets],
        }
        return {
            "restartPolicy": "Never",
            "serviceAccountName": self._account,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "securityContext": pod_security(settings),
            **{key: value for key, value in optional.items() if value},
            "containers": [
                {
                    "name": "start-run",
                    "image": self._image,
                    "imagePullPolicy": settings.image_pull_policy,
                    "args": [verbatim(word) for word in _command(schedule)],
                    "env": [
                        {"name": HOST, "value": self._host},
                        {"name": JOB, "valueFrom": job},
                        *self._environment(),
                    ],
                    "resources": {"requests": amounts, "limits": dict(amounts)},
                    "securityContext": CONTAINER_SECURITY,
                    "volumeMounts": [
                        {"name": "token", "mountPath": folder, "readOnly": True},
                        {"name": "tmp", "mountPath": "/tmp"},
                    ],
                }
            ],
            "volumes": [
                {"name": "token", "projected": {"sources": [{"serviceAccountToken": token}]}},
                {"name": "tmp", "emptyDir": {}},
            ],
        }

    def _environment(self) -> list[dict[str, Any]]:
        """Return the variables that the Secret and the ConfigMap of all pods hold, for the store and for metrics."""
        credentials = self._cluster.credentials
        sources = (
            ("secretKeyRef", credentials.secret, SECRET_KEYS),
            ("configMapKeyRef", credentials.config_map, CONFIG_KEYS),
        )
        return [
            {"name": key, "valueFrom": {kind: {"name": source, "key": key, "optional": True}}}
            for kind, source, keys in sources
            if source is not None
            for key in keys
        ]


def _command(schedule: Schedule) -> list[str]:
    about = {"study": schedule.study, "schedule": schedule.name}
    about |= {"cron": schedule.cron.text, "time-zone": schedule.zone.key, "request": _request(schedule)}
    options = [word for key, value in about.items() for word in (f"--{key}", value)]
    return ["nofrost", "task", "start-run", *options]


def _request(schedule: Schedule) -> str:
    """Return the run as Kubeflow's API takes it, without its name, in which the time stands."""
    run = schedule.run
    runtime: dict[str, Any] = {"parameters": dict(run.parameters)}
    body: dict[str, Any] = {
        "description": f"schedule {schedule.name}",
        "experiment_id": run.experiment_id,
        "pipeline_version_reference": {"pipeline_id": run.pipeline_id, "pipeline_version_id": run.version_id},
        "runtime_config": runtime | ({"pipeline_root": run.pipeline_root} if run.pipeline_root else {}),
        **({"service_account": run.service_account} if run.service_account else {}),
    }
    return json.dumps(body, sort_keys=True)


def _found(content: Mapping[str, Any]) -> FoundSchedule:
    """Return a CronJob as a schedule."""
    metadata, spec = content["metadata"], content["spec"]
    try:
        made = json.loads(metadata.get("annotations", {}).get(_MADE, ""))
    except ValueError:
        made = {}
    if not (isinstance(made, dict) and isinstance(made.get("spec"), dict)):
        made = {}
    return FoundSchedule(
        name=metadata["labels"][LABEL],
        id=metadata["uid"],
        spec=spec,
        applied=made.get("spec"),
        cron=str(made.get("cron", "")),
        zone=str(made.get("zone", "")),
        enabled=not spec.get("suspend", False),
        content=content,
    )
