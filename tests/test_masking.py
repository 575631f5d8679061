"""What leaves a process holds none of the secrets that it knows."""

from __future__ import annotations

import pytest

from nofrost.cluster.outcome.log_lines import masked
from nofrost.masking import without_secrets


def test_no_secret_of_the_environment_is_in_a_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG")
    monkeypatch.setenv("HF_TOKEN", "hf_0123456789")
    monkeypatch.setenv("SHORT_KEY", "1")
    text = "KeyError: {'AWS_SECRET_ACCESS_KEY': 'wJalrXUtnFEMI/K7MDENG', 'x': 'hf_0123456789', 'y': 10}"
    assert without_secrets(text) == "KeyError: {'AWS_SECRET_ACCESS_KEY': '***', 'x': '***', 'y': 10}"
    login = "cannot use http://user:p%40ss@host:9000/x and s3://key:secret@bucket"
    assert without_secrets(login) == "cannot use http://***@host:9000/x and s3://***@bucket"
    assert without_secrets("mail a@b, see https://example.org/@x") == "mail a@b, see https://example.org/@x"


def test_a_line_of_a_log_that_is_no_text_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG")
    assert masked(b"\xff\x00 wJalrXUtnFEMI/K7MDENG\n") == b"\xff\x00 ***\n"
