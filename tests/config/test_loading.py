"""Bases, scale and overrides: which value wins."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from nofrost.config import Recipe, load_recipe, load_study, load_suite, parse_study, study_as_yaml, suite_of
from nofrost.config.loading import merge, overridden
from nofrost.errors import UserError

leaves = st.none() | st.booleans() | st.integers() | st.text(max_size=3) | st.lists(st.integers(), max_size=2)
mappings = st.recursive(
    st.dictionaries(st.sampled_from("abcd"), leaves, max_size=3),
    lambda inner: st.dictionaries(st.sampled_from("abcd"), leaves | inner, max_size=3),
    max_leaves=8,
)


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def leaf(values: Any, path: tuple[str, ...]) -> Any:
    for part in path:
        values = values[part]
    return values


def paths(values: Mapping[str, Any]) -> list[tuple[str, ...]]:
    found = []
    for key, value in values.items():
        found += [(key, *rest) for rest in paths(value)] if isinstance(value, dict) and value else [(key,)]
    return found


@settings(deadline=None)
@given(mappings, mappings)
def test_merging_prefers_the_upper_mapping_and_keeps_the_rest_of_the_lower(
    base: dict[str, Any], top: dict[str, Any]
) -> None:
    merged = merge(base, top)
    for path in paths(top):
        value = leaf(top, path)
        if value != {}:
            assert leaf(merged, path) == value
    assert set(merged) == set(base) | set(top)
    assert all(merged[key] == base[key] for key in set(base) - set(top))


@settings(deadline=None)
@given(mappings)
def test_merging_with_nothing_or_itself_changes_nothing(values: dict[str, Any]) -> None:
    assert merge(values, {}) == merge({}, values) == merge(values, values) == values


@settings(deadline=None)
@given(mappings, mappings)
def test_merging_leaves_its_inputs_alone(base: dict[str, Any], top: dict[str, Any]) -> None:
    before = yaml.safe_dump([base, top])
    merge(base, top)
    assert yaml.safe_dump([base, top]) == before


def test_lists_are_replaced_not_joined() -> None:
    assert merge({"a": [1, 2]}, {"a": [3]}) == {"a": [3]}


@settings(deadline=None)
@given(mappings.filter(bool))
def test_an_override_sets_exactly_the_key_it_names(values: dict[str, Any]) -> None:
    for path in paths(values):
        changed = overridden(values, [f"{'.'.join(path)}=77"])
        assert leaf(changed, path) == 77
        assert [(other, leaf(changed, other)) for other in paths(values) if other != path] == [
            (other, leaf(values, other)) for other in paths(values) if other != path
        ]


def test_a_file_on_a_shipped_base_replaces_only_its_own_keys(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.yaml", "base: sat\ntitle: Mine\nthreat: {eps: 4/255}\nschedule: {epochs: 3}\n")
    mine, base = load_recipe(path), load_recipe("sat")
    assert (mine.title, mine.threat.eps.text, mine.schedule.epochs) == ("Mine", "4/255", 3)
    same = {"title": base.title, "threat": base.threat, "schedule": base.schedule}
    assert mine.model_copy(update=same) == base
    assert mine.schedule.batch_size == base.schedule.batch_size


def test_bases_are_stacked_and_relative_to_the_file_that_names_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "common/base.yaml", "base: sat\ntitle: Base\nschedule: {epochs: 7, batch_size: 8}\n")
    write(tmp_path / "mine/middle.yaml", "base: ../common/base.yaml\nschedule: {epochs: 5}\n")
    top = write(tmp_path / "mine/deep/top.yaml", "base: ../middle.yaml\nthreat: {eps: 1/255}\n")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    for name in (top, Path("../mine/deep/top.yaml")):
        recipe = load_recipe(name)
        assert (recipe.title, recipe.schedule.epochs, recipe.schedule.batch_size) == ("Base", 5, 8)
        assert recipe.threat.eps.text == "1/255"
        assert recipe.objective == load_recipe("sat").objective


def test_an_absolute_base_is_taken_as_it_is(tmp_path: Path) -> None:
    base = write(tmp_path / "a/base.yaml", "base: st\ntitle: Base\n")
    assert load_recipe(write(tmp_path / "b/top.yaml", f"base: {base}\n")).title == "Base"


def test_a_file_may_bear_the_name_of_the_shipped_recipe_it_builds_on(tmp_path: Path) -> None:
    assert load_recipe(write(tmp_path / "sat.yaml", "base: sat\ntitle: Mine\n")).title == "Mine"


def test_a_shipped_name_may_come_as_a_path_object() -> None:
    assert load_recipe(Path("sat")) == load_recipe("sat")


def test_a_base_may_leave_out_keys_that_the_file_on_top_has(tmp_path: Path) -> None:
    write(tmp_path / "half.yaml", "schedule: {epochs: 2}\n")
    top = write(tmp_path / "top.yaml", "base: half.yaml\ntitle: T\ncitation: 'wang2022'\nobjective: {name: st}\n")
    assert load_recipe(top).schedule.epochs == 2


def test_a_suite_can_be_built_on_another(tmp_path: Path) -> None:
    suite = load_suite(write(tmp_path / "s.yaml", "base: ood-quick\nseverities: [3]\n"))
    assert suite.kind == "ood"
    assert suite.severities == (3,)


def test_an_attack_without_a_name_is_the_one_it_is_reported_as() -> None:
    suite = load_suite("adversarial-quick", ["attacks={apgd-ce: {steps: 3}, fgsm: null, short: {name: pgd}}"])
    assert suite.kind == "adversarial"
    assert {key: spec.name for key, spec in suite.attacks.items()} == {
        "apgd-ce": "apgd-ce", "fgsm": "fgsm", "pgd-20": "pgd", "apgd-ce-100": "apgd-ce",
            "square-200": "square", "short": "pgd",
    }  # fmt: skip


STUDY = """
name: mine
title: Mine
dataset: {source: digits}
scale: {schedule: {epochs: 2}, threat: {eps: 1/255}}
recipes: %s
suites: {adversarial: {quick: adversarial-quick}, ood: {quick: ood-quick}}
"""


def study(tmp_path: Path, recipes: str, more: str = "") -> Path:
    return write(tmp_path / "study.yaml", STUDY % recipes + more)


@pytest.mark.parametrize(
    "recipes", ["[st, sat]", "{st: st, sat: sat}", "{st: null, sat: {}}", "{st: {base: st}, sat: }"]
)
def test_all_ways_of_listing_recipes_are_one(tmp_path: Path, recipes: str) -> None:
    loaded = load_study(study(tmp_path, recipes))
    assert loaded == load_study(study(tmp_path, "[st, sat]"))
    assert list(loaded.recipes) == ["st", "sat"]
    assert loaded.recipes["sat"].objective == load_recipe("sat").objective


def test_every_listed_recipe_is_run_with_seed_0_when_nothing_is_said(tmp_path: Path) -> None:
    runs = load_study(study(tmp_path, "[st, sat]")).runs
    assert (runs.recipe, runs.seed) == (("st", "sat"), (0,))


def test_scale_overrides_the_base_and_yields_to_the_keys_of_the_study(tmp_path: Path) -> None:
    recipes = load_study(study(tmp_path, "{sat: sat, long: {base: sat, schedule: {epochs: 9}}}")).recipes
    assert {name: recipe.schedule.epochs for name, recipe in recipes.items()} == {"sat": 2, "long": 9}
    assert {recipe.threat.eps.text for recipe in recipes.values()} == {"1/255"}
    assert recipes["long"].schedule.batch_size == load_recipe("sat").schedule.batch_size


def test_a_study_can_spell_a_recipe_out_without_a_base(tmp_path: Path) -> None:
    recipes = load_study(study(tmp_path, "{own: {title: T, citation: 'wang2022', objective: {name: st}}}")).recipes
    assert recipes["own"] == Recipe.model_validate(
        {
            "title": "T",
            "citation": "wang2022",
            "objective": {"name": "st"},
            "schedule": {"epochs": 2},
            "threat": {"eps": "1/255"},
        }
    )


def test_paths_in_a_study_are_relative_to_it_also_when_another_study_builds_on_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "first/recipes/own.yaml", "base: sat\ntitle: Own\n")
    write(tmp_path / "first/easy.yaml", "base: ood-quick\nseverities: [1]\n")
    first = STUDY % "{a: recipes/own.yaml, b: {base: recipes/own.yaml, title: B}}"
    write(tmp_path / "first/study.yaml", first.replace("quick: ood-quick", "quick: easy.yaml"))
    second = write(tmp_path / "second/study.yaml", "base: ../first/study.yaml\nname: second\n")
    monkeypatch.chdir(tmp_path)
    for path in (second, Path("second/study.yaml"), Path("first/study.yaml")):
        loaded = load_study(path)
        assert {name: recipe.title for name, recipe in loaded.recipes.items()} == {"a": "Own", "b": "B"}
        assert loaded.suites.ood["quick"].severities == (1,)
    assert load_study(second).name == "second"


def test_a_path_in_a_list_of_recipes_is_called_as_its_file(tmp_path: Path) -> None:
    write(tmp_path / "own.yaml", "base: sat\ntitle: Own\n")
    assert list(load_study(study(tmp_path, "[own.yaml, st]")).recipes) == ["own", "st"]


def test_overrides_win_over_everything_and_the_last_one_over_the_first(tmp_path: Path) -> None:
    overrides = ["recipes.sat.schedule.epochs=4", "recipes.sat.schedule.epochs=5", "runs.seed=[1, 2]"]
    loaded = load_study(study(tmp_path, "[st, sat]"), overrides)
    assert loaded.recipes["sat"].schedule.epochs == 5
    assert loaded.recipes["st"].schedule.epochs == 2
    assert loaded.runs.seed == (1, 2)


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("title=a=b", "a=b"),
        ("title=plain words: no, a colon", None),
        ('title="1"', "1"),
        (" title =spaced", "spaced"),
        ("title='ü 文'", "ü 文"),
    ],
)
def test_the_value_of_an_override_is_yaml(override: str, value: str | None) -> None:
    if value is None:
        with pytest.raises(ValueError, match="--set"):
            load_recipe("sat", [override])
    else:
        assert load_recipe("sat", [override]).title == value


TINY = load_study("digits").model_copy(update={"recipes": {}})


@settings(deadline=None, max_examples=25)
@given(st.text(st.characters(exclude_categories=["C", "Zl", "Zp"], include_characters="\n\t"), max_size=30))
def test_any_text_survives_being_spelled_out(text: str) -> None:
    loaded = TINY.model_copy(update={"title": text, "note": text})
    values = yaml.safe_load(study_as_yaml(loaded))
    assert (values["title"], values["note"]) == (text, text)


def test_an_anchor_and_a_merge_key_of_yaml_work(tmp_path: Path) -> None:
    text = "base: sat\nschedule: &s {epochs: 3, batch_size: 8}\n"
    assert load_recipe(write(tmp_path / "a.yaml", text)).schedule.epochs == 3
    text = "base: sat\nselection: {attack: &a {name: pgd, steps: 3}}\nattack: {<<: *a, steps: 4}\n"
    recipe = load_recipe(write(tmp_path / "b.yaml", text))
    assert (recipe.selection.attack.steps, recipe.attack.steps) == (3, 4)


def test_a_byte_order_mark_does_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "bom.yaml"
    path.write_bytes("\ufeffbase: sat\ntitle: Mine\n".encode())
    assert load_recipe(path).title == "Mine"


def test_the_earlier_name_of_a_citation_is_still_read(tmp_path: Path) -> None:
    recipe, suite = tmp_path / "r.yaml", tmp_path / "s.yaml"
    recipe.write_text("base: sat\ntitle: Mine\nsource: own\n")
    suite.write_text("kind: ood\ntitle: Mine\nsource: own\ncorruptions: [fog]\n")
    assert load_recipe(recipe).citation == load_suite(suite).citation == "own"
    assert load_recipe("sat", ["source=mine"]).citation == "mine"
    study = tmp_path / "study.yaml"
    entries = f"dataset: {{source: digits}}\nrecipes: [{recipe}]\nsuites: {{ood: {{mine: {suite}}}}}\ngate: null\n"
    study.write_text(f"name: a\ntitle: A\n{entries}")
    assert load_study(study).suites.ood["mine"].citation == "own"


def test_a_study_may_have_any_number_of_suites_and_its_gate_names_two(tmp_path: Path) -> None:
    suites = "suites: {adversarial: {a: adversarial-quick, b: adversarial-quick}, ood: {c: ood-quick, quick: null}}"
    study = load_study(write(tmp_path / "s.yaml", f"base: digits\n{suites}\ngate: {{adversarial: b}}\n"))
    assert list(study.suites.by_key) == ["adversarial/quick", "adversarial/a", "adversarial/b", "ood/c"]
    assert study.gate_suites == ("b", "c")
    assert parse_study(study_as_yaml(study)) == study


@pytest.mark.parametrize("overrides", [(), ("suites.ood={quik: null}",)])
def test_a_null_that_leaves_no_suite_out_is_refused_with_the_nearest_name(
    tmp_path: Path, overrides: tuple[str, ...]
) -> None:
    path = write(tmp_path / "s.yaml", "base: digits\n" + ("" if overrides else "suites: {ood: {quik: null}}\n"))
    with pytest.raises(UserError, match=r"suites\.ood: null leaves out a suite .* no 'quik': did you mean 'quick'"):
        load_study(path, overrides)


def test_without_an_ood_suite_a_gate_has_no_margins_for_one(tmp_path: Path) -> None:
    study = load_study(write(tmp_path / "s.yaml", "base: digits\nsuites: {ood: {quick: null}}\n"))
    assert study.gate
    assert (study.gate.margins.clean, study.gate.margins.ood, study.gate.margins.calibration) == (0.02, None, None)
    assert study.gate_suites == ("quick", None)
    assert study.as_json()["suites"]["ood"] == {}, "as dvc.yaml needs it"
    assert parse_study(study_as_yaml(study)) == study


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("adversarial/b", "adversarial.b"),
        ("b", "adversarial.b"),
        ("ood", "ood.a"),
        ("ood/a", "ood.a"),
        ("adversarial", "several suites that 'adversarial' may mean: write adversarial/a, adversarial/b"),
        ("a", "several suites that 'a' may mean: write adversarial/a, ood/a"),
        ("oood/a", "unknown suite of study .* 'oood/a': did you mean 'ood/a'"),
    ],
)
def test_a_suite_of_a_study_is_found_by_as_little_as_says_which(name: str, found: str, tmp_path: Path) -> None:
    attacks = "{a: adversarial-quick, b: adversarial-quick, quick: null}"
    suites = f"suites: {{adversarial: {attacks}, ood: {{a: ood-quick, quick: null}}}}"
    study = write(tmp_path / "s.yaml", f"base: digits\n{suites}\n")
    if "." in found.partition(" ")[0]:
        assert suite_of(str(study), name)[1].endswith(f": suites.{found}")
    else:
        with pytest.raises(UserError, match=found):
            suite_of(str(study), name)
