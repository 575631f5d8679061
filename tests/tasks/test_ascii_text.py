"""What goes through Kubeflow is ASCII without escapes, and comes out as it went in."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nofrost import tasks
from nofrost.config import DatasetSpec, Recipe, Study, load_study, parse_part, parse_study, study_as_yaml
from nofrost.errors import UserError
from nofrost.tasks.ascii_text import from_ascii, to_ascii

TEXTS = st.one_of(st.text(), st.text(alphabet="aλ😀\\u%{} \n'\"#\x85\u2028é日", max_size=40))


@given(TEXTS)
def test_text_comes_back_equal_and_is_plain_on_the_way(text: str) -> None:
    text = text.encode("utf-8", "replace").decode()
    sent = to_ascii(text)
    assert sent.isascii()
    assert "\\" not in sent
    assert "{{" not in sent
    assert from_ascii(sent) == text
    assert from_ascii(to_ascii(sent)) == sent


def test_plain_text_stays_as_it_is() -> None:
    for text in ("", "digits", '{"a": {"b": "100 %"}}', "name: x\ntitle: y\n"):
        assert to_ascii(text) == text == from_ascii(text)


def test_damaged_text_is_a_sentence() -> None:
    with pytest.raises(UserError, match="submit the study again"):
        from_ascii(to_ascii("λ").replace("%CE", "%C0"))


def with_texts(text: str) -> Study:
    study = load_study("digits", ["runs.recipe=[st]"])
    recipe = study.recipes["st"].model_copy(update={"title": text, "citation": text})
    dataset = DatasetSpec.model_validate({**study.dataset.as_json(), "source": "folder", "path": text or "x"})
    texts = {"title": text, "note": text, "dataset": dataset}
    return study.model_copy(update={**texts, "recipes": {"st": recipe}})


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Co", "Cn")), max_size=30))
def test_a_study_and_its_parts_come_out_equal(text: str) -> None:
    study = with_texts(text)
    sent = to_ascii(study_as_yaml(study))
    assert sent.isascii()
    assert parse_study(from_ascii(sent)) == study
    (run,) = tasks.plan_runs(sent)
    assert all(value.isascii() and "\\" not in value for value in run.values())
    assert parse_part(Recipe, from_ascii(run["recipe"]), "recipe") == study.recipes["st"]


def test_the_plan_of_a_study_in_another_script_is_ascii() -> None:
    study = with_texts("λ 日本 \\u03bb 😀")
    plan = tasks.plan(to_ascii(study_as_yaml(study)), 0, 1)
    for value in plan[:4]:
        assert value.isascii()
        assert "\\" not in value
    assert parse_part(DatasetSpec, from_ascii(plan.dataset), "dataset") == study.dataset
    assert json.loads(from_ascii(plan.ood)) == study.suites.ood.as_json()
