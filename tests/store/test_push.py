"""Push: what is sent, in which order, and what is refused."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from nofrost.errors import UserError
from nofrost.store import Store, open_store, pull, push, verify
from nofrost.store.base import object_name
from nofrost.store.local_file import LocalFile

Contents = Callable[[Path], dict[str, bytes]]


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch, store: Store) -> list[str]:
    """The addresses and names of what is sent to the store, in order."""
    calls: list[str] = []
    upload, put = store.put_file, store.put
    monkeypatch.setattr(store, "put_file", lambda source, jobs=1: (calls.append(source.md5), upload(source, jobs)))
    monkeypatch.setattr(store, "put", lambda name, content: (calls.append(name), put(name, content)))
    return calls


def test_the_listing_is_sent_last_and_equal_files_once(store: Store, sent: list[str], folder: Path) -> None:
    ref = push(folder, store)
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert ref.nfiles == len(files)
    assert ref.size == sum(path.stat().st_size for path in files)
    assert sent[-1] == object_name(ref.md5)
    assert len(sent) == len(set(sent)) == len(files)  # one is there twice, and the list is one more


def test_content_in_the_store_is_not_sent_again(store: Store, sent: list[str], folder: Path) -> None:
    ref = push(folder, store)
    sent.clear()
    assert push(folder, store) == ref
    assert sent == []
    (folder / "new").write_text("new")
    assert push(folder, store) != ref
    assert len(sent) == 2


def test_after_an_interrupt_only_missing_files_are_sent(
    store: Store, sent: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = store.put_file

    def break_down(source: LocalFile, jobs: int = 1) -> None:
        if len(sent) >= 4:
            raise KeyboardInterrupt
        upload(source, jobs)

    with monkeypatch.context() as patch:
        patch.setattr(store, "jobs", 1)
        patch.setattr(store, "put_file", break_down)
        with pytest.raises(KeyboardInterrupt):
            push(folder, store)
    assert len(sent) == 4
    assert not any(name.endswith(".dir") for name in store.names("files/"))
    verify(push(folder, store), store)
    assert len(sent) == len(set(sent))


def test_an_object_that_was_cut_off_is_sent_again(store: Store, sent: list[str], folder: Path) -> None:
    ref = push(folder, store)
    cut = LocalFile.of(folder / "larger.bin")
    store.put(object_name(cut.md5), b"cut off")
    store.put(object_name(ref.md5), b"[")
    sent.clear()
    assert push(folder, store) == ref
    assert sent == [cut.md5, object_name(ref.md5)]
    verify(ref, store)


@pytest.mark.parametrize("url", ["folder"], indirect=True)
def test_equal_files_share_an_object(store: Store, tmp_path: Path, contents: Contents) -> None:
    many = tmp_path / "many"
    for number in range(500):
        path = many / f"{number % 7}" / f"{number}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{number % 3}")
    ref = push(many, store)
    assert (ref.size, ref.nfiles) == (500, 500)
    assert len(store.names("files/md5/")) == 4
    pull(ref, tmp_path / "back", store)
    assert contents(tmp_path / "back") == contents(many)


def make_link_to_folder(path: Path) -> None:
    path.symlink_to(path.parent.parent)


def make_broken_link(path: Path) -> None:
    path.symlink_to("nowhere")


@pytest.mark.parametrize(
    ("name", "make", "sentence"),
    [
        ("linked", make_link_to_folder, "is a link to a folder, which DVC leaves out"),
        ("broken", make_broken_link, "does not exist: give a file or folder to push"),
        ("pipe", os.mkfifo, "is a named pipe, not a regular file: remove it"),
        (".dvcignore", Path.touch, "is DVC's rules inside of data"),
        (".dvc", Path.mkdir, "is a DVC project inside of data"),
    ],
)
@pytest.mark.parametrize("url", ["folder"], indirect=True)
def test_content_that_a_ref_cannot_represent_is_refused(
    name: str, make: Callable[[Path], None], sentence: str, store: Store, tmp_path: Path
) -> None:
    parent = tmp_path / "data" / "sub"
    parent.mkdir(parents=True)
    make(parent / name)
    with pytest.raises(UserError, match=sentence) as caught:
        push(tmp_path / "data", store)
    assert str(parent / name) in str(caught.value)
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("url", ["folder"], indirect=True)
def test_a_missing_path_is_refused(store: Store, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere does not exist: give a file or folder to push"):
        push(tmp_path / "nowhere", store)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file_is_refused(local_store: Store, tmp_path: Path) -> None:
    (tmp_path / "secret").touch(mode=0)
    with pytest.raises(UserError, match=r"cannot read .*secret: permission denied: check its permissions"):
        push(tmp_path / "secret", local_store)


@pytest.mark.parametrize("size", [5, 20 << 20], ids=["small", "in parts"])
def test_a_file_that_changes_while_it_is_pushed_is_refused(url: str, tmp_path: Path, size: int) -> None:
    path = tmp_path / "changing"
    path.write_bytes(b"x" * size)
    source = LocalFile.of(path)
    path.write_bytes(b"y" * size)
    store = open_store(url)
    with pytest.raises(UserError, match=r"changing changed while it was pushed: push it again"):
        store.put_file(source)
    assert store.names("") == []


def test_a_file_of_several_parts_is_pushed_and_pulled(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "large"
    block = os.urandom(1 << 20)
    with path.open("wb") as file:
        for number in range(21):
            file.write(bytes([number]) + block)
    ref = push(path, store)
    assert ref.size == 21 * ((1 << 20) + 1)
    pull(ref, tmp_path / "back", store)
    assert LocalFile.of(tmp_path / "back").md5 == ref.md5


def test_named_objects_are_written_read_and_listed(store: Store) -> None:
    for name in ("nofrost/locks/b.yaml", "nofrost/locks/a b+c.yaml", "nofrost/other"):
        store.put(name, name.encode())
    store.put("nofrost/other", b"replaced")
    assert store.names("nofrost/locks/") == ["nofrost/locks/a b+c.yaml", "nofrost/locks/b.yaml"]
    assert store.names("nofrost/o") == ["nofrost/other"]
    assert store.names("no such") == []
    assert store.get("nofrost/locks/a b+c.yaml") == b"nofrost/locks/a b+c.yaml"
    assert store.get("nofrost/other") == b"replaced"
    with pytest.raises(UserError, match=r"holds no nofrost/locks/c\.yaml: push it there"):
        store.get("nofrost/locks/c.yaml")


def test_named_objects_are_listed_with_size_and_age_and_deleted(store: Store) -> None:
    assert store.objects("nofrost/runs/") == {}
    before = time.time()
    for name in ("nofrost/runs/a", "nofrost/runs/b", "nofrost/runs.json"):
        store.put(name, name.encode())
    objects = store.objects("nofrost/runs/")
    assert {name: stored.size for name, stored in objects.items()} == {"nofrost/runs/a": 14, "nofrost/runs/b": 14}
    assert all(abs(stored.changed - before) < 60 for stored in objects.values())
    store.delete(["nofrost/runs/a", "nofrost/runs/no such"])
    store.delete([])
    assert store.names("") == ["nofrost/runs.json", "nofrost/runs/b"]


def test_a_store_below_another_holds_its_own_objects(store: Store, folder: Path, tmp_path: Path) -> None:
    below = store.below("nofrost/unfinished/key")
    ref = push(folder, below)
    below.put("save", str(ref).encode())
    assert below.get("save") == store.get("nofrost/unfinished/key/save") == str(ref).encode()
    assert not store.names("files/")
    assert {f"nofrost/unfinished/key/{name}" for name in below.names("")} == set(store.names(""))
    pull(ref, tmp_path / "back", open_store(f"{store.url}/nofrost/unfinished/key"))
    assert push(tmp_path / "back", store) == ref


@pytest.mark.parametrize("name", ["", "../x", "/etc/x", "a//b", "a/../../x"])
@pytest.mark.parametrize("url", ["folder"], indirect=True)
def test_a_name_cannot_lead_out_of_the_store(store: Store, name: str) -> None:
    for use in (
        lambda: store.put(name, b""),
        lambda: store.get(name),
        lambda: store.delete([name]),
        lambda: store.below(name),
    ):
        with pytest.raises(UserError, match="cannot name an object"):
            use()


@pytest.mark.parametrize(
    ("pushed", "where", "relation"),
    [
        ("data", "data/store", "lies in"),
        ("data", "data/deep/er/store", "lies in"),
        ("data", "data", "is"),
        ("data", "link", "is"),
        ("data", "link/store", "lies in"),
        ("link", "data/store", "lies in"),
        ("data/../data", "./data/store", "lies in"),
        ("data", ".", "holds"),
        ("data/a", "data", "holds"),
    ],
)
def test_a_store_and_what_is_pushed_must_be_apart(
    pushed: str, where: str, relation: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.rename(tmp_path / "data")
    (tmp_path / "link").symlink_to("data")
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match=f"which {relation} "):
        push(Path(pushed), open_store(where if where.startswith(".") else f"./{where}"))
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("where", ["out", "out/store", "link/store"])
def test_a_store_in_an_output_of_a_stage_is_refused(where: str, digits: Path, folder: Path, tmp_path: Path) -> None:
    shutil.copytree(digits, tmp_path / "out")
    (tmp_path / "link").symlink_to("out")
    with pytest.raises(UserError, match=r"it lies in .*out, an output of prepare, which would lose it"):
        push(folder, open_store(str(tmp_path / where)))
