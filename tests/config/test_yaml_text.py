"""YAML means the same to NoFrost, to DVC and to readers of YAML 1.1, and no file can fill the memory."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nofrost.config import load_recipe, load_study, parse_study, study_as_yaml
from nofrost.config.reading import read_text
from nofrost.config.yaml_text import as_yaml, parse_value
from nofrost.errors import UserError

dvc_yaml = pytest.importorskip("dvc.utils.serialize")
hydra = pytest.importorskip("dvc.utils.hydra")

# Words that a version of YAML, or DVC, takes for something else than text.
WORDS = [
    *("no", "No", "NO", "yes", "on", "off", "y", "n", "N", "true", "False", "~", "null", "Null", "NULL"),
    *("08", "012", "0777", "-012", "0o14", "0x1F", "0b11", "1_000", "0", "-0", "1", "+1", "1:30", "190:20:30.5"),
    *("1e3", "1E+5", "1.e3", "1.5e3", ".5", "+.5", "5.", "1.0", ".inf", "-.INF", ".nan"),
    *("2020-01-01", "2020-13-01", "2001-12-14t21:59:43.10-05:00", "2001-12-14 21:59:43"),
    *("=", "<<", "-", "?", "!", "&", "*", "@", "%", "---", "...", "#", "[]", "{}", "''", '""', "${x}", "$", "|", ">"),
]
texts = st.sampled_from(WORDS) | st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63) + 1, 2**63 - 1) | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=400)
@given(values)
@example([*WORDS])
@example({word: word for word in WORDS})
@example({"a\u2028b": "\x85 ", "x" * 200: "\ufeff\n\n z\n", "": "trailing \n", "\U0001f600": "a: b #c\r\n"})
def test_what_is_written_is_read_as_it_was_by_pyyaml_by_dvc_and_by_us(value: Any) -> None:
    text = as_yaml({"key": value})
    assert yaml.safe_load(text) == {"key": value}
    assert dvc_yaml.loads_yaml(text) == {"key": value}
    assert parse_value(text, "here") == {"key": value}


@pytest.mark.parametrize("word", WORDS)
def test_a_plain_word_is_read_as_dvc_reads_it_or_refused(word: str) -> None:
    with suppress(UserError):
        assert str(parse_value(f"key: {word}", "here")) == str(dvc_yaml.loads_yaml(f"key: {word}"))


@pytest.mark.parametrize("word", ["no", "Yes", "on", "OFF", "1:30", "y", "190:20:30"])
def test_words_that_only_yaml_1_1_takes_for_something_else_are_text(word: str) -> None:
    assert parse_value(f"{word}: {word}", "here") == {word: word}


@pytest.mark.parametrize(
    ("text", "facts"),
    [
        ("a: 08", ["line 1", "08", "write 8", "'08'"]),
        ("b: 1\na: -012", ["line 2", "write -12"]),
        ("a: 2020-01-01", ["a date", "'2020-01-01' in quotes"]),
        ("a: =", ["'=' in quotes"]),
        ("1: a", ["the key '1' is not text"]),
        ("~: a", ["the key '~' is not text"]),
        ("true: a", ["the key 'true' is not text"]),
        ("2020-01-01: a", ["the key '2020-01-01' is not text"]),
        ("? [a, b]\n: c", ["the key a list or mapping is not text"]),
        ("a: 1\n'a': 2", ["line 2", "'a' comes twice"]),
        ("<<: {a: 1}\n<<: {b: 1}", ["line 2", "'<<' comes twice"]),
        ("a: 100000000000000000000000000", ["100000000000000000000000000"[:20], "too large"]),
        (f"a: 0x{'f' * 5000}", ["0xffff", "too large"]),
        ("b: 1\na:\n  <<: 3", ["line 3", "the key <<"]),
        ("a: {<<: [{b: 1}, 2]}", ["line 1", "the key <<"]),
        ("a: {<<: {<<: x}}", ["line 1", "the key <<"]),
        ("a: {<<}", ["line 1", "the key <<"]),
        ("a: <<", ["line 1", "<<", "quotes"]),
        ("a: &x {b: 1}\nc: {<<: *x, <<: *x}", ["line 2", "'<<' comes twice"]),
        ("a: &x 1\nb: &x 2", ["line 2", "the anchor &x comes twice"]),
        ("a: 1\n---\nb: 2", ["line 2", "expected a single document"]),
        ('a: "\\ud800"', ["surrogate"]),
        ("a: !!bool perhaps", ["the tag", "bool"]),
        ("a: !!int ''", ["the tag", "int"]),
        ("a: !!timestamp soon", ["the tag", "timestamp"]),
        ("a: !!set {b}", ["the tag", "set"]),
        ("a: !!python/name:os.system", ["the tag", "os.system"]),
        ("%YAML 1.1\n---\na: no", ["line 1", "%YAML"]),
        ("a: &a [*a]", ["*a stands inside what it names"]),
        ("a: ._", ["._", "quotes"]),
    ],
)
def test_what_readers_do_not_agree_on_is_refused_with_place_and_remedy(text: str, facts: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        parse_value(text, "mine.yaml")
    message = str(caught.value)
    assert message.startswith("mine.yaml")
    assert "\n" not in message
    assert len(message) < 250
    assert all(fact in message for fact in facts), message


def repeated(first: str, more: str) -> str:
    """Return YAML of which every key repeats the one before nine times."""
    keys = "abcdefghijk"
    lines = [f"{key}: &{key} {more.format(', '.join([f'*{before}'] * 9))}" for before, key in pairwise(keys)]
    return "\n".join([f"a: &a {first}", *lines])


BOMBS = {
    "aliases": repeated("[x]", "[{}]"),
    "merge keys": repeated("{x: 1}", "{{<<: [{}]}}"),
    "brackets": "a: " + "[" * 100_000,
    "dashes": "- " * 100_000,
    "questions": "? " * 100_000,
    "a wide list": f"a: [{'1,' * 200_000}]",
    "many keys": f"{{{','.join(f'k{number}: ' for number in range(110_000))}}}",
    "characters": "a: " + "x" * 2_000_000,
    "digits": "a: " + "1" * 900_000,
}


@pytest.mark.slow
@pytest.mark.parametrize("text", BOMBS.values(), ids=BOMBS)
def test_small_files_that_grow_are_refused_while_they_are_read(text: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_value(text, "mine.yaml")
    assert re.search(r"too large|more than [\d,]+ (values|levels|characters)", str(caught.value))


@pytest.mark.parametrize("key", ["name", "title", "base", "attack", "model", "recipes", "suites", "scale", "runs"])
def test_an_alias_bomb_that_is_just_small_enough_gives_a_short_sentence_under_any_key(key: str, tmp_path: Path) -> None:
    bomb = "\n".join(repeated("[x]", "[{}]").splitlines()[:5]).replace("a: &a", "a: &a", 1)
    path = tmp_path / "bomb.yaml"
    path.write_text(f"{bomb}\n{key}: *e\n", encoding="utf-8")
    for load in (load_recipe, load_study):
        with pytest.raises(UserError) as caught:
            load(path)
        assert len(str(caught.value)) < 700


@pytest.mark.parametrize("kind", ["device", "pipe", "large"])
def test_only_regular_files_of_a_sensible_size_are_read(kind: str, tmp_path: Path) -> None:
    path = Path("/dev/zero") if kind == "device" else tmp_path / "mine.yaml"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "large":
        with path.open("wb") as file:
            file.truncate(2**40)
    with pytest.raises(UserError, match=rf"{path}.*(not a regular file|more than [\d,]+ bytes)"):
        read_text(path, "recipe")


def test_a_chain_of_bases_has_an_end(tmp_path: Path) -> None:
    for number in range(30):
        (tmp_path / f"{number}.yaml").write_text(f"base: {number + 1}.yaml\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"more than 20 files follow one another by base:"):
        load_recipe(tmp_path / "0.yaml")


NAMES = ["no", "08", "1", "true", "null", "1e3", "0x1F", "012", "1_000", "on", "y"]


def test_a_study_with_names_that_look_like_something_else_is_the_same_to_everyone(tmp_path: Path) -> None:
    recipes = ", ".join(f"'{name}': st" for name in NAMES)
    path = tmp_path / "study.yaml"
    path.write_text(
        f"name: '1e3'\ntitle: 1:30\nnote: no\ndataset: {{}}\nrecipes: {{{recipes}}}\n"
        "suites: {adversarial: {quick: adversarial-quick}, ood: {quick: ood-quick}}\n",
        encoding="utf-8",
    )
    study = load_study(path)
    assert (study.title, study.note, list(study.recipes)) == ("1:30", "no", NAMES)
    text = study_as_yaml(study)
    assert parse_study(text) == study
    for values in (yaml.safe_load(text), dvc_yaml.loads_yaml(text)):
        assert list(values["recipes"]) == values["runs"]["recipe"] == NAMES
        assert (values["name"], values["title"], values["note"]) == ("1e3", "1:30", "no")


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("note=no", "note", "no"),
        ("title=1:30", "title", "1:30"),
        ("title='1e3'", "title", "1e3"),
        ('note="on"', "note", "on"),
        ("note='~'", "note", "~"),
        ("note='2020-01-01'", "note", "2020-01-01"),
        ("note=012", "note", "012"),
        ("note='a: b # c'", "note", "a: b # c"),
        ("note=''", "note", ""),
        ("runs.seed=[0,1]", "runs.seed", (0, 1)),
        ("runs.recipe=[st]", "runs.recipe", ("st",)),
        ("dataset.limit=null", "dataset.limit", None),
        ("dataset.limit=20000000", "dataset.limit", 20_000_000),
        ("suites.ood.quick.max_images=20000000", "suites.ood.quick.max_images", 20_000_000),
        ("dataset.limit=1e3", "dataset.limit", 1000),
        ("dataset={source:digits,limit:50}", "dataset.limit", 50),
        ("recipes.st.optimiser.lr=1e-2", "recipes.st.optimiser.lr", 0.01),
        ("recipes.st.optimiser.nesterov=false", "recipes.st.optimiser.nesterov", False),
        ("recipes.st.threat.eps=16/255", "recipes.st.threat.eps", "16/255"),
    ],
)
def test_what_dvc_exp_run_writes_is_taken_as_it_was_meant(override: str, key: str, value: Any, tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(study_as_yaml(load_study("digits")), encoding="utf-8")
    hydra.apply_overrides(path, [override])
    loaded: Any = load_study(path)
    for part in key.split("."):
        loaded = loaded[part] if isinstance(loaded, dict) else getattr(loaded, part)
    assert (loaded if value is None or not isinstance(value, str) else str(loaded)) == value
