"""What the manifests in k8s/ install beside a single submission: configuration, limits, reaper, monitoring."""

import re
from collections.abc import Callable, Iterator
from typing import Any

from nofrost.cluster.api.client import KubernetesApi
from nofrost.cluster.api.errors import KubernetesError
from nofrost.telemetry.metrics.gateway import VARIABLE as PUSHGATEWAY
from pipelines.cluster_settings import Cluster
from pipelines.doctor.cluster_access import NoAccessError, cluster_api, found_in, pods_account
from pipelines.doctor.finding import Finding
from pipelines.schedule.definition import LABEL

NAMESPACE, CONFIGURATION, QUOTA = "namespace", "configuration", "quota"
POLICY, REAPER, MONITORING = "network policy", "reaper", "monitoring"
GATEWAY, SCHEDULES = "Pushgateway", "schedules"
CHECKS = (NAMESPACE, CONFIGURATION, QUOTA, POLICY, REAPER, MONITORING, GATEWAY, SCHEDULES)
REMEDY = "kubectl apply -k the overlay (docs/cluster.md)"
DEPLOYMENT = "nofrost-pushgateway"
ENFORCED = "pod-security.kubernetes.io/enforce"


def check_installation(namespace: str | None, cluster: Cluster, store: str) -> Iterator[Finding]:
    """Look for what an overlay of k8s/ installs in the namespace of the pods.

    Args:
        namespace: as for :func:`pods_account`.
        store: URL of the store of submissions.
    """
    place, _ = pods_account(namespace, None)
    config_map = cluster.credentials.config_map
    checks: dict[str, Callable[[KubernetesApi], Finding]] = {
        NAMESPACE: lambda api: _namespace(api, place),
        CONFIGURATION: lambda api: _configuration(api, place, config_map, store),
        QUOTA: lambda api: _quota(api, place),
        POLICY: lambda api: _policy(api, place),
        REAPER: lambda api: _reaper(api, place),
        MONITORING: lambda api: _monitoring(api, place),
        GATEWAY: lambda api: _gateway(api, place, config_map),
        SCHEDULES: lambda api: _schedules(api, place),
    }
    try:
        with cluster_api() as api:
            for check, look in checks.items():
                yield _seen(check, look, api)
    except NoAccessError as error:
        yield from (Finding(check, "unknown", str(error)) for check in CHECKS)


def _seen(check: str, look: Callable[[KubernetesApi], Finding], api: KubernetesApi) -> Finding:
    try:
        return look(api)
    except KubernetesError as error:
        if not error.status:
            raise
        return Finding(check, "unknown", f"the cluster does not show it ({error.status})")


def _namespace(api: KubernetesApi, place: str) -> Finding:
    found = found_in(api, f"/api/v1/namespaces/{place}")
    if found is None:
        return Finding(NAMESPACE, "missing", f"there is no namespace {place}: {REMEDY}, or give another --namespace")
    level = found["metadata"].get("labels", {}).get(ENFORCED, "privileged")
    if level == "restricted":
        detail = f"{place} enforces {level}, which refuses containers of Kubeflow's own: label it {ENFORCED}=baseline"
        return Finding(NAMESPACE, "missing", detail)
    return Finding(NAMESPACE, "ok", f"{place} enforces the Pod Security Standard {level}")


def _configuration(api: KubernetesApi, place: str, name: str | None, store: str) -> Finding:
    if name is None:
        return Finding(CONFIGURATION, "ok", "no ConfigMap (credentials.config_map is null)")
    found = found_in(api, f"/api/v1/namespaces/{place}/configmaps/{name}")
    if found is None:
        return Finding(CONFIGURATION, "missing", f"there is no ConfigMap {name} in namespace {place}: {REMEDY}")
    data = found.get("data") or {}
    if (theirs := data.get("NOFROST_STORE", "")).rstrip("/") != store.rstrip("/"):
        detail = f"ConfigMap {name} has {theirs or 'no store'}, not {store}, and the reaper looks there: correct it"
        return Finding(CONFIGURATION, "missing", detail)
    return Finding(CONFIGURATION, "ok", f"ConfigMap {name}: {', '.join(sorted(data))}")


def _quota(api: KubernetesApi, place: str) -> Finding:
    quotas = api.items(f"/api/v1/namespaces/{place}/resourcequotas")
    full = [
        f"{resource} {used} of {quota['status'].get('hard', {}).get(resource)}"
        for quota in quotas
        for resource, used in (quota.get("status", {}).get("used") or {}).items()
        if used == quota["status"].get("hard", {}).get(resource) != "0"
    ]
    if full:
        return Finding(QUOTA, "missing", f"{place} has used up {', '.join(full)}: wait, or ask for more")
    return Finding(QUOTA, "ok", f"{place} has {len(quotas)} quotas, none used up")


