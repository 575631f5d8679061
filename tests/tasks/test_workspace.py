"""Partial outputs that are kept in the store, and pre-trained weights that are pulled from it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from nofrost import tasks
from nofrost.config import Recipe
from nofrost.errors import UserError
from nofrost.store import Output, open_store, pull, push
from nofrost.tasks import workspace
from nofrost.tasks.workspace import checkpointed_in_store, is_ref, pretrained

MD5 = "0123456789abcdef" * 2


def fail_after_writing(out: Path, text: str) -> None:
    partial = out.with_name(f".{out.name}.nofrost-partial")
    partial.mkdir(parents=True)
    (partial / "state").write_text(text)
    raise UserError("stopped here")


def test_the_partial_output_of_a_failed_try_is_restored_in_another_workspace(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "store"))
    with pytest.raises(UserError, match="stopped here"), checkpointed_in_store(tmp_path / "one/out", ["config"], store):
        fail_after_writing(tmp_path / "one/out", "half")
    with checkpointed_in_store(tmp_path / "two/out", ["config"], store):
        assert (tmp_path / "two/.out.nofrost-partial/state").read_text() == "half"


def test_a_partial_output_of_another_configuration_is_not_restored(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "store"))
    with pytest.raises(UserError), checkpointed_in_store(tmp_path / "one/out", ["config"], store):
        fail_after_writing(tmp_path / "one/out", "half")
    with checkpointed_in_store(tmp_path / "two/out", ["other"], store):
        assert not (tmp_path / "two").exists()


def test_the_partial_output_is_also_saved_at_intervals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that is killed cannot save any more."""
    monkeypatch.setattr(workspace, "CHECKPOINT_INTERVAL_S", 0.05)
    store = open_store(str(tmp_path / "store"))
    (tmp_path / "store").mkdir()
    with checkpointed_in_store(tmp_path / "one/out", ["config"], store):
        (tmp_path / "one/.out.nofrost-partial").mkdir(parents=True)
        (tmp_path / "one/.out.nofrost-partial/state").write_text("half")
        deadline = time.monotonic() + 60
        while not store.names("nofrost/unfinished/"):
            assert time.monotonic() < deadline
            time.sleep(0.02)
    with checkpointed_in_store(tmp_path / "two/out", ["config"], store):
        assert (tmp_path / "two/.out.nofrost-partial/state").read_text() == "half"


def test_a_partial_output_that_the_store_lost_is_no_error(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "store"))
    with pytest.raises(UserError), checkpointed_in_store(tmp_path / "one/out", ["config"], store):
        fail_after_writing(tmp_path / "one/out", "half")
    for file in (tmp_path / "store/files").rglob("*"):
        if file.is_file():
            file.unlink()
    with checkpointed_in_store(tmp_path / "two/out", ["config"], store):
        assert not (tmp_path / "two/.out.nofrost-partial").exists()


@pytest.mark.slow
def test_a_stopped_training_resumes_elsewhere_and_ends_with_the_same_bits(begun: Any, tmp_path: Path) -> None:
    store = open_store(begun.store)
    one, two, output = tmp_path / "one", tmp_path / "two", tmp_path / "output"
    one.mkdir()
    two.mkdir()
    command = [sys.executable, "-m", "nofrost", "task", "train", "--recipe", begun.recipe, "--recipe-id", "st"]
    command += ["--seed", "3", "--dataset", begun.dataset, "--augmentation", begun.augmentation]
    command += ["--store", begun.store, "--output-file", str(output)]
    before = set(store.names("nofrost/unfinished/"))
    with subprocess.Popen(command, env={**os.environ, "TMPDIR": str(one)}, stderr=subprocess.PIPE) as training:
        deadline = time.monotonic() + 120
        while not list(one.glob("nofrost-*/runs/st/seed-3/.train.nofrost-partial/unfinished/state.json")):
            assert time.monotonic() < deadline
            assert training.poll() is None, "too quick for us: train longer"
            time.sleep(0.005)
        training.send_signal(signal.SIGTERM)
        assert training.wait(timeout=120) == 143
        assert training.stderr is not None
        assert training.stderr.read().decode().splitlines()[-1].startswith("nofrost: ")
    assert len(set(store.names("nofrost/unfinished/")) - before) == 1
    assert not output.exists()
    assert not list(one.glob("nofrost-*")), "the workspace of the stopped task is deleted"
    again = subprocess.run(command, env={**os.environ, "TMPDIR": str(two)}, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    undisturbed = tasks.train(begun.recipe, "st", "3", begun.dataset, begun.augmentation, _other(begun, tmp_path))
    weights = []
    for number, text in enumerate((output.read_text(), undisturbed)):
        folder = tmp_path / f"weights-{number}"
        pull(Output.parse(text).ref, folder, open_store(begun.store if number == 0 else _other(begun, tmp_path)))
        weights.append((folder / "last.safetensors").read_bytes())
    assert weights[0] == weights[1]


def _other(begun: Any, tmp_path: Path) -> str:
    """A second store with the same data and no unfinished work."""
    folder = tmp_path / "other"
    if not folder.exists():
        folder.mkdir()
        (folder / "files").symlink_to(Path(begun.store) / "files")
    return str(folder)


def recipe(weights: str | None) -> Recipe:
    return Recipe.model_validate(
        {"title": "t", "citation": "own", "objective": {"name": "st"}, "model": {"weights": weights}}
    )


@pytest.mark.parametrize("weights", [None, "runs/mine", "weights.safetensors"])
def test_pretrained_yields_a_path_unchanged(weights: str | None, tmp_path: Path) -> None:
    with pretrained(recipe(weights), tmp_path / "out", None) as path:
        assert path == (None if weights is None else Path(weights))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("form", ["file", "folder"])
@pytest.mark.parametrize("named_by", ["option", "environment"])
def test_pretrained_pulls_a_ref_and_deletes_it_at_the_end(
    form: str, named_by: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "made").mkdir()
    (tmp_path / "made/best.safetensors").write_bytes(b"weights")
    url = str(tmp_path / "store")
    ref = str(push(tmp_path / ("made" if form == "folder" else "made/best.safetensors"), open_store(url)))
    monkeypatch.setenv("NOFROST_STORE", url if named_by == "environment" else "elsewhere")
    out = tmp_path / "runs" / "train"
    for short in (ref, ref.partition(":")[0]):
        with pretrained(recipe(short), out, url if named_by == "option" else None) as path:
            assert path is not None
            file = path / "best.safetensors" if form == "folder" else path
            assert file.suffix == ".safetensors"
            assert file.read_bytes() == b"weights"
        assert not list(out.parent.iterdir())


def test_a_ref_that_the_store_does_not_have_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=MD5), pretrained(recipe(MD5), tmp_path / "out", str(tmp_path / "store")):
        pytest.fail("there is nothing to train on")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "expected"),
    [(MD5, True), (f"{MD5}.dir:12:3", True), (f"{MD5}:12", True), (f"{MD5}.safetensors", False), ("best", False)],
)
def test_is_ref_distinguishes_refs_from_paths(text: str, expected: bool) -> None:
    assert is_ref(text) == expected
