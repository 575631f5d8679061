"""Sources of prepare on S3: fetched to a folder, whole, and again after a kill."""

from __future__ import annotations

import gzip
import io
import struct
from contextlib import suppress
from pathlib import Path

import numpy as np
import obstore
import pytest
from click.testing import CliRunner

from nofrost.cli import cli
from nofrost.errors import UserError
from nofrost.store import open_store
from nofrost.store.s3 import S3Store
from nofrost.store.s3_files import fetch
from nofrost.store.source_files import local_source


def put(url: str, files: dict[str, bytes]) -> S3Store:
    """Write objects of these names, also such as a store would refuse, below the URL."""
    store = open_store(url)
    assert isinstance(store, S3Store)
    with store._errors() as client:
        for name, content in files.items():
            obstore.put(client, f"{store.prefix}/{name}", content)
    return store


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


FILES = {"a.jpg": b"one", "dogs/b.jpg": b"two" * 1000, "dogs/deep/ü c.jpg": b"three"}


def test_all_objects_below_a_prefix_become_files(moto: str, tmp_path: Path) -> None:
    put(moto, {**{f"photos/{name}": content for name, content in FILES.items()}, "photos-2/x.jpg": b"no"})
    folder = fetch(f"{moto}/photos", tmp_path / "new")
    assert folder == tmp_path / "new" / "photos"
    assert contents(folder) == FILES


def test_one_object_becomes_one_file(moto: str, tmp_path: Path) -> None:
    put(moto, {"sets/data.npz": b"x" * 3_000_000, "sets/data.npz.md5": b"no"})
    path = fetch(f"{moto}/sets/data.npz", tmp_path)
    assert path == tmp_path / "data.npz"
    assert path.read_bytes() == b"x" * 3_000_000
    assert [each.name for each in tmp_path.iterdir()] == ["data.npz"]


def test_what_was_fetched_is_not_fetched_again_and_what_was_cut_is(
    moto: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(moto, {f"photos/{name}": content for name, content in FILES.items()})
    fetch(f"{moto}/photos", tmp_path)
    (tmp_path / "photos" / "dogs" / "b.jpg").write_bytes(b"cut")
    (tmp_path / "photos" / "a.jpg").unlink()
    asked: list[str] = []
    stream = S3Store.stream
    monkeypatch.setattr(S3Store, "stream", lambda store, name: asked.append(name) or stream(store, name))
    fetch(f"{moto}/photos", tmp_path)
    assert sorted(asked) == ["a.jpg", "dogs/b.jpg"]
    assert contents(tmp_path / "photos") == FILES


def test_more_objects_than_a_page_of_a_list_holds_are_fetched(
    moto: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nofrost.store.s3._PAGE", 5)
    files = {f"{number:03}.jpg": bytes([number]) for number in range(1, 24)}
    store = put(moto, {f"photos/{name}": content for name, content in files.items()})
    assert [len(page) for page in store.pages()] == [5, 5, 5, 5, 3]
    assert contents(fetch(f"{moto}/photos", tmp_path)) == files


def test_empty_objects_are_left_out_with_a_line(moto: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(moto, {"photos/cats": b"", "photos/cats/a.jpg": b"one"})
    assert contents(fetch(f"{moto}/photos", tmp_path)) == {"cats/a.jpg": b"one"}
    assert "1 empty objects at" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("url", "message"), [("{}/nothing", "there is nothing at s3://"), ("s3://bucket", "names no object on S3")]
)
def test_a_url_of_nothing_is_one_sentence(moto: str, tmp_path: Path, url: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        fetch(url.format(moto), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_copy_is_deleted_at_the_end_and_kept_after_an_error(moto: str, tmp_path: Path) -> None:
    put(moto, {"photos/a.jpg": b"one"})
    out, copy = tmp_path / "out", tmp_path / ".out.nofrost-source" / "photos"
    with suppress(InterruptedError), local_source(f"{moto}/photos", out) as path:
        assert path == str(copy)
        raise InterruptedError
    assert contents(copy) == {"a.jpg": b"one"}
    with local_source(f"{moto}/photos", out):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_path_on_this_machine_stays_as_it_is(tmp_path: Path) -> None:
    with local_source("photos", tmp_path / "out") as path:
        assert path == "photos"


def idx(array: np.ndarray) -> bytes:
    return gzip.compress(struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes())


def test_prepare_reads_from_s3_and_records_no_path(moto: str, tmp_path: Path) -> None:
    images, labels = np.arange(12 * 16, dtype=np.uint8).reshape(12, 4, 4), np.arange(12, dtype=np.uint8) % 2
    files = {"train-images-idx3-ubyte.gz": idx(images), "train-labels-idx1-ubyte.gz": idx(labels)}
    put(moto, {f"sets/mine/{name}": content for name, content in files.items()})
    (tmp_path / "mine").mkdir()
    for name, content in files.items():
        (tmp_path / "mine" / name).write_bytes(content)
    for path, out in ((f"{moto}/sets/mine", "a"), (str(tmp_path / "mine"), "b")):
        arguments = ["prepare", "--source", "idx", "--path", path, "--out", str(tmp_path / out)]
        assert CliRunner().invoke(cli, arguments, catch_exceptions=False).exit_code == 0
    first, second = (contents(tmp_path / name) for name in "ab")
    assert {name for name in first if first[name] != second[name]} <= {"record.json"}
    assert not (tmp_path / ".a.nofrost-source").exists()


def test_test_sets_are_read_from_s3_too(moto: str, tmp_path: Path) -> None:
    values = io.BytesIO()
    np.savez(values, images=np.zeros((10, 8, 8), np.uint8), labels=np.arange(10))
    put(moto, {"sets/new.npz": values.getvalue()})
    data, out = str(tmp_path / "data"), str(tmp_path / "out")
    assert CliRunner().invoke(cli, ["prepare", "--limit", "60", "--out", data], catch_exceptions=False).exit_code == 0
    arguments = ["prepare", "--test-sets", "--dataset", data, "--out", out, "--json"]
    for key, value in {"source": "npz", "path": f"{moto}/sets/new.npz"}.items():
        arguments += ["--set", f"test_sets.new.{key}={value}"]
    result = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "out"]
