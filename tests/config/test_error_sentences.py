"""Every mistake in a configuration ends as one sentence that says what is wrong, where, and what to do."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nofrost.config import load_recipe, load_study, load_suite, shipped_names
from nofrost.errors import UserError, unknown


def complaint(call: Callable[[], Any]) -> str:
    """Return the message of the UserError that `call` must raise, after checking its form."""
    with pytest.raises(UserError) as caught:
        call()
    message = str(caught.value)
    assert message
    assert "\n" not in message
    assert not any(trace in message for trace in ("Traceback", "Error:", "pydantic", "For further information", "0x"))
    assert len(message) < 600
    return message


def file(tmp_path: Path, text: str | bytes, name: str = "mine.yaml") -> Path:
    path = tmp_path / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


RECIPE_OVERRIDES = [
    ("objektive=sat", "unknown key 'objektive'", "did you mean 'objective'?", "allowed here are", "schedule", "threat"),
    ("schedule.epoch=3", "'schedule.epoch'", "did you mean 'epochs'?", "batch_size", "lr_warmup_epochs"),
    ("attack=3", "attack: 3 is not a mapping", "its keys are name, and the settings of what is named"),
    ("attack.eps=4/255", "attack: eps is not set for one attack: set threat.eps instead"),
    ("optimiser.adaptive_clipping.faktor=1", "'optimiser.adaptive_clipping.faktor'", "did you mean 'factor'?"),
    ("model.normaliser=bnn", "model.normaliser", "'bn'", "'mbn'", "'gn'", "'in'", "'nf'", "'none'", "got 'bnn'"),
    ("threat.norm=l1", "threat.norm", "'linf'", "'l2'", "got 'l1'"),
    ("threat.eps=8/0", "threat.eps", "divides by zero", "8/255"),
    ("threat.eps=-1", "threat.eps", "negative"),
    ("threat.eps=on", "threat.eps", "'on' is not a fraction"),
    ("threat.eps=2", "threat", "larger than the whole pixel range", "at most 1"),
    ("threat.eps=", "threat.eps", "None is not a fraction"),
    ("threat=3", "threat: 3 is not a mapping", "its keys are eps, norm"),
    ("schedule=[1, 2]", "schedule: [1, 2] is not a mapping", "batch_size"),
    ("schedule.epochs=0", "schedule.epochs", "greater than or equal to 1", "got 0"),
    ("schedule.epochs=1.5", "schedule.epochs", "integer", "got 1.5"),
    ("schedule.epochs=many", "schedule.epochs", "integer", "got 'many'"),
    ("schedule.epochs=true", "schedule.epochs", "true is not a number"),
    ("schedule.epochs=on", "schedule.epochs", "integer", "got 'on'"),
    ("optimiser.lr=False", "optimiser.lr", "false is not a number"),
    ("schedule.milestones=[3, true]", "schedule.milestones", "true is not a number"),
    ("schedule.points=[[0, true]]", "schedule.points", "true is not a number"),
    ("optimiser.lr=1e26", "optimiser.lr", "1e+26 is too large", "at most 10,000,000"),
    ("schedule.epochs=10000001", "schedule.epochs", "10000001 is too large"),
    ("optimiser.momentum=-20000000", "optimiser.momentum", "-20000000 is too large"),
    ("threat={norm: l2, eps: 1e7}", "threat.eps", "more than any distance of images"),
    ("optimiser.lr=.inf", "optimiser.lr", "finite", "got inf"),
    ("optimiser.weight_decay=.nan", "optimiser.weight_decay", "finite", "got nan"),
    ("title.x=3", "title", "string", "got {'x': 3}"),
    ("title=2024", "title", "string", "got 2024: write it in quotes"),
    ("views.augmentation_sets=tda", "views.augmentation_sets", "a valid list", "got 'tda'"),
    ("optimiser={nesterov: true, momentum: 0}", "optimiser", "nesterov needs a momentum above 0"),
    ("trainable=bnn", "trainable: 'bnn' is none of", "two-per-channel", "layer:conv1"),
    ("phases={two: {optimiser: {lr: -1}}}", "phases.two.optimiser.lr: input should be greater than 0", "got -1"),
    ("phases={two: {optimiser: {rate: 1}}}", "'phases.two.optimiser.rate'", "allowed here are", "scalar_lr"),
    ("phases={two: {schedule: 3}}", "phases.two.schedule: 3 is not a mapping", "its keys are batch_size"),
    ("phases={two: {trainable: bnn}}", "phases.two.trainable: 'bnn' is none of", "bn-not-first"),
    (
        "phases={two: {model: {arch: x}}}",
        "unknown key 'phases.two.model'",
        "allowed here are attack, objective",
        "reset",
    ),
    ("phases={two: {optimiser: {nesterov: true, momentum: 0}}}", "phases.two.optimiser: nesterov needs a momentum"),
    ("phases={two: 3}", "phases.two: 3 is not a mapping", "its keys are attack, objective"),
    ("phases={a b: {}}", "phases.a b: 'a b' cannot be a name"),
    ("a..b=1", "unknown key 'a'", "allowed here are"),
    ("threat.=1", "unknown key 'threat.'", "allowed here are eps, norm"),
]


@pytest.mark.parametrize(("override", "words"), [(row[0], row[1:]) for row in RECIPE_OVERRIDES])
def test_a_wrong_override_of_a_recipe_names_recipe_override_key_and_what_is_allowed(
    override: str, words: tuple[str, ...]
) -> None:
    message = complaint(lambda: load_recipe("sat", [override]))
    for word in ("sat with --set", override.split("=")[0].strip("."), *words):
        assert word in message


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (
            ["schedule.running_statistics_epochs=2", "model.normaliser=gn"],
            ("running_statistics_epochs is for batch norm", "'gn'", "set it to 0"),
        ),
        (
            ["optimiser.averaging.start_epoch=90"],
            ("averaging.start_epoch 90 is not before the end of the 90 epochs", "lower it, or set averaging: null"),
        ),
        (
            ["optimiser.averaging.start_epoch=5", "phases={one: {}, two: {schedule: {epochs: 3}}}"],
            ("phases.two: ", "averaging.start_epoch 5 is not before the end of the 3 epochs"),
        ),
    ],
)
def test_settings_that_would_do_nothing_together_are_refused(overrides: list[str], words: tuple[str, ...]) -> None:
    message = complaint(lambda: load_recipe("sat", overrides))
    assert message.startswith("sat")
    assert all(word in message for word in words)


STUDY_OVERRIDES = [
    ("recipes.sat.threat=3", "recipes.sat.threat: 3 is not a mapping", "its keys are eps, norm"),
    ("recipes.sat.threat.epsilon=3", "'recipes.sat.threat.epsilon'", "did you mean 'eps'?", "are eps, norm"),
    ("recipes.satt.threat.eps=3", "unknown recipe", "'satt'", "did you mean 'sat'?", "mbnat, nofrost, sat, st"),
    ("recipes.my.recipe.threat.eps=1", "unknown recipe", "'my'", "known are"),
    ("recipes={a.b: {}}", "recipes.a.b: 'a.b' cannot be a name", "letters, digits"),
    ("recipes={../up: {}}", "'../up' cannot be a name"),
    ("recipes=3", "recipes", "dictionary", "got 3"),
    ("name=a/b", "name: 'a/b' cannot be a name"),
    ("runs.recipe=[sat, sat]", "runs", "'sat' twice"),
    ("runs.seed=[1, 1]", "runs", "names 1 twice"),
    ("runs.seed=[-1]", "runs.seed.0", "greater than or equal to 0"),
    ("runs.seed=[]", "runs.seed", "at least 1"),
    ("runs.seed.0=3", "runs.seed", "a valid list", "got {'0': 3}"),
    ("suites.ood.severities=[1, 9]", "suites.ood.severities.1", "less than or equal to 5", "got 9"),
    ("suites.adversarial.attacks.pgd-20.norm=l2", "suites.adversarial.attacks.pgd-20", "set threat.norm instead"),
    ("suites.adversarial.budget_curve.multiples=[1/0]", "budget_curve.multiples.0", "divides by zero"),
    ("suites.adversarial.kind=ood", "suites.adversarial.kind", "'adversarial'", "got 'ood'"),
    ("scale.schedule.epochs=1", "unknown key 'scale'", "allowed here are"),
    ("recipes.st.phases={two: {schedule: {epoch: 1}}}", "'recipes.st.phases.two.schedule.epoch'", "mean 'epochs'?"),
]  # fmt: skip


@pytest.mark.parametrize(("override", "words"), [(row[0], row[1:]) for row in STUDY_OVERRIDES])
def test_a_wrong_override_of_a_study_names_the_override_the_key_and_what_is_allowed(
    override: str, words: tuple[str, ...]
) -> None:
    message = complaint(lambda: load_study("digits", [override]))
    for word in ("--set", override.split("=")[0], *words):
        assert word in message


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("runs.recipe=[stt]", ("runs.recipe", "'stt'", "did you mean 'st'?", "mbnat, nofrost, sat, st")),
        (
            "recipes.sat.views.augmentation_sets=[augmix]",
            ("recipes.sat.views.augmentation_sets", "'augmix'", "known are deepaugment, tda", "augmentation.methods"),
        ),
        ("recipes.sat.views={augmentation_sets: [tda]}", None),
    ],
)
def test_parts_of_a_study_that_do_not_fit_each_other_are_named(override: str, words: tuple[str, ...] | None) -> None:
    if words is None:
        assert load_study("digits", [override]).recipes["sat"].views.augmentation_sets == ("tda",)
        return
    message = complaint(lambda: load_study("digits", [override]))
    assert all(word in message for word in ("digits", *words))


def test_an_augmentation_set_that_no_run_uses_need_not_be_made() -> None:
    overrides = ["augmentation.methods=[]", "recipes.sat.views.augmentation_sets=[tda]", "runs.recipe=[st]"]
    assert load_study("digits", overrides).augmentation.methods == ()


@pytest.mark.parametrize("override", ["epochs", "", "=", "=3", "  = 3"])
def test_an_override_that_is_no_assignment_shows_the_form(override: str) -> None:
    message = complaint(lambda: load_recipe("sat", [override]))
    assert repr(override) in message
    assert "key=value" in message


@pytest.mark.parametrize("value", ["[1", "{a: ", "'", "*nothing", "\x07"])
def test_an_override_whose_value_is_no_yaml_says_so(value: str) -> None:
    message = complaint(lambda: load_recipe("sat", [f"title={value}"]))
    assert f"--set {f'title={value}'!r}" in message
    assert "not valid YAML" in message


def test_the_override_that_is_wrong_is_named_among_many_and_a_fault_of_the_file_is_not_blamed_on_it(
    tmp_path: Path,
) -> None:
    message = complaint(lambda: load_recipe("sat", ["schedule.epochs=0", "title=fine"]))
    assert "schedule.epochs=0" in message
    assert "title=fine" not in message
    path = file(tmp_path, "base: sat\nschedule: {epochs: -1}\n")
    assert "--set" not in complaint(lambda: load_recipe(path, ["title=fine"]))


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
    known = f"`nofrost recipes list` prints the {len(shipped_names(kind))} that are shipped"
    assert (known if kind == "recipe" else ", ".join(shipped_names(kind))) in message
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
        ("{sat: satt}", ("unknown recipe 'satt'", "did you mean 'sat'?")),
        ("{model: {base: sat, mode: x}}", ("'recipes.model.mode'", "did you mean 'model'?", "optimiser")),
        ("{model: {base: sat, model: {archh: x}}}", ("'recipes.model.model.archh'", "did you mean 'arch'?")),
    ],
)
def test_recipes_of_the_wrong_type_are_reported_with_the_study(
    recipes: str, words: tuple[str, ...], tmp_path: Path
) -> None:
    suites = "suites: {adversarial: adversarial-quick, ood: ood-quick}"
    path = file(tmp_path, f"name: s\ntitle: S\ndataset: {{}}\nrecipes: {recipes}\n{suites}\n")
    message = complaint(lambda: load_study(path))
    assert all(word in message for word in (str(path), *words))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("suites: [ood-quick]", ("suites", "['ood-quick'] is not a mapping", "adversarial, ood")),
        ("suites: {adversarial: [x]}", ("suites.adversarial: ['x'] is not a name",)),
        ("suites: {adversarial: adversarial-quik}", ("unknown suite", "did you mean 'adversarial-quick'?")),
        ("suites: {adversarial: ood-quick, ood: ood-quick}", ("suites.adversarial.kind", "got 'ood'")),
        ("suites: {adversarial: adversarial-quick}", ("key suites.ood is missing",)),
        ("scale: 3", ("scale: 3 is not a mapping",)),
        ("scale: {schedul: {epochs: 3}}", ("unknown key 'recipes.sat.schedul'", "did you mean 'schedule'?")),
    ],
)
def test_other_keys_of_the_wrong_type_are_reported_with_the_study(
    text: str, words: tuple[str, ...], tmp_path: Path
) -> None:
    both = "" if text.startswith("suites") else "\nsuites: {adversarial: adversarial-quick, ood: ood-quick}"
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
