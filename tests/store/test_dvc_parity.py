"""DVC pulls what we push and the other way round, under the same addresses."""

from __future__ import annotations

import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from nofrost.store import Ref, open_store, pull, push, verify

pytestmark = pytest.mark.slow

Dvc = Callable[..., str]
Workspace = Callable[[str, str], Path]
Contents = Callable[[Path], dict[str, bytes]]


def tracked(workspace: Path, name: str) -> dict[str, Any]:
    """Return what DVC wrote about what it tracks."""
    out: dict[str, Any] = yaml.safe_load((workspace / f"{name}.dvc").read_text())["outs"][0]
    return out


def track(workspace: Path, name: str, ref: Ref) -> None:
    """Write what `dvc add` would have written."""
    about = {"md5": ref.md5, "size": ref.size, "hash": "md5", "path": name}
    about |= {"nfiles": ref.nfiles} if ref.is_dir else {}
    (workspace / f"{name}.dvc").write_text(yaml.safe_dump({"outs": [about]}))


def test_dvc_pulls_what_we_push(
    url: str, folder: Path, tmp_path: Path, dvc: Dvc, workspace: Workspace, contents: Contents
) -> None:
    store = open_store(url)
    whole, single, nothing = folder, folder / "larger.bin", tmp_path / "nothing"
    nothing.mkdir()
    refs = {"whole": push(whole, store), "single": push(single, store), "nothing": push(nothing, store)}
    fresh = workspace("fresh", url)
    for name, ref in refs.items():
        track(fresh, name, ref)
    dvc("pull", "--quiet", cwd=fresh)
    assert contents(fresh / "whole") == contents(whole)
    assert (fresh / "single").read_bytes() == single.read_bytes()
    assert list((fresh / "nothing").iterdir()) == []
    assert dvc("status", "--json", cwd=fresh).strip() == "{}"


def test_we_pull_what_dvc_pushes_and_agree_on_its_address(
    url: str, folder: Path, tmp_path: Path, dvc: Dvc, workspace: Workspace, contents: Contents
) -> None:
    theirs = workspace("theirs", url)
    shutil.copytree(folder, theirs / "data", symlinks=True)
    (theirs / "single").write_bytes(b"alone")
    (theirs / "nothing").mkdir()
    names = ("data", "single", "nothing")
    dvc("add", "--quiet", *names, cwd=theirs)
    dvc("push", "--quiet", cwd=theirs)
    for name in names:
        about = tracked(theirs, name)
        ref = Ref(about["md5"], about["size"], about.get("nfiles"))
        assert push(theirs / name, open_store(str(tmp_path / "another"))) == ref
        verify(ref, open_store(url))
        pull(ref, tmp_path / "pulled" / name, open_store(url))
    assert contents(tmp_path / "pulled" / "data") == contents(folder)
    assert contents(tmp_path / "pulled" / "nothing") == {}
    assert (tmp_path / "pulled" / "single").read_bytes() == b"alone"


def test_content_that_dvc_pushed_is_not_sent_again(
    url: str, folder: Path, dvc: Dvc, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = workspace("theirs", url)
    shutil.copytree(folder, theirs / "data")
    dvc("add", "--quiet", "data", cwd=theirs)
    dvc("push", "--quiet", cwd=theirs)
    store = open_store(url)
    monkeypatch.setattr(store, "put_file", lambda *_: pytest.fail("it is there"))
    monkeypatch.setattr(store, "put", lambda *_: pytest.fail("it is there"))
    assert push(folder, store).md5 == tracked(theirs, "data")["md5"]


def test_dvc_in_a_git_repository_pulls_by_dvc_lock(
    url: str, folder: Path, dvc: Dvc, workspace: Workspace, contents: Contents
) -> None:
    ref = push(folder, open_store(url))
    checkout = workspace("with-git", url)
    subprocess.run(["git", "init", "--quiet"], cwd=checkout, check=True)
    (checkout / ".dvc" / "config").write_text((checkout / ".dvc" / "config").read_text().replace("no_scm = True", ""))
    stage = {"cmd": "make it", "outs": ["data"]}
    (checkout / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"make": stage}}))
    out = {"path": "data", "hash": "md5", "md5": ref.md5, "size": ref.size, "nfiles": ref.nfiles}
    locked = {"cmd": "make it", "outs": [out]}
    (checkout / "dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": {"make": locked}}))
    dvc("pull", "--quiet", cwd=checkout)
    assert contents(checkout / "data") == contents(folder)
    assert dvc("status", "--json", cwd=checkout).strip() == "{}"


def test_our_files_in_a_local_store_equal_those_of_dvc(
    folder: Path, tmp_path: Path, dvc: Dvc, workspace: Workspace
) -> None:
    theirs = workspace("theirs", str(tmp_path / "their-store"))
    shutil.copytree(folder, theirs / "data")
    dvc("add", "--quiet", "data", cwd=theirs)
    dvc("push", "--quiet", cwd=theirs)
    push(folder, open_store(str(tmp_path / "our-store")))

    def listing(store: Path) -> dict[str, tuple[int, bytes]]:
        files = (path for path in store.rglob("*") if path.is_file())
        return {str(path.relative_to(store)): (stat.S_IMODE(path.stat().st_mode), path.read_bytes()) for path in files}

    assert listing(tmp_path / "our-store") == listing(tmp_path / "their-store")


def test_files_that_dvc_leaves_out_are_left_out(tmp_path: Path, dvc: Dvc, workspace: Workspace) -> None:
    theirs = workspace("theirs", str(tmp_path / "their-store"))
    for relpath in (
        "kept",
        "sub/.git",
        "sub/kept",
        "other/.git/config",
        "other/kept",
        "more/.hg/x",
        "more/kept",
        ".hg",
    ):
        path = theirs / "data" / relpath
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(relpath)
    dvc("add", "--quiet", "data", cwd=theirs)
    assert push(theirs / "data", open_store(str(tmp_path / "store"))).md5 == tracked(theirs, "data")["md5"]