def _policy(api: KubernetesApi, place: str) -> Finding:
    if found_in(api, f"/apis/networking.k8s.io/v1/namespaces/{place}/networkpolicies/nofrost") is None:
        return Finding(POLICY, "missing", f"there is no NetworkPolicy nofrost in namespace {place}: {REMEDY}")
    return Finding(POLICY, "ok", f"nofrost in namespace {place}")


def _reaper(api: KubernetesApi, place: str) -> Finding:
    found = found_in(api, f"/apis/batch/v1/namespaces/{place}/cronjobs/nofrost-reaper")
    if found is None:
        return Finding(REAPER, "missing", f"there is no CronJob nofrost-reaper in namespace {place}: {REMEDY}")
    if found["spec"].get("suspend"):
        return Finding(REAPER, "missing", f"CronJob nofrost-reaper in namespace {place} is suspended: resume it")
    status = found.get("status", {})
    last, succeeded = status.get("lastScheduleTime"), status.get("lastSuccessfulTime")
    # The first one may be at work.
    if last and not succeeded and not status.get("active"):
        detail = f"CronJob nofrost-reaper has never succeeded: look at kubectl logs --namespace {place} " \
                 "--selector app.kubernetes.io/component=reaper"  # fmt: skip
        return Finding(REAPER, "missing", detail)
    return Finding(REAPER, "ok", f"nofrost-reaper in namespace {place}, last succeeded {succeeded or 'never so far'}")


def _monitoring(api: KubernetesApi, place: str) -> Finding:
    group = "/apis/monitoring.coreos.com/v1"
    if found_in(api, group) is None:
        detail = "the cluster has no Prometheus of the operator, which is optional: nothing is scraped or alerted of"
        return Finding(MONITORING, "ok", detail)
    lacking = [
        plural
        for plural in ("podmonitors", "prometheusrules")
        if not any(_is_ours(item) for item in api.items(f"{group}/namespaces/{place}/{plural}"))
    ]
    if lacking:
        return Finding(MONITORING, "missing", f"namespace {place} has no {' and '.join(lacking)} of nofrost: {REMEDY}")
    return Finding(MONITORING, "ok", f"namespace {place} has what Prometheus is to scrape and to alert of")


def _gateway(api: KubernetesApi, place: str, config_map: str | None) -> Finding:
    configuration = found_in(api, f"/api/v1/namespaces/{place}/configmaps/{config_map}") if config_map else None
    address = ((configuration or {}).get("data") or {}).get(PUSHGATEWAY, "")
    if not address:
        return Finding(GATEWAY, "ok", f"none, which is optional: the ConfigMap has no {PUSHGATEWAY}")
    if not re.search(rf"//{DEPLOYMENT}[:./]|//{DEPLOYMENT}$", address):
        return Finding(GATEWAY, "ok", f"one of your own, as the ConfigMap names it in {PUSHGATEWAY}")
    found = found_in(api, f"/apis/apps/v1/namespaces/{place}/deployments/{DEPLOYMENT}")
    if found is None:
        return Finding(GATEWAY, "missing", f"there is no Deployment {DEPLOYMENT} in namespace {place}: {REMEDY}")
    if not found.get("status", {}).get("availableReplicas"):
        detail = f"{DEPLOYMENT} does not run: look at kubectl describe pods --namespace {place} " \
                 "--selector app.kubernetes.io/component=pushgateway"  # fmt: skip
        return Finding(GATEWAY, "missing", detail)
    return Finding(GATEWAY, "ok", f"{DEPLOYMENT} runs in namespace {place}")


def _schedules(api: KubernetesApi, place: str) -> Finding:
    found = api.items(f"/apis/batch/v1/namespaces/{place}/cronjobs", labelSelector=LABEL)
    stopped = [item["metadata"]["name"] for item in found if item["spec"].get("suspend")]
    if stopped:
        detail = f"{', '.join(stopped)} suspended: make the schedule again, or unschedule it"
        return Finding(SCHEDULES, "missing", detail)
    last = {item["metadata"]["labels"][LABEL]: item.get("status", {}).get("lastScheduleTime") for item in found}
    listed = ", ".join(f"{name} (last {time or 'never so far'})" for name, time in last.items())
    return Finding(SCHEDULES, "ok", f"CronJobs: {listed or 'none'}; `python -m pipelines status` has more")


def _is_ours(item: dict[str, Any]) -> bool:
    return str(item["metadata"]["name"]).startswith("nofrost")
