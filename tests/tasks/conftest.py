"""A store on this machine, and what the first tasks of the digits study leave in it."""

from __future__ import annotations

import json
from typing import NamedTuple

import pytest

from nofrost import tasks
from nofrost.config import Study, load_study

SMALL = (
    "dataset.limit=120",
    "augmentation.methods=[tda]",
    "runs.recipe=[st]",
    "recipes.st.schedule.epochs=2",
    "recipes.st.schedule.batch_size=32",
    "suites.adversarial.quick.attacks.apgd-ce-100.steps=3",
    "suites.adversarial.quick.steps_curve.steps=[1, 2]",
    "suites.adversarial.quick.batch_size=8",
    "suites.ood.quick.corruptions=[contrast]",
    "suites.ood.quick.severities=[1]",
    "suites.ood.quick.batch_size=8",
)


class Begun(NamedTuple):
    """A store, and refs to what is in it."""

    store: str
    study: Study
    recipe: str
    dataset: str
    augmentation: str


@pytest.fixture(scope="session")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Begun:
    """A store with a dataset of 120 digits and its augmentation set."""
    store = str(tmp_path_factory.mktemp("begun") / "store")
    study = load_study("digits", SMALL)
    dataset = tasks.prepare(json.dumps(study.dataset.as_json()), "", store)
    augmentation = tasks.augment(json.dumps(study.augmentation.as_json()), dataset, store)
    return Begun(store, study, json.dumps(study.recipes["st"].as_json()), dataset, augmentation)
