"""`--data-ref latest:NAME`: one run takes what is the newest when it begins, all parts of a study take the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("kfp")

from nofrost.errors import UserError
from nofrost.store import Store, open_store, push
from nofrost.store.releases import release_data
from tests.store.conftest import moto, moto_endpoint  # noqa: F401  (fixtures)

ST = 'runs.recipe=["st"]'


@pytest.fixture
def store(moto: str) -> Store:  # noqa: F811
    return open_store(moto)


def released(store: Store, path: Path, text: str) -> str:
    path.write_text(text)
    ref = push(path, store)
    release_data(store, "photos", ref)
    return str(ref)


def refs(kfp: Any) -> list[str]:
    return [run["runtime_config"]["parameters"]["data_ref"] for run in kfp.runs]


def test_one_run_is_told_the_name(kfp: Any, submit: Any, store: Store, tmp_path: Path) -> None:
    released(store, tmp_path / "photos", "1")
    submit(ST, store=store.url, data_ref="latest:photos")
    assert refs(kfp) == ["latest:photos"]


def test_all_parts_have_the_same_data(kfp: Any, submit: Any, store: Store, tmp_path: Path) -> None:
    first = released(store, tmp_path / "photos", "1")
    kfp.fault("POST .*/runs", lambda: None, lambda: released(store, tmp_path / "photos", "2"))
    for number in (1, 2):
        outputs = {
            "dataset": "data/dataset@d",
            "test_sets": ["data/test-sets/quick@s"],
            "augmentation": "data/augmentation@a",
        }
        lists = {key: [f"runs/st/seed-{number}/{key}@x"] for key in ("trained", "adversarial", "ood")}
        store.put(f"nofrost/runs/run-{number}/outputs.json", json.dumps({**outputs, **lists}).encode())
    submit(ST, "runs.seed=[0,1]", store=store.url, data_ref="latest:photos", wait_for=True, split=1)
    assert refs(kfp) == [first] * 3


def test_data_that_nobody_has_released_are_one_sentence(kfp: Any, submit: Any, store: Store) -> None:
    with pytest.raises(UserError, match=r"no data named photos: release some with `nofrost data release photos REF`"):
        submit(ST, store=store.url, data_ref="latest:photos")
    assert kfp.runs == []
