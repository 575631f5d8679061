"""Facts arrive at a Pushgateway under a key without end, and a gateway that is gone hurts nobody."""

from __future__ import annotations

import base64
import contextlib
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from prometheus_client.parser import text_string_to_metric_families

from nofrost.telemetry.metrics import gateway as gateway_module
from nofrost.telemetry.metrics import push_facts
from nofrost.telemetry.metrics.table import GATE_CRITERION, GATE_DECISION, TRAIN_LOSS
from tests.telemetry.metrics.servers import get


def samples(gateway: str) -> dict[tuple[str, str], float]:
    """Values by name and criterion of what the gateway has of the study digits/one."""
    families = text_string_to_metric_families(get(f"{gateway}/metrics"))
    return {
        (sample.name, sample.labels.get("criterion", "")): sample.value
        for family in families
        for sample in family.samples
        if sample.labels.get("study") == "digits/one" and sample.labels["job"] == "nofrost"
    }


def test_facts_are_replaced_by_those_of_the_next_run(gateway: str) -> None:
    facts = [
        GATE_DECISION.fact(1.0),
        GATE_CRITERION.fact(1.0, criterion="clean"),
        GATE_CRITERION.fact(0, criterion="a b"),
    ]
    assert push_facts(facts, study="digits/one", task="gate")
    found = samples(gateway)
    assert found.pop(("push_time_seconds", "")) > 1e9
    assert found.pop(("push_failure_time_seconds", "")) == 0
    assert found == {
        ("nofrost_gate_passed", ""): 1,
        ("nofrost_gate_criterion_passed", "clean"): 1,
        ("nofrost_gate_criterion_passed", "a b"): 0,
    }
    assert push_facts([GATE_CRITERION.fact(0.0, criterion="clean")], study="digits/one", task="gate")
    assert push_facts([GATE_CRITERION.fact(1.0, criterion="clean")], study="other", task="gate")
    found = samples(gateway)
    # The criterion that is gone is gone there as well; what was not pushed again stays.
    assert found["nofrost_gate_passed", ""] == 1
    assert found["nofrost_gate_criterion_passed", "clean"] == 0
    assert ("nofrost_gate_criterion_passed", "a b") not in found


def test_without_a_gateway_nothing_is_pushed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("NOFROST_PUSHGATEWAY", raising=False)
    assert not push_facts([GATE_DECISION.fact(1.0)], study="digits", task="gate")
    assert capsys.readouterr().err == ""


def test_a_login_in_the_address_is_sent_and_no_part_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    logins = []

    class Gateway(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            logins.append((self.headers["Authorization"], self.headers["Host"]))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Gateway) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        host = f"127.0.0.1:{server.server_port}"
        for login in ("user:hunter%202@", ""):
            monkeypatch.setenv("NOFROST_PUSHGATEWAY", f"http://{login}{host}")
            assert push_facts([GATE_DECISION.fact(1.0)], study="digits", task="gate")
        server.shutdown()
        thread.join()
    assert logins == [(f"Basic {base64.b64encode(b'user:hunter 2').decode()}", host), (None, host)]


def test_a_gateway_that_answers_drop_by_drop_is_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The timeout of a socket begins again with each byte."""
    monkeypatch.setattr(gateway_module, "TIMEOUT_S", 0.4)
    stop = threading.Event()

    def drip() -> None:
        with server.accept()[0] as connection, contextlib.suppress(OSError):
            connection.sendall(b"HTTP/1.0 200 OK\r\nX: ")
            while not stop.wait(0.1):
                connection.sendall(b"x")

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=drip)
        thread.start()
        monkeypatch.setenv("NOFROST_PUSHGATEWAY", f"http://127.0.0.1:{server.getsockname()[1]}")
        began = time.monotonic()
        assert not push_facts([GATE_DECISION.fact(1.0)], study="digits", task="gate")
        assert time.monotonic() - began < 5
        stop.set()
        thread.join()
    assert "no whole answer within 0.4 s" in capsys.readouterr().err


@pytest.mark.parametrize(
    "address",
    [
        "closed",
        "ftp://gateway",
        "gateway:9091",
        "http://",
        "http://user:hunter2@[",
        "http://user:hunter2@127.0.0.1:x",
        "http://user:hunter2/3@127.0.0.1",
        "https://user:hunter2@127.0.0.1:1",
    ],
)
def test_a_gateway_that_cannot_be_reached_is_one_sentence(
    address: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as closed:
        # Bound but not listening: a connection is refused.
        closed.bind(("127.0.0.1", 0))
        if address == "closed":
            address = f"http://127.0.0.1:{closed.getsockname()[1]}"
        monkeypatch.setenv("NOFROST_PUSHGATEWAY", address)
        assert not push_facts([GATE_DECISION.fact(1.0)], study="digits", task="gate")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("nofrost: what gate measured cannot be pushed to NOFROST_PUSHGATEWAY (")
    assert "hunter2" not in lines[0]


def test_a_fact_has_the_labels_of_its_metric() -> None:
    for wrong in ({}, {"criterion": "x", "run": "y"}):
        with pytest.raises(TypeError, match="nofrost_gate_criterion_passed"):
            GATE_CRITERION.fact(1.0, **wrong)
    with pytest.raises(TypeError, match="endpoint"):
        TRAIN_LOSS.fact(1.0)
