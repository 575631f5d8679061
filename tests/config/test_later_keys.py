"""Keys that came later are left out of the JSON form where they are not set, and only there."""

from __future__ import annotations

from nofrost.config import GateSpec
from nofrost.config.base import without_unset


def test_a_gate_without_suites_keeps_the_form_of_before_there_were_these_keys() -> None:
    before = {"promotion", "confidence", "gain", "margins"}
    assert set(GateSpec().as_json()) == before
    assert set(GateSpec(adversarial="quick").as_json()) == {*before, "adversarial"}
    assert GateSpec.model_validate(GateSpec(ood="quick").as_json()) == GateSpec(ood="quick")


def test_a_zero_is_a_value_and_is_kept() -> None:
    unset = {"null": None, "false": False, "list": [], "tuple": (), "mapping": {}}
    assert without_unset({**unset, "none": 0, "nothing": 0.0, "text": ""}, [*unset, "none", "nothing", "text"]) == {
        "none": 0,
        "nothing": 0.0,
        "text": "",
    }
    assert without_unset(unset, []) == unset
