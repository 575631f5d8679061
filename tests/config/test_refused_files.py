"""Every mistake in a file of settings, or in its name, ends as one sentence that says what is wrong and where."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nofrost.config import load_recipe, load_study, load_suite, shipped_names
from nofrost.errors import unknown
from tests.config.complaints import complaint, file


@pytest.mark.parametrize(
    ("kind", "load", "name", "close"),
    [
        ("recipe", load_recipe, "nofrots", "nofrost"),
        ("recipe", load_recipe, "sat ", "sat"),
        ("suite", load_suite, "adversarial-quik", "adversarial-quick"),
        ("study", load_study, "digts", "digits"),
        ("recipe", load_recipe, "", None),
        ("study", load_study, "a\nb", None),
        ("suite", load_suite, "..", None),
    ],
)
def test_an_unknown_name_is_answered_with_the_closest_and_how_to_list_all(
    kind: str, load: Callable[[str], Any], name: str, close: str | None
) -> None:
    message = complaint(lambda: load(name))
    assert message.startswith(f"unknown {kind} {name!r}: ")
    assert ("did you mean" in message) == (close is not None)
    assert close is None or f"did you mean {close!r}?" in message
    shipped = shipped_names(kind)
    known = {
        "recipe": f"`nofrost recipes list` prints the {len(shipped)} that are shipped",
        "study": f"`nofrost study list` prints the {len(shipped)} that are shipped",
        "suite": ", ".join(each for each in shipped if close is None or each.startswith("adversarial-")),
    }
    assert known[kind] in message
    assert ".yaml" in message, "it says how an own file is named"


def test_an_empty_registry_is_reported_as_such() -> None:
    assert str(unknown("recipe", "sat", [])) == "unknown recipe 'sat': known are none"


@pytest.mark.parametrize("load", [load_recipe, load_suite, load_study])
@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", ("holds no keys", "mapping")),
        ("# only a comment\n", ("holds no keys",)),
        ("- a\n- b\n", ("holds no keys",)),
        ("just words\n", ("holds no keys",)),
        ("a: [1\nb: 2\n", ("not valid YAML", "line 2")),
        ("a: b: c\n", ("not valid YAML", "line 1")),
        ("a: 1\n\tb: 2\n", ("not valid YAML", "line 2")),
        ("a: 1\nb: 2\na: 3\n", ("line 3", "'a' comes twice")),
        ("a: {x: 1, x: 2}\n", ("line 1", "'x' comes twice")),
        ("a: 1\n---\nb: 2\n", ("not valid YAML", "document")),
        ("a: 2024-02-31\n", ("line 1", "a date", "quotes")),
        ("a: " + "1" * 5000, ("line 1", "too large")),
        ("a: " + "[" * 500, ("line 1", "more than 40 levels")),
        ("a: !!python/object/apply:os.getcwd []\n", ("line 1", "python/object/apply:os.getcwd")),
        (b"a: \xff\xfe\n", ("not UTF-8",)),
        (b"a: \x00\n", ("not valid YAML",)),
    ],
    ids=lambda value: repr(value)[:20] if isinstance(value, str | bytes) else "",
)
def test_a_file_that_is_no_mapping_is_named_with_its_fault(
    load: Callable[[Path], Any], content: str | bytes, words: tuple[str, ...], tmp_path: Path
) -> None:
    path = file(tmp_path, content)
    message = complaint(lambda: load(path))
    assert all(word in message for word in (str(path), *words))


@pytest.mark.parametrize(("kind", "load"), [("recipe", load_recipe), ("suite", load_suite), ("study", load_study)])
def test_a_file_that_cannot_be_read_is_named_with_the_reason(
    kind: str, load: Callable[[Any], Any], tmp_path: Path
) -> None:
    for path, reason in (
        (tmp_path / "missing.yaml", "no such file"),
        (tmp_path / "folder.yaml", "is a directory"),
        (tmp_path / "file" / "mine.yaml", "not a directory"),
        ("nul\0.yaml", "not UTF-8"),
        (f"{'x' * 300}.yaml", "name too long"),
    ):
        (tmp_path / "folder.yaml").mkdir(exist_ok=True)
        (tmp_path / "file").touch()
        message = complaint(lambda path=path: load(path))  # type: ignore[misc]
        assert f"cannot read the {kind} file" in message
        assert reason in message


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_a_file_without_permission_is_named_with_the_reason(tmp_path: Path) -> None:
    path = file(tmp_path, "base: sat\n")
    path.chmod(0)
    assert "permission denied" in complaint(lambda: load_recipe(path))


@pytest.mark.parametrize(
    ("base", "words"),
    [
        ("3", ("3 does not name a recipe", "path")),
        ("[sat]", ("['sat'] does not name a recipe",)),
        ("{a: b}", ("{'a': 'b'} does not name a recipe",)),
        ("true", ("True does not name a recipe",)),
        ("satt", ("unknown recipe 'satt'", "did you mean 'sat'?")),
        ("other.yaml", ("cannot read the recipe file", "other.yaml", "no such file")),
        ("''", ("unknown recipe ''",)),
    ],
)
def test_an_invalid_base_is_reported_with_the_file_that_names_it(
    base: str, words: tuple[str, ...], tmp_path: Path
) -> None:
    path = file(tmp_path, f"base: {base}\n")
    message = complaint(lambda: load_recipe(path))
    assert message.startswith(f"{path}: ")
    assert all(word in message for word in words)


@pytest.mark.parametrize("names", [("a",), ("a", "b"), ("a", "b", "c")])
@pytest.mark.parametrize("load", [load_recipe, load_suite, load_study])
def test_bases_in_a_circle_are_shown(
    names: tuple[str, ...], load: Callable[[Path], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, below in zip(names, (*names[1:], names[0]), strict=True):
        file(tmp_path, f"base: ./x/../{below}.yaml\n", f"{name}.yaml")
    (tmp_path / "x").mkdir()
    monkeypatch.chdir(tmp_path)
    for start in (tmp_path / "a.yaml", Path("a.yaml"), Path("x/../a.yaml")):
        message = complaint(lambda start=start: load(start))  # type: ignore[misc]
        assert "in a circle" in message
        assert message.count(" -> ") == len(names)
        assert all(f"{name}.yaml" in message for name in names)


def test_a_circle_through_a_link_is_shown(tmp_path: Path) -> None:
    path = file(tmp_path, "base: link.yaml\n")
    (tmp_path / "link.yaml").symlink_to(path)
    assert "in a circle" in complaint(lambda: load_recipe(path))


def test_an_unknown_key_is_reported_under_the_file_it_stands_in(tmp_path: Path) -> None:
    base = file(tmp_path, "base: sat\nschedul: {epochs: 3}\n", "base.yaml")
    top = file(tmp_path, "base: base.yaml\ntitle: T\n", "top.yaml")
    study = file(tmp_path, f"name: s\ntitle: S\ndataset: {{}}\nrecipes: {{sat: {top}}}\n", "study.yaml")
    for call in (lambda: load_recipe(top), lambda: load_study(study)):
        message = complaint(call)
        assert message.startswith(f"{base}: unknown key 'schedul': did you mean 'schedule'?")


def test_a_missing_key_is_named_in_full(tmp_path: Path) -> None:
    assert "key citation is missing: add it" in complaint(lambda: load_recipe(file(tmp_path, "title: T\n")))
    path = file(tmp_path, "name: s\ntitle: S\ndataset: {}\nrecipes: {a: {title: T}}\nsuites: {}\n")
    assert f"{path}: key recipes.a.citation is missing: add it" == complaint(lambda: load_study(path))


@pytest.mark.parametrize(
    ("recipes", "words"),
    [
        ("3", ("recipes must list names",)),
        ("", ("recipes must list names",)),
        ("{}", ("recipes must list names",)),
        ("[]", ("recipes must list names",)),
        ("sat", ("recipes must list names",)),
        ("[1, 2]", ("recipes must list names",)),
        ("[{sat: sat}]", ("recipes must list names",)),
        ("[sat, st, sat]", ("recipes lists 'sat' twice",)),
        ("[sat, mine/sat.yaml]", ("recipes lists 'sat' twice", "map names")),
        ("{sat: 3}", ("recipes.sat: 3 is not a name, a path or a mapping",)),
        ("{sat: [st]}", ("recipes.sat: ['st'] is not a name",)),
        ("{sat: {base: [st]}}", ("['st'] does not name a recipe",)),
        ("{sat: satt}", ("recipes.sat: unknown recipe 'satt'", "did you mean 'sat'?")),
        ("{model: {base: sat, mode: x}}", ("'recipes.model.mode'", "did you mean 'model'?", "optimiser")),
        ("{model: {base: sat, model: {archh: x}}}", ("'recipes.model.model.archh'", "did you mean 'arch'?")),
    ],
)
def test_recipes_of_the_wrong_type_are_reported_with_the_study(
    recipes: str, words: tuple[str, ...], tmp_path: Path
) -> None:
    suites = "suites: {adversarial: {quick: adversarial-quick}, ood: {quick: ood-quick}}"
    path = file(tmp_path, f"name: s\ntitle: S\ndataset: {{}}\nrecipes: {recipes}\n{suites}\n")
    message = complaint(lambda: load_study(path))
    assert all(word in message for word in (str(path), *words))


GATED = "suites: {adversarial: {quick: adversarial-quick}}\ngate: %s"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("suites: [ood-quick]", ("suites", "['ood-quick'] is not a mapping", "adversarial, ood")),
        ("suites: {adversarial: [x]}", ("suites.adversarial maps names to suites",)),
        ("suites: {adversarial: {quick: [x]}}", ("suites.adversarial.quick: ['x'] is not a name",)),
        (
            "suites: {adversarial: {quick: adversarial-quik}}",
            ("suites.adversarial.quick: unknown suite", "mean 'adversarial-quick'?"),
        ),
        ("suites: {adversarial: {quick: ood-quick}}", ("suites.adversarial.quick.kind", "got 'ood'")),
        (
            "suites: {adversarial: adversarial-quick}",
            ("several of a kind: write adversarial: {quick: adversarial-quick}",),
        ),
        ("suites: {ood: {base: ood-quick}}", ("a study may have several of a kind: write ood: {quick: ood-quick}",)),
        ("suites: {ood: {kind: ood, title: T}}", ("or the keys of the suite under such a name",)),
        ("suites: {ood: 3}", ("suites.ood: input should be a valid dictionary",)),
        ("suites: {odd: {quick: ood-quick}}", ("unknown key 'suites.odd'", "did you mean 'ood'?")),
        ("suites: {ood: {a/b: ood-quick}}", ("suites.ood.a/b", "cannot be a name")),
        ("suites: {adversarial: {}, ood: {}}", ("suites: it has no suite: name one",)),
        (
            "suites: {ood: {quick: null}}",
            ("suites.ood: null leaves out a suite that the base has, and it has no 'quick'",),
        ),
        ("suites: {ood: {quick: ood-quick}}", ("gate: it compares worst-case accuracies, and suites.adversarial",)),
        (GATED % "{adversarial: nope}", ("gate: unknown suite in gate.adversarial 'nope': ", "known are quick")),
        (GATED % "{ood: nope}", ("gate: ood is measured by an ood suite, and suites.ood is empty",)),
        (GATED % "{margins: {ood: 0.1}}", ("gate: margins.ood is measured by an ood suite",)),
        ("runs: {dataset: {x: 3}}\ndatasets: {x: {}}", ("runs.dataset.x: input should be a valid list, got 3",)),
        ("runs: {dataset: {x: [[a]]}}\ndatasets: {x: {}}", ("runs.dataset.x.0: input should be a valid string",)),
        ("runs: {dataset: {x: [{a: b}]}}\ndatasets: {x: {}}", ("runs.dataset.x.0: input should be a valid string",)),
        ("size: paper", ("size: 'paper' is for a study that is spelled out", "leave it out", "--size")),
        ("size: large\nsizes: {small: {}}", ("size: 'large' stands beside sizes, of which --size chooses one",)),
        ("scale: 3", ("scale: 3 is not a mapping",)),
        ("scale: {schedul: {epochs: 3}}", ("unknown key 'recipes.sat.schedul'", "did you mean 'schedule'?")),
    ],
)
def test_other_keys_of_the_wrong_type_are_reported_with_the_study(
    text: str, words: tuple[str, ...], tmp_path: Path
) -> None:
    both = (
        ""
        if text.startswith("suites")
        else "\nsuites: {adversarial: {quick: adversarial-quick}, ood: {quick: ood-quick}}"
    )
    path = file(tmp_path, f"name: s\ntitle: S\ndataset: {{}}\nrecipes: [sat]\n{text}{both}\n")
    message = complaint(lambda: load_study(path))
    assert all(word in message for word in (str(path), *words))


@pytest.mark.parametrize("kind", ["", "kind: x\n", "kind: [ood]\n", "kind: 3\n"])
def test_a_suite_of_no_known_kind_shows_the_kinds(kind: str, tmp_path: Path) -> None:
    message = complaint(lambda: load_suite(file(tmp_path, f"title: T\n{kind}")))
    assert "kind: adversarial or kind: ood" in message


def test_a_huge_wrong_value_is_not_printed_whole(tmp_path: Path) -> None:
    path = file(tmp_path, f"base: sat\nthreat: {[*range(10_000)]}\n")
    assert len(complaint(lambda: load_recipe(path))) < 300 + len(str(path))
