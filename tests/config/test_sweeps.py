"""A study's sweep: the recipes it makes, their places, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from nofrost.config import Study, as_yaml, load_study, parse_study, study_as_yaml
from nofrost.config.sweeps import coordinate
from tests.config.complaints import complaint

ARCH = {"key": "model.arch", "values": {"8": "resnet8", "14": "resnet14"}}
BATCH = {"key": "schedule.batch_size", "values": [16, 64]}


def path(folder: Path, **changes: Any) -> Path:
    """Write a study of two recipes that are swept over depth and batch size, with these keys instead."""
    values = {
        "name": "mine",
        "title": "mine",
        "dataset": {"source": "digits", "image_size": 16},
        "recipes": ["st", "sat"],
        "sweep": {"depth": ARCH, "batch": BATCH},
        "suites": load_study("digits").as_json()["suites"],
        "gate": None,
    }
    file = folder / "mine.yaml"
    file.write_text(as_yaml(values | changes), encoding="utf-8")
    return file


def study(folder: Path, size: str | None = None, **changes: Any) -> Study:
    return load_study(path(folder, **changes), size=size)


def settings(found: Study) -> dict[str, tuple[str, Any]]:
    return {name: (recipe.model.arch, recipe.schedule.batch_size) for name, recipe in found.recipes.items()}


def test_every_recipe_is_made_at_every_place(tmp_path: Path) -> None:
    found = study(tmp_path, scale={"schedule": {"epochs": 2, "batch_size": 32}})
    assert settings(found) == {
        f"{row}-depth-{depth}-batch-{batch}": (f"resnet{depth}", batch)
        for row in ("st", "sat")
        for depth in (8, 14)
        for batch in (16, 64)
    }
    assert found.runs.recipe == tuple(found.recipes) == tuple(found.places)
    assert {recipe.schedule.epochs for recipe in found.recipes.values()} == {2}
    place = found.places["sat-depth-14-batch-16"]
    assert (place.row, place.at) == ("sat", {"depth": 14, "batch": 16})
    assert found.rows == ("st", "sat")


def test_spelled_out_a_study_keeps_its_places_and_has_no_sweep(tmp_path: Path) -> None:
    found = study(tmp_path)
    assert parse_study(study_as_yaml(found)) == found
    assert "sweep" not in found.as_json()
    assert "places" not in load_study("digits").as_json()


def test_rows_of_a_printed_table_are_swept_and_still_fit_it(tmp_path: Path) -> None:
    values = yaml.safe_load(path(tmp_path, printed="galloway2019-figure-2").read_text(encoding="utf-8"))
    del values["recipes"]
    depths = {"key": "model.arch", "values": {"2": "mlp-2-8", "3": "mlp-3-8"}}
    (tmp_path / "mine.yaml").write_text(as_yaml(values | {"sweep": {"depth": depths}}), encoding="utf-8")
    found = load_study(tmp_path / "mine.yaml")
    assert list(found.recipes) == ["bn-depth-2", "bn-depth-3", "none-depth-2", "none-depth-3"]
    assert {recipe.optimiser.lr_per for recipe in found.recipes.values()} == {1}


def test_an_axis_of_some_recipes_leaves_the_others_as_they_are(tmp_path: Path) -> None:
    found = study(tmp_path, sweep={"batch": BATCH | {"recipes": ["sat"]}})
    assert found.runs.recipe == ("st", "sat-batch-16", "sat-batch-64")
    assert set(found.places) == {"sat-batch-16", "sat-batch-64"}


def test_a_value_may_set_several_keys(tmp_path: Path) -> None:
    values = {"slow": {"optimiser.lr": 0.1, "schedule.epochs": 20}, "fast": {"optimiser.lr": 0.2, "schedule.epochs": 5}}
    found = study(tmp_path, sweep={"course": {"values": values}}, recipes=["st"])
    assert {name: (each.optimiser.lr, each.schedule.epochs) for name, each in found.recipes.items()} == {
        "st-course-slow": (0.1, 20),
        "st-course-fast": (0.2, 5),
    }


def test_a_row_in_runs_stands_for_its_places(tmp_path: Path) -> None:
    assert study(tmp_path, sweep={"batch": BATCH}, runs={"recipe": ["sat", "st-batch-64"]}).runs.recipe == (
        "sat-batch-16",
        "sat-batch-64",
        "st-batch-64",
    )


def test_a_size_replaces_the_values_of_an_axis_and_null_takes_one_away(tmp_path: Path) -> None:
    sizes = {"tiny": {"sweep": {"depth": {"values": {"20": "resnet20"}}, "batch": None}}}
    assert settings(study(tmp_path, "tiny", sizes=sizes)) == {
        "st-depth-20": ("resnet20", 256),
        "sat-depth-20": ("resnet20", 256),
    }


def test_a_study_replaces_the_values_of_an_axis_of_its_base(tmp_path: Path) -> None:
    base = path(tmp_path)
    further = tmp_path / "further.yaml"
    sweep = {"depth": {"values": {"20": "resnet20"}}, "batch": {"recipes": ["st"]}}
    further.write_text(as_yaml({"base": base.name, "sweep": sweep}), encoding="utf-8")
    assert list(load_study(further).recipes) == ["st-depth-20-batch-16", "st-depth-20-batch-64", "sat-depth-20"]


@pytest.mark.parametrize(
    ("label", "expected"),
    [("5", 5), ("-3", -3), ("0.001", 0.001), ("1e-3", 0.001), ("08", 8.0), ("8/255", "8/255"), ("layer:bn1",) * 2],
)
def test_a_label_that_is_a_number_is_one(label: str, expected: float | str) -> None:
    assert coordinate(label) == expected


def test_a_recipe_s_name_has_no_other_characters_than_names_have(tmp_path: Path) -> None:
    axis = {"key": "optimiser.lr", "values": {"0.05": 0.05, "1e-3": 1e-3}}
    found = study(tmp_path, sweep={"rate": axis}, recipes=["st"])
    assert {name: place.at for name, place in found.places.items()} == {
        "st-rate-0-05": {"rate": 0.05},
        "st-rate-1e-3": {"rate": 0.001},
    }


PHASES = {"all-n-bn-a": "zeise2025-all-n-bn-a"}
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no axes": ({"sweep": {}}, "sweep: {} is no mapping of axes"),
    "no mapping": ({"sweep": [1]}, "sweep: [1] is no mapping of axes: write such as batch:"),
    "no axis": ({"sweep": {"depth": 5}}, "sweep.depth: 5 is no axis"),
    "name": ({"sweep": {"my axis": BATCH}}, "'my axis' cannot be a name"),
    "no values": ({"sweep": {"batch": {"key": "schedule.batch_size"}}}, "sweep.batch: key values is missing"),
    "empty values": ({"sweep": {"batch": BATCH | {"values": []}}}, "sweep.batch: values: [] names no value: write a"),
    "null values": ({"sweep": {"batch": BATCH | {"values": None}}}, "values: None names no value: write a list, such"),
    "one value": ({"sweep": {"batch": BATCH | {"values": 5}}}, "values: 5 names no value: write a list, such as"),
    "no recipe": ({"sweep": {"batch": BATCH}, "runs": {"recipe": [["st"]]}}, "runs.recipe.0: input should be a valid"),
    "no labels": ({"sweep": {"batch": BATCH | {"values": [[1]]}}}, "[1] has no label: map labels to values"),
    "twice": ({"sweep": {"batch": BATCH | {"values": [16, 16]}}}, "'16' stands twice"),
    "twice as a number": ({"sweep": {"b": BATCH | {"values": {"1e-3": 1, "0.001": 2}}}}, "values has 0.001 twice"),
    "label": ({"sweep": {"batch": BATCH | {"values": {"ß": 1}}}}, "'ß' cannot stand on an axis"),
    "no key": ({"sweep": {"batch": {"values": [16]}}}, "sweep.batch: key is missing: name what of a recipe it sets"),
    "unknown key": (
        {"sweep": {"batch": BATCH | {"key": "schedule.batch_sise"}}},
        "sweep.batch: unknown key 'schedule.batch_sise': did you mean 'batch_size'?",
    ),
    "unknown section": ({"sweep": {"batch": BATCH | {"key": "shedule.batch_size"}}}, "did you mean 'schedule'?"),
    "too deep": ({"sweep": {"a": {"key": "model.arch.depth", "values": [8]}}}, "model.arch has no keys"),
    "key of an axis": ({"sweep": {"batch": BATCH | {"keys": "a"}}}, "unknown key 'keys': did you mean 'key'?"),
    "wrong value": ({"sweep": {"batch": BATCH | {"values": [0]}}}, "recipes.st-batch-0.schedule.batch_size"),
    "unknown recipe": ({"sweep": {"batch": BATCH | {"recipes": ["sta"]}}}, "recipe in"),
    "one name": (
        {"sweep": {"batch": BATCH | {"recipes": ["st"]}}, "recipes": {"st": "st", "st-batch-16": "st"}},
        "two recipes are called st-batch-16: give one of them another name",
    ),
    "too many": (
        {"sweep": {"batch": BATCH | {"values": list(range(1, 152))}}},
        "sweep makes 302 recipes: name fewer values, at most 300 in one study",
    ),
    "no such phase": (
        {"recipes": PHASES, "sweep": {"batch": BATCH | {"key": "phases.bn-b.schedule.batch_size"}}},
        "unknown phase of recipe all-n-bn-a in",
    ),
    "nothing swept": (
        {
            "recipes": {"two": {"base": "st", "phases": {"a": {"schedule": {"batch_size": 8}}}}},
            "sweep": {"batch": BATCH},
        },
        "two-batch-16 and two-batch-64 are one training: phases of two have keys of their own",
    ),
    "size": ({"sizes": {"tiny": {"sweep": {"width": BATCH}}}}, "unknown axis in"),
    "size of no axes": ({"sweep": [1], "sizes": {"tiny": {"sweep": {"a": None}}}}, "sweep: [1] is no mapping of axes"),
    "size without": ({"sizes": {"tiny": {"sweep": 3}}}, "sizes.tiny.sweep: 3 is not a mapping"),
    "place of no recipe": (
        {"sweep": None, "places": {"sta": {"row": "st", "at": {"a": 1}}}},
        "unknown recipe in places 'sta': did you mean 'st'?",
    ),
    "place on no axis": ({"sweep": None, "places": {"st": {"row": "st", "at": {}}}}, "places.st.at"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_sweep_is_refused_in_a_sentence(case: str, tmp_path: Path) -> None:
    changes, expected = WRONG[case]
    message = complaint(lambda: study(tmp_path, "tiny" if "sizes" in changes else None, **changes))
    assert expected in message
    assert "mine.yaml" in message


def test_a_sweep_is_not_overridden_in_a_study_spelled_out(tmp_path: Path) -> None:
    message = complaint(lambda: load_study(path(tmp_path), ["sweep.batch.values=[8]"]))
    assert "has the recipes of its sweep instead: change the sweep in a file whose base is the study" in message
