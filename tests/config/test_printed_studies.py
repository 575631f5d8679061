"""A study that names a printed table has the table's trainings as its recipes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from nofrost.config import Study, load_recipe, load_study
from nofrost.config.printed import load_printed, printed_names
from nofrost.errors import UserError

TRAINED = [name for name in printed_names() if any(load_printed(name).trainings())]


def study(folder: Path, printed: Any, **changes: Any) -> Study:
    values = {
        "name": "mine",
        "title": "mine",
        "printed": printed,
        "dataset": {"source": "digits", "image_size": 16},
        "augmentation": {"methods": ["deepaugment", "tda"]},
        "suites": load_study("digits").as_json()["suites"],
    }
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump(values | changes), encoding="utf-8")
    return load_study(path)


@pytest.mark.parametrize("name", TRAINED)
def test_every_training_of_a_table_is_a_recipe(name: str, tmp_path: Path) -> None:
    trainings = {run: (recipe, settings) for run, recipe, settings in load_printed(name).trainings()}
    found = study(tmp_path, name)
    assert list(found.recipes) == list(found.runs.recipe) == list(trainings)
    for run, (recipe, settings) in trainings.items():
        assert found.recipes[run] == load_recipe(recipe, [f"{key}={value}" for key, value in settings.items()])


def test_the_tables_of_a_study_share_their_rows(tmp_path: Path) -> None:
    found = study(tmp_path, ["zeise2025-table-1", "zeise2025-table-3"])
    assert len(found.recipes) < sum(len(list(load_printed(name).trainings())) for name in found.printed)


@pytest.mark.parametrize(
    ("tables", "row"),
    [
        (["wang2022-table-1", "wang2022-table-2"], "st"),
        (["zeise2025-table-1", "wang2022-table-1", "wang2022-table-2"], "st"),
        (["galloway2019-table-2", "galloway2019-table-3"], "vgg8"),
    ],
)
def test_tables_whose_rows_are_different_trainings_of_one_name_are_refused(
    tables: list[str], row: str, tmp_path: Path
) -> None:
    message = (
        rf"printed: row {row} of {tables[-1]} is another training than row {row} of {tables[-2]}: make a study for"
    )
    with pytest.raises(UserError, match=message) as error:
        study(tmp_path, tables)
    assert "\n" not in str(error.value)


def test_recipes_that_are_listed_may_not_stand_beside_two_trainings_either(tmp_path: Path) -> None:
    tables = ["wang2022-table-1", "wang2022-table-2"]
    with pytest.raises(UserError, match="row sat of wang2022-table-2 is another training"):
        study(tmp_path, tables, recipes=["sat", "nofrost"], gate=None)
    # Of figure 1 and table 2 only the rows of standard training have the same name.
    assert study(tmp_path, ["wang2022-figure-1", "wang2022-table-2"], recipes=["sat", "pgdat"])


def test_what_a_row_sets_is_scaled_down_too(tmp_path: Path) -> None:
    arch = {"cifar-resnet18": "cifar-resnet18-w8"}
    found = study(tmp_path, "zeise2025-table-7", scale={"model": {"arch": arch}, "schedule": {"epochs": 2}})
    assert {recipe.model.arch for recipe in found.recipes.values()} == {"cifar-resnet18-w8"}
    assert found.recipes["layer1-0-bn1"].phases["layer"].trainable == "layer:layer1.0.bn1"


def test_an_architecture_that_the_scale_lacks_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"mine.yaml: scale\.model\.arch has no value for 'cifar-resnet18', .* for resnet8"
    ):
        study(tmp_path, "zeise2025-table-1", scale={"model": {"arch": {"resnet8": "resnet8"}}})


def test_a_size_changes_the_recipe_of_a_row(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    study(tmp_path, "zeise2025-table-1", sizes={"tiny": {"recipes": {"all-n": {"optimiser": {"lr": 0.5}}}}})
    assert load_study(path, size="tiny").recipes["all-n"].optimiser.lr == 0.5
    assert load_study(path, size="paper").recipes["all-n"].optimiser.lr == 0.1


@pytest.mark.parametrize(
    ("printed", "expected"),
    [
        ([], "key recipes must list names of recipes"),
        ("zeise2025-table-9", "printed: unknown printed table or figure 'zeise2025-table-9': did you mean"),
        ("", "printed: unknown printed table or figure '': `nofrost study printed` lists"),
        (5, "printed: 5 does not name printed tables or figures: write the id of one"),
        ([5], r"printed: \[5\] does not name printed tables"),
        ({"a": "b"}, "printed: {'a': 'b'} does not name printed tables"),
        ("xie2020-figure-4", "printed: xie2020-figure-4 has no row that is trained, .*list some under recipes"),
    ],
)
def test_a_study_without_recipes_and_tables_says_what_to_write(printed: Any, expected: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"mine.yaml: {expected}"):
        study(tmp_path, printed)


def test_the_first_example_of_the_docs_is_whole(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "printed.md").read_text(encoding="utf-8")
    path = tmp_path / "mine.yaml"
    path.write_text(text.split("```yaml\n")[1].split("```")[0], encoding="utf-8")
    assert load_study(path).size == "paper"
    assert load_study(path, size="small").dataset.limit == 600


class TestStarts:
    """What rows start from, where it is no row of the table."""

    def test_they_are_trained_after_the_rows_and_scaled_like_them(self, tmp_path: Path) -> None:
        starts = {"all-n": {"base": "zeise2025-all-n", "optimiser": {"lr": 0.2}, "schedule": {"epochs": 9}}}
        found = study(tmp_path, "zeise2025-table-6", starts=starts, scale={"schedule": {"epochs": 2}})
        assert found.runs.recipe == ("all-n-bn-a", "all-n-bn-a-statistics", "all-n-bn-a-fine-tuned", "all-n")
        assert (found.recipes["all-n"].optimiser.lr, found.recipes["all-n"].schedule.epochs) == (0.2, 2)

    def test_a_row_stands_for_the_start_of_its_name(self, tmp_path: Path) -> None:
        assert study(tmp_path, "zeise2025-table-1", starts={"all-n": "zeise2025-all-a"}) == study(
            tmp_path, "zeise2025-table-1"
        )

    @pytest.mark.parametrize(
        ("changes", "expected"),
        [
            ({"starts": ["all-n"]}, "starts: .*all-n.* is not a mapping: write names and recipes"),
            ({"starts": {"all-n": "zeise2025-all"}}, "mine.yaml: starts.all-n: unknown recipe 'zeise2025-all'"),
            ({"starts": {"all-n": None}}, "mine.yaml: starts.all-n is null: write a recipe, .* or starts: null for"),
            ({"starts": {"all-n": 3}}, "mine.yaml: starts.all-n: 3 is not a name, a path or a mapping"),
            (
                {"starts": {"all-n": "zeise2025-all-n"}, "recipes": {"all-n-bn-a": "zeise2025-all-n-bn-a"}},
                "starts stands",
            ),
        ],
    )
    def test_what_does_not_fit_is_refused(self, changes: dict[str, Any], expected: str, tmp_path: Path) -> None:
        with pytest.raises(UserError, match=expected) as error:
            study(tmp_path, "zeise2025-table-6", **changes)
        assert "\n" not in str(error.value)


class TestBase:
    """A study on another one has the rows of its own table."""

    @pytest.fixture
    def further(self, tmp_path: Path) -> Path:
        tiny = {"recipes": {"all-n": {"optimiser": {"lr": 0.5}}, "all-n-bn-a": {"title": "t"}}, "note": "Tiny."}
        changes = {"runs": {"recipe": ["all-n"], "seed": [0, 1]}, "note": "Table 1.", "sizes": {"tiny": tiny}}
        study(
            tmp_path,
            "zeise2025-table-1",
            recipes={"all-n": "zeise2025-all-n", "all-n-bn-a": "zeise2025-all-n-bn-a"},
            **changes,
        )
        path = tmp_path / "further.yaml"
        path.write_text("base: mine.yaml\nprinted: zeise2025-table-6\n", encoding="utf-8")
        return path

    def test_recipes_of_the_base_do_not_come_along_and_changes_of_shared_rows_do(self, further: Path) -> None:
        found = load_study(further, size="tiny")
        assert found.runs.recipe == ("all-n-bn-a", "all-n-bn-a-statistics", "all-n-bn-a-fine-tuned")
        assert found.runs.seed == (0, 1)
        assert found.recipes["all-n-bn-a"].title == "t"

    def test_a_change_of_its_own_names_a_row(self, further: Path) -> None:
        further.write_text(further.read_text() + "sizes: {tiny: {recipes: {all-n: {title: t}}}}\n", encoding="utf-8")
        with pytest.raises(UserError, match=r"unknown name in .*sizes\.tiny\.recipes: 'all-n'"):
            load_study(further, size="tiny")

    def test_one_that_lists_recipes_has_no_starts_of_the_base(self, tmp_path: Path) -> None:
        study(tmp_path, "zeise2025-table-6", starts={"all-n": "zeise2025-all-n"})
        path = tmp_path / "further.yaml"
        path.write_text("base: mine.yaml\nrecipes: {all-n-bn-a: zeise2025-all-n-bn-a}\n", encoding="utf-8")
        assert list(load_study(path).recipes) == ["all-n-bn-a"]
        path.write_text("base: mine.yaml\nrecipes: [st]\n", encoding="utf-8")
        with pytest.raises(UserError, match=r"zeise2025-table-6 has no row .*printed: \[\] leaves out that of a base"):
            load_study(path)

    def test_the_note_of_a_size_follows_that_of_the_study(self, further: Path) -> None:
        assert load_study(further, size="tiny").note == "Table 1. Tiny."
        assert load_study(further).note == "Table 1."
