"""A process that is killed by -9 between any two requests of a move, before and after the server has done each."""

from __future__ import annotations

import itertools
import signal
import subprocess
import sys

import pytest

from nofrost.store import Pointer, claims, open_store

pytestmark = pytest.mark.slow

NAME = "nofrost/things/one/latest.json"
MOVE = (
    "from nofrost.store import Pointer, open_store\n"
    "Pointer(open_store({url!r}), {name!r}).move({{'is': 'after'}}, 'key', {record!r})"
)


# The real server checks signatures, and refuses requests whose signed headers are gone.
@pytest.mark.parametrize(
    ("server", "removed"),
    [("moto", ()), ("s3", ()), ("moto", ("if-match", "if-none-match"))],
    ids=["moto", "s3", "claims"],
)
@pytest.mark.parametrize("when", ["hang", "hang after"])
def test_a_killed_move_leaves_the_old_position_or_the_new_one(
    server: str, removed: tuple[str, ...], when: str, request: pytest.FixtureRequest
) -> None:
    url = request.getfixturevalue(server)
    direct = Pointer(open_store(url), NAME)
    before = direct.move({"is": "before"}, "key", None)
    line = request.getfixturevalue("line")
    line.removed = removed
    states = []
    for number in range(60):
        requests = itertools.count()
        line.fault = lambda *_, requests=requests, number=number: when if next(requests) >= number else ""
        line.held.clear()
        line.silence.clear()
        script = MOVE.format(url=url, name=NAME, record=before.record)
        with subprocess.Popen([sys.executable, "-c", script]) as process:
            while not line.held.wait(0.05) and process.poll() is None:
                pass
            process.send_signal(signal.SIGKILL)
        line.silence.set()
        position = direct.read()
        assert position is not None
        history = direct.history()
        assert history.positions[0] == position
        assert history.positions[-1] == before
        assert direct.store.get(f"nofrost/things/one/{position.record}") == direct.store.get(NAME)
        assert len(history.positions) == (1 if position == before else 2)
        states.append(position.value["is"])
        if states[-1] == "after":
            break
        direct.store.delete(direct.store.names(claims.CLAIMS))
    # Each request in turn: connection, reading, probes, record, pointer.
    assert len(states) > 8
    assert states == ["before"] * (len(states) - 1) + ["after"]
