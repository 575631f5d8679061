"""Mutated DVC configurations, lists of files, refs, URLs and candidates: read, or refused in one sentence."""

from __future__ import annotations

import json
import random
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from nofrost.errors import UserError
from nofrost.promotion import read_candidate, write_candidate
from nofrost.store import Output, Ref, default_store, open_store, pull
from nofrost.store.base import object_name
from nofrost.store.tree import address

pytestmark = pytest.mark.slow

COUNT = 500
A = "0cc175b9c0f1b6a831c399e269772661"
CONFIGURATION = b"""[core]
    remote = r
    no_scm = true
['remote "base"']
    url = s3://bucket/base
    use_ssl = false
['remote "r"']
    url = remote://base/%(profile)s/x
    profile = "mine # not a comment"  # a comment
    read_timeout = 20
    ssl_verify = true
[cache]
    type = "reflink,copy"
"""
LISTING = json.dumps([{"md5": A, "relpath": path} for path in ("a", "sub/b", "sub/deeper/c", "ü")]).encode()
TOKENS = (
    *(b"", b"\0", b"\n", b"\xff", b"%(", b")s", b"[", b"]", b"{", b"}", b'"', b"'", b",", b"=", b":", b"&a ", b"*a "),
    *(b"../", b"/", b"#", b"?", b"s3://", b"null", b"true", b"1e999", b"-1", b"\\ud800", "\u202e".encode()),
    *(b"!!python/x ", b"9" * 400, b" " * 50, b"'''", b"<<: "),
)


def mutated(content: bytes, source: random.Random) -> bytes:
    """Return `content` with a few pieces replaced, repeated, removed or exchanged for what parsers trip over."""
    for _ in range(source.randint(1, 4)):
        start = source.randrange(len(content) + 1)
        end = min(len(content), start + source.choice((0, 1, 1, 2, 8, 40)))
        piece = source.choice(
            (source.choice(TOKENS), content[start:end] * source.choice((0, 2, 9)), source.randbytes(2))
        )
        content = content[:start] + piece + content[end:]
    return content


@contextmanager
def at_most(seconds: int) -> Iterator[None]:
    def stop(*_: object) -> None:
        raise TimeoutError

    signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)


def check(call: Callable[[], object], case: object) -> bool:
    """Return whether a call refused its input; any other error fails the test."""
    outcome: Exception | None = None
    with at_most(10):
        try:
            call()
        except Exception as error:
            outcome = error
    assert outcome is None or isinstance(outcome, UserError), f"{type(outcome).__name__} of {case!r}"
    return outcome is not None


def test_configurations_of_dvc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".dvc").mkdir()
    monkeypatch.chdir(tmp_path)
    source = random.Random(0)
    refused = 0
    for _ in range(COUNT):
        content = mutated(CONFIGURATION, source)
        (tmp_path / ".dvc" / "config").write_bytes(content)
        refused += check(lambda: open_store(default_store()), content)
    assert 0 < refused < COUNT


def test_urls_of_stores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    source = random.Random(1)
    urls = (b"s3://bucket/some/prefix#1", b"file:///some/fold%20er", b"some/folder", b"C:\\data")
    for _ in range(COUNT * 4):
        url = mutated(source.choice(urls), source).decode(errors="surrogateescape")
        check(lambda url=url: open_store(url), url)
    assert not list(tmp_path.iterdir())


def test_lists_of_files(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "store"))
    store.put(object_name(A), b"a")
    source = random.Random(2)
    refused = 0
    for _ in range(COUNT):
        content = mutated(LISTING, source)
        md5 = address(content)
        store.put(object_name(md5), content)
        refused += check(lambda md5=md5: pull(Ref(md5), tmp_path / "here" / "q", store), content)
        if (tmp_path / "here" / "q").exists():
            (tmp_path / "here" / "q").rename(tmp_path / "before")
            shutil.rmtree(tmp_path / "before")
        assert {path.name for path in tmp_path.iterdir()} <= {"here", "store", "of dvc"}
        assert not list((tmp_path / "here").glob("*"))
    assert 0 < refused < COUNT


def test_refs_and_outputs() -> None:
    source = random.Random(3)
    for _ in range(COUNT * 4):
        text = mutated(f"data/dataset@{A}.dir:1234:5".encode(), source).decode(errors="surrogateescape")
        check(lambda text=text: Output.parse(text), text)


def test_candidates(tmp_path: Path) -> None:
    from nofrost.config import load_study

    store = open_store(str(tmp_path / "store"))
    outputs = [Output("data/dataset", Ref(f"{A}.dir", 1, 1))]
    name = write_candidate(outputs, study=load_study("digits"), run="run", image="image@1", source=None, store=store)
    original = store.get(name)
    # The end of it, where code and outputs are, is a small part of it.
    source = random.Random(4)
    refused = 0
    for number in range(COUNT):
        cut = len(original) // 10
        content = (
            mutated(original[:cut], source) + original[cut:]
            if number % 2
            else original[:-cut] + mutated(original[-cut:], source)
        )
        store.put(name, content)
        refused += check(lambda: read_candidate("run", store), content[:200])
    assert refused
