"""`nofrost task log` prints what the store has of a job's log, without a cluster."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner

from nofrost.cli import cli
from nofrost.cluster.outcome.stored_log import StoredLog
from nofrost.errors import UserError
from nofrost.store import open_store


def test_the_log_of_a_job_is_printed_line_by_line(tmp_path: Path) -> None:
    log = StoredLog("j", open_store(str(tmp_path)), piece=100)
    log.begin("pod-0", "uid-0")
    for number in range(9):
        log.append(f"2026-01-02T03:04:05.00000000{number}Z epoch {number} \x1b[31m".encode())
    log.close()
    printed = CliRunner().invoke(cli, ["task", "log", "j", "--store", str(tmp_path)])
    assert printed.exit_code == 0
    assert printed.stdout.splitlines() == [rf"epoch {number} \x1b[31m" for number in range(9)]


def test_a_job_without_a_log_is_an_error(tmp_path: Path) -> None:
    ended = CliRunner().invoke(cli, ["task", "log", "other", "--store", str(tmp_path)])
    assert isinstance(ended.exception, UserError)
    assert "no log of a job other" in str(ended.exception)
