"""End facts at a Prometheus Pushgateway: what remains true after the process that found it has ended.

A gateway never forgets, so the grouping key (:data:`nofrost.telemetry.metrics.table.KEY_LABELS`) has neither run nor
pod: a later push of the same task takes the place of the earlier one. Source: Prometheus, "When to use the
Pushgateway".
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from functools import partial
from urllib.parse import SplitResult, unquote, urlsplit

from nofrost.errors import reason, remark
from nofrost.masking import without_secrets
from nofrost.telemetry.metrics.table import Fact

VARIABLE = "NOFROST_PUSHGATEWAY"
JOB = "nofrost"
TIMEOUT_S = 5.0


def push_facts(facts: Iterable[Fact], *, study: str, task: str) -> bool:
    """Push facts to the gateway that NOFROST_PUSHGATEWAY names, such as ``http://pushgateway:9091``; nothing without.

    The address may have a login (``https://user:password@host``), sent as basic authentication and never shown.

    All values of a metric that this task of this study pushed before are replaced. A gateway that refuses or does not
    answer within 5 s is a remark on standard error and no error: the work is done.

    Args:
        study: name of the study; may be empty.
        task: such as ``report``, ``gate`` or ``promote``.

    Returns:
        Whether the gateway has the facts.
    """
    address = os.environ.get(VARIABLE, "")
    if not address:
        return False
    try:
        _push_in_time(address, list(facts), {"study": study, "task": task})
    except Exception as error:
        why = without_secrets(reason(error))
        remark(f"what {task} measured cannot be pushed to {VARIABLE} ({why}): the work is done all the same")
        return False
    return True


def _push_in_time(address: str, facts: list[Fact], key: dict[str, str]) -> None:
    """Push facts within :data:`TIMEOUT_S`.

    The client's timeout is that of each wait for the server, and none of the wait for a name server.

    Raises:
        OSError, ValueError: as :func:`_push`; `TimeoutError` where the time is over.
    """
    errors: list[Exception | None] = []

    def push() -> None:
        try:
            _push(address, facts, key)
            errors.append(None)
        except Exception as error:
            errors.append(error)

    # A daemon: a server that hangs does not keep the process.
    thread = threading.Thread(target=push, name="pushgateway", daemon=True)
    thread.start()
    thread.join(TIMEOUT_S)
    error = errors[0] if errors else TimeoutError(f"no whole answer within {TIMEOUT_S:g} s")
    if error:
        raise error


def _push(address: str, facts: list[Fact], key: dict[str, str]) -> None:
    """Push facts.

    Raises:
        OSError: the gateway refuses or does not answer.
        ValueError: the address is none of HTTP, or the facts contradict each other.
    """
    # Imported here: it takes 0.1 s.
    from prometheus_client import CollectorRegistry, Gauge, pushadd_to_gateway
    from prometheus_client.exposition import basic_auth_handler, default_handler

    parts = _parts(address)
    registry = CollectorRegistry()
    gauges: dict[str, Gauge] = {}
    for fact in facts:
        metric = fact.metric
        if metric.name not in gauges:
            gauges[metric.name] = Gauge(metric.name, metric.help, metric.labels, registry=registry)
        gauge = gauges[metric.name]
        (gauge.labels(*fact.labels) if metric.labels else gauge).set(fact.value)
    handler = default_handler
    if parts.username is not None:
        # The client does not know addresses with a login.
        name, password = unquote(parts.username), unquote(parts.password or "")
        handler = partial(basic_auth_handler, username=name, password=password)
    without_login = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    pushadd_to_gateway(without_login, JOB, registry, key, timeout=TIMEOUT_S, handler=handler)


def _parts(address: str) -> SplitResult:
    """Return the parts of an address.

    Raises:
        ValueError: it is none of HTTP. The message shows nothing of it: what stands where a port should is a password.
    """
    try:
        parts = urlsplit(address)
        is_right = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_right = False
    if not is_right:
        raise ValueError("it is no address such as http://pushgateway:9091")
    return parts
