"""The projection into a Model Registry: complete whatever came before, idempotent, never an error of a promotion."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("model_registry")

from nofrost.champion.champion import StoredChampion, make_champion, read_champion, rollback
from nofrost.champion.registry import VARIABLE, project, project_if_asked
from nofrost.errors import UserError
from nofrost.store import Output, Store, open_store, push
from tests.champion.models import evaluations, write_evaluations
from tests.champion.registry_double import Registry, serve
from tests.champion.test_champion import champion


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Registry]:
    served = Registry()
    (tmp_path / "token").write_text("of the test\n")
    monkeypatch.setenv("KF_PIPELINES_SA_TOKEN_PATH", str(tmp_path / "token"))
    with serve(served) as url:
        monkeypatch.setenv(VARIABLE, url)
        yield served


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "store"))


def made_champion(run: str, store: Store, folder: Path) -> StoredChampion:
    measured = folder / f"evaluations of {run}"
    write_evaluations(measured, evaluations(np.arange(100) < 60))
    current = read_champion("digits", store)
    outputs = {
        name: Output(
            f"runs/sat/seed-0/evaluate-{name}/quick",
            push(folder / f"evaluations of {run}" / f"evaluate-{name}" / "quick", store),
        )
        for name in ("adversarial", "ood")
    }
    made = champion(run, store, folder).model_copy(update=outputs)
    return make_champion(made, current.position.record if current else None, store)


def test_a_champion_is_a_version_with_its_artifact_and_numbers(
    registry: Registry, store: Store, tmp_path: Path
) -> None:
    stored = made_champion("run-1", store, tmp_path)
    assert project_if_asked(stored, store)
    (model,), (version,), (artifact,) = registry.objects.values()
    md5 = stored.champion.checkpoint.ref.md5.removesuffix(".dir")
    assert (model["name"], version["name"], version["state"]) == ("digits", md5, "LIVE")
    assert version["customProperties"]["worst_case_accuracy"]["double_value"] == 0.6
    assert version["customProperties"]["run"]["string_value"] == "run-1"
    assert artifact["uri"] == f"{store.url}/files/md5/{md5[:2]}/{md5[2:]}.dir"
    assert (artifact["modelSourceKind"], artifact["modelSourceId"]) == ("kfp", "run-1")
    assert registry.tokens == {"Bearer of the test"}


def test_again_it_makes_nothing_new(registry: Registry, store: Store, tmp_path: Path) -> None:
    stored = made_champion("run-1", store, tmp_path)
    project(stored, store)
    before = {kind: [dict(each) for each in objects] for kind, objects in registry.objects.items()}
    project(stored, store)
    assert registry.objects == before


def test_a_projection_that_broke_off_anywhere_is_completed_by_the_next(
    registry: Registry, store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stored = made_champion("run-1", store, tmp_path)
    for refused in range(7):
        registry.objects = {"model": [], "version": [], "artifact": []}
        registry.requests, registry.refused = [], refused
        assert not project_if_asked(stored, store)
        assert "`nofrost champion register digits` tries it again" in capsys.readouterr().err
        registry.refused = None
        project(stored, store)
        assert [len(objects) for objects in registry.objects.values()] == [1, 1, 1]


def test_the_champion_alone_is_live_after_a_promotion_and_after_a_rollback(
    registry: Registry, store: Store, tmp_path: Path
) -> None:
    for run in ("run-1", "run-2"):
        project(made_champion(run, store, tmp_path), store)
    states = {each["customProperties"]["run"]["string_value"]: each for each in registry.objects["version"]}
    assert [states[run]["state"] for run in ("run-1", "run-2")] == ["ARCHIVED", "LIVE"]
    project(rollback("digits", store), store)
    assert [states[run]["state"] for run in ("run-1", "run-2")] == ["LIVE", "ARCHIVED"]


@pytest.mark.parametrize(
    ("address", "message"), [("registry:8080", "give the URL"), ("https://registry", "needs a token")]
)
def test_a_registry_that_cannot_be_asked_is_one_sentence(
    address: str, message: str, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, address)
    monkeypatch.setenv("KF_PIPELINES_SA_TOKEN_PATH", str(tmp_path / "none"))
    with pytest.raises(UserError, match=message):
        project(made_champion("run-1", store, tmp_path), store)


def test_without_a_registry_nothing_is_projected(store: Store, tmp_path: Path) -> None:
    assert not project_if_asked(made_champion("run-1", store, tmp_path), store)
