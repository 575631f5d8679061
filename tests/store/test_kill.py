"""Processes that are killed in the middle of a transfer, or transfer the same content at once."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import pytest

from nofrost.store import Ref, open_store, pull, push, verify
from tests.child_process import running

pytestmark = pytest.mark.slow

Contents = Callable[[Path], dict[str, bytes]]
FILES = 300
PUSH = "from nofrost.store import *; from pathlib import Path; print(push(Path({path!r}), open_store({url!r})))"
PULL = (
    "from nofrost.store import *; from pathlib import Path; "
    "pull(Ref.parse({ref!r}), Path({path!r}), open_store({url!r}))"
)


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """A folder of many small files and a few larger ones, beside the folder of a store."""
    (tmp_path / "store").mkdir()
    folder = tmp_path / "many"
    for number in range(FILES):
        path = folder / f"{number % 10}" / f"{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(f"{number}".encode() * (400_000 if number % 100 == 0 else 10))
    return folder


# A test that runs in the background of a shell has no Ctrl-C, and neither has what it starts, unless it asks for it.
CTRL_C = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "


def start(script: str) -> AbstractContextManager[subprocess.Popen[str]]:
    return running([sys.executable, "-c", CTRL_C + script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def kill_when(process: subprocess.Popen[str], reached: Callable[[], bool], signum: int = signal.SIGKILL) -> None:
    """Send a signal as soon as `reached` is true, which has to be before the process ends."""
    end = time.monotonic() + 60
    while not reached():
        assert process.poll() is None, "it ended too early to be killed"
        assert time.monotonic() < end
        time.sleep(0.002)
    process.send_signal(signum)
    process.communicate()
    assert process.returncode == -signum


def files_below(folder: Path) -> int:
    return sum(path.is_file() for path in folder.rglob("*"))


@pytest.mark.parametrize("url", ["folder", "moto"], indirect=True)
def test_a_killed_push_leaves_no_listing_and_can_be_repeated(url: str, many: Path) -> None:
    store = open_store(url)
    with start(PUSH.format(path=str(many), url=url)) as process:
        kill_when(process, lambda: len(store.names("files/")) > FILES // 10)
    names = store.names("files/md5/")
    assert not any(name.endswith(".dir") for name in names)
    ref = push(many, store)
    assert ref.nfiles == FILES
    verify(ref, store)


@pytest.mark.parametrize("url", ["folder", "moto"], indirect=True)
def test_a_killed_pull_leaves_no_output_and_the_next_one_continues_it(
    url: str, many: Path, tmp_path: Path, contents: Contents, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(url)
    ref = push(many, store)
    target = tmp_path / "target"
    downloads = tmp_path / ".target.nofrost-pull" / "content"
    with start(PULL.format(ref=str(ref), path=str(target), url=url)) as process:
        kill_when(process, lambda: downloads.exists() and files_below(downloads) > FILES // 10)
    assert not target.exists()
    kept, read, asked = files_below(downloads), store.read, []
    monkeypatch.setattr(store, "read", lambda md5: (asked.append(md5), read(md5))[1])
    pull(ref, target, store)
    assert len(asked) <= FILES + 1 - kept + 16
    assert contents(target) == contents(many)
    assert not list(tmp_path.glob("target.*"))


@pytest.mark.parametrize("url", ["folder", "moto"], indirect=True)
def test_an_interrupted_push_ends_at_once(url: str, many: Path) -> None:
    store = open_store(url)
    with start(PUSH.format(path=str(many), url=url)) as process:
        end = time.monotonic() + 60
        while len(store.names("files/")) < FILES // 10 and time.monotonic() < end:
            time.sleep(0.002)
        process.send_signal(signal.SIGINT)
        begin = time.monotonic()
        _, printed = process.communicate(timeout=60)
    assert "KeyboardInterrupt" in printed
    assert time.monotonic() - begin < 10


def test_concurrent_pushes_of_the_same_content_succeed(url: str, many: Path) -> None:
    with ExitStack() as stack:
        processes = [stack.enter_context(start(PUSH.format(path=str(many), url=url))) for _ in range(3)]
        printed = [process.communicate()[0].strip() for process in processes]
    assert len(set(printed)) == 1
    ref = Ref.parse(printed[0])
    assert ref.nfiles == FILES
    verify(ref, open_store(url))
    assert len(open_store(url).names("files/md5/")) == FILES + 1


@pytest.mark.parametrize("url", ["folder", "moto"], indirect=True)
def test_concurrent_pulls_to_the_same_path_succeed(url: str, many: Path, tmp_path: Path, contents: Contents) -> None:
    ref = push(many, open_store(url))
    target = tmp_path / "target"
    with ExitStack() as stack:
        script = PULL.format(ref=str(ref), path=str(target), url=url)
        processes = [stack.enter_context(start(script)) for _ in range(3)]
        printed = [process.communicate()[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], printed
    assert contents(target) == contents(many)
    assert not list(tmp_path.glob("target.*"))
