"""Pre-trained weights that are pulled from the store for a training."""

from __future__ import annotations

from pathlib import Path

import pytest

from nofrost.config import Recipe
from nofrost.errors import UserError
from nofrost.store import Store, open_store, push
from nofrost.tasks import workspace
from nofrost.tasks.workspace import is_ref, pretrained

MD5 = "0123456789abcdef" * 2


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


def test_weights_are_pulled_with_the_patience_of_a_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On S3 a patient store repeats a request 12 times, others 5 times."""
    (tmp_path / "best.safetensors").write_bytes(b"weights")
    store = open_store(str(tmp_path / "store"))
    ref = str(push(tmp_path / "best.safetensors", store))
    asked: list[bool] = []

    def opened(url: str, *, patient: bool = False) -> Store:
        asked.append(patient)
        return store

    monkeypatch.setattr(workspace, "open_store", opened)
    with pretrained(recipe(ref), tmp_path / "out", store.url) as path:
        assert path is not None
        assert path.read_bytes() == b"weights"
    assert asked == [True]


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
