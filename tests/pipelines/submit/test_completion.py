"""A run that failed is started again, as often as was asked for and where that can help."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nofrost.errors import RunFailedError, UnavailableError, UserError
from nofrost.store import Store, open_store
from nofrost.tasks.run_record import RunRecord, write_record

pytest.importorskip("kfp")

from pipelines.submit import Api, ApiError, TransientApiError, complete

FAILED, SUCCEEDED, CANCELED = ({"state": state} for state in ("FAILED", "SUCCEEDED", "CANCELED"))
TIME = "2026-11-29T10:00:00+00:00"
Complete = Callable[..., Any]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = open_store(str(tmp_path / "store"))
    store.put("nofrost/locks/other.yaml", b"")
    return store


@pytest.fixture
def complete_run(api: Api, start: Any, store: Store, monkeypatch: pytest.MonkeyPatch) -> Complete:
    """Complete a run without pauses: complete_run(resubmit=N)."""
    monkeypatch.setattr("pipelines.submit.waiting.time.sleep", lambda seconds: None)
    return lambda **options: complete(lambda: start(api), api, store, **options)


def wrote(store: Store, run: str, task: str, exit_code: int, message: str, *, input_is_wrong: bool = False) -> None:
    error = {"task": task, "exit_code": exit_code, "message": message, "time": TIME}
    content = json.dumps({**error, "input_is_wrong": input_is_wrong})
    store.put(f"nofrost/runs/{run}/errors/{task}.json", content.encode())


def test_a_run_that_succeeds_is_started_once(kfp: Any, complete_run: Complete) -> None:
    assert complete_run(resubmit=3).run_id == "run-1"
    assert len(kfp.runs) == 1


def test_a_failed_run_is_started_again_with_the_same_pipeline(
    kfp: Any, complete_run: Complete, capsys: pytest.CaptureFixture[str]
) -> None:
    kfp.story = [{"state": "RUNNING"}, FAILED, {"state": "RUNNING"}, FAILED, SUCCEEDED]
    assert complete_run(resubmit=2).run_id == "run-3"
    assert len(kfp.runs) == 3
    assert kfp.runs[0] == kfp.runs[1] == kfp.runs[2]
    assert len(kfp.uploads) == 1
    shown = capsys.readouterr().err
    assert [f"run run-{number}: {kfp.url}" in shown for number in (1, 2, 3)] == [True] * 3
    assert "run run-1 failed" in shown
    assert "it is started again (2 of 2)" in shown


@pytest.mark.parametrize("resubmit", [0, 1, 2])
def test_it_is_started_no_more_often_than_asked_for(kfp: Any, complete_run: Complete, resubmit: int) -> None:
    kfp.story = [FAILED]
    with pytest.raises(RunFailedError, match=rf"^run run-{resubmit + 1} failed: see http"):
        complete_run(resubmit=resubmit)
    assert len(kfp.runs) == resubmit + 1


BUSY = (503, {"error": "the connection is draining", "code": 14})


@pytest.mark.parametrize(
    ("request_", "answer"),
    [
        ("GET .*/pipelines", "drop"),
        ("GET .*/versions", (502, "bad gateway")),
        ("GET .*/experiments", (500, {"error": "database is locked", "code": 13})),
        ("POST .*/runs", BUSY),
        ("POST .*/runs", (429, {"error": "too many requests", "code": 8})),
    ],
)
def test_a_server_that_does_not_answer_for_a_while_does_not_prevent_the_next_run(
    kfp: Any, complete_run: Complete, request_: str, answer: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail_from_now_on() -> None:
        kfp.fault(request_, answer, answer)

    kfp.story = [FAILED, SUCCEEDED]
    kfp.fault("GET .*/runs/run-1", fail_from_now_on)
    assert complete_run(resubmit=1).run_id == "run-2"
    assert len(kfp.runs) == 2
    assert capsys.readouterr().err.count("; trying again\n") == 1


@pytest.mark.parametrize("answer", ["drop", (500, {"error": "timed out", "code": 13}), (503, "upstream reset")])
def test_a_request_that_may_have_started_the_next_run_is_not_sent_again(
    kfp: Any, complete_run: Complete, answer: Any
) -> None:
    kfp.story = [FAILED, SUCCEEDED]
    kfp.fault("GET .*/runs/run-1", lambda: kfp.fault("POST .*/runs", answer))
    with pytest.raises(UnavailableError, match="before you submit again, check at") as raised:
        complete_run(resubmit=1)
    assert raised.value.exit_code == 1
    assert kfp.count("POST .*/runs") == 2


def test_the_next_start_is_given_up_in_the_end(
    kfp: Any, complete_run: Complete, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.submit.completion.NO_ANSWER_TIMEOUT_S", 5.0)
    kfp.story = [FAILED]
    kfp.fault("GET .*/runs/run-1", lambda: kfp.fault("POST .*/runs", BUSY))
    with pytest.raises(TransientApiError, match="the connection is draining") as raised:
        complete_run(resubmit=1)
    assert raised.value.exit_code == 1


def test_the_first_start_is_tried_once_and_that_of_a_later_part_again(kfp: Any, complete_run: Complete) -> None:
    kfp.fault("POST .*/runs", BUSY, BUSY)
    with pytest.raises(TransientApiError):
        complete_run()
    assert complete_run(patient=True).run_id == "run-1"


def test_a_refusal_to_start_the_next_run_is_final(kfp: Any, complete_run: Complete) -> None:
    kfp.story = [FAILED]
    refusal = (400, {"message": "experiment is archived", "code": 3})
    kfp.fault("GET .*/runs/run-1", lambda: kfp.fault("POST .*/runs", refusal))
    with pytest.raises(ApiError, match="experiment is archived") as raised:
        complete_run(resubmit=1)
    assert raised.value.exit_code == UserError.exit_code


@pytest.mark.parametrize("last", [CANCELED, {"state": "SKIPPED"}])
def test_a_run_that_somebody_ended_is_not_started_again(kfp: Any, complete_run: Complete, last: dict[str, str]) -> None:
    kfp.story = [last]
    with pytest.raises(RunFailedError, match="not started again, as it did not fail by itself"):
        complete_run(resubmit=5)
    assert len(kfp.runs) == 1


def test_wrong_input_is_not_tried_again(
    kfp: Any, complete_run: Complete, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    kfp.story = [FAILED]
    wrote(store, "run-1", "train", 2, "recipes.sat.attack.steps: 0 is too small", input_is_wrong=True)
    wrote(store, "run-1", "evaluate", 1, "lost")
    with pytest.raises(RunFailedError, match="not started again, as the input of train is wrong"):
        complete_run(resubmit=5)
    assert len(kfp.runs) == 1
    shown = capsys.readouterr().err
    assert "run run-1: train ended with 2: recipes.sat.attack.steps: 0 is too small\n" in shown
    assert "run run-1: evaluate ended with 1: lost\n" in shown


def test_a_run_that_a_node_ended_is_tried_again(kfp: Any, complete_run: Complete, store: Store) -> None:
    kfp.story = [FAILED, SUCCEEDED]
    wrote(store, "run-1", "train", UserError.exit_code, "cannot write: no space left on device")
    assert complete_run(resubmit=1).run_id == "run-2"


def test_the_errors_of_other_runs_are_not_taken_for_ours(kfp: Any, complete_run: Complete, store: Store) -> None:
    kfp.story = [FAILED, SUCCEEDED]
    for run in ("run-2", "run-10", "run-11"):
        wrote(store, run, "train", UserError.exit_code, "wrong", input_is_wrong=True)
    assert complete_run(resubmit=1).run_id == "run-2"


def test_what_finish_recorded_is_shown(
    kfp: Any, complete_run: Complete, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    kfp.story = [FAILED]
    write_record(RunRecord("run-1", "failed", "without a word", [], "FAILED", TIME), store)
    with pytest.raises(RunFailedError):
        complete_run()
    assert "run run-1: finish recorded failed: without a word\n" in capsys.readouterr().err
    write_record(RunRecord("run-2", "failed", "train ended with 1: lost", [], "FAILED", TIME), store)
    wrote(store, "run-2", "train", 1, "lost")
    with pytest.raises(RunFailedError):
        complete_run()
    shown = capsys.readouterr().err
    assert shown.count("lost") == 1, "the record of finish repeats the errors"
    assert "run run-2: finish recorded failed\n" in shown


@pytest.mark.parametrize("content", [b"", b"[", b"[]", b"3", b"{}", b'{"task": "t", "exit_code": "x"}', b"\xff"])
def test_other_content_in_the_store_does_not_end_the_waiting(
    kfp: Any, complete_run: Complete, store: Store, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    kfp.story = [FAILED, SUCCEEDED]
    store.put("nofrost/runs/run-1/errors/train.json", content)
    store.put("nofrost/runs/run-1.json", content)
    assert complete_run(resubmit=1).run_id == "run-2"
    assert "nofrost/runs/run-1/errors/train.json in" in capsys.readouterr().err


def test_a_store_that_cannot_be_read_from_here_does_not_end_the_waiting(
    kfp: Any, api: Api, start: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kfp.story = [FAILED, SUCCEEDED]
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "DEFAULT_REGION"):
        monkeypatch.setenv(f"AWS_{name}", "testing")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    away = open_store("s3://bucket/away")
    assert complete(lambda: start(api), api, away, resubmit=1).run_id == "run-2"
    assert "http://127.0.0.1:9: it cannot be reached" in capsys.readouterr().err


def test_the_time_limit_is_of_all_runs_together(kfp: Any, complete_run: Complete) -> None:
    kfp.story = [FAILED]
    with pytest.raises(RunFailedError, match=r"run run-1 failed.*not started again, as the time of --timeout is over"):
        complete_run(resubmit=1, deadline=0.0)
    assert len(kfp.runs) == 1
    kfp.story = [{"state": "RUNNING"}]
    with pytest.raises(RunFailedError, match="run run-2 has not ended after 0 s and goes on"):
        complete_run(resubmit=1, deadline=0.0)


def test_resubmit_needs_wait(kfp: Any, submit: Any) -> None:
    with pytest.raises(UserError, match=r"--resubmit .* add --wait"):
        submit(resubmit=1)
    assert not kfp.requests
