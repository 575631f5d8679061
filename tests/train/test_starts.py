"""A training starts from another that has done its first phases, and ends with the bits that it would have had."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from nofrost import train
from nofrost.config import Recipe, load_recipe
from nofrost.errors import UserError
from nofrost.results import TrainMetrics
from nofrost.train.starts import find_starts, read_start, start_phases

NATURAL: dict[str, Any] = {
    "title": "Tiny",
    "citation": "own",
    "model": {"arch": "resnet8", "normaliser": "bn"},
    "objective": {"name": "st"},
    "attack": {"name": "pgd", "steps": 1, "keep": "last"},
    "schedule": {"epochs": 2, "batch_size": 40},
    "selection": {"attack": {"name": "pgd", "steps": 1}},
}
ROBUST = {"objective": {"name": "pgdat"}, "trainable": "two-per-channel", "schedule": {"epochs": 1, "batch_size": 40}}
BOTH = {**NATURAL, "phases": {"natural": {}, "robust": ROBUST}}
FILES = ("best.safetensors", "last.safetensors", "best.json", "curves.json", "curves.csv", "metrics.json")


def trained(digits: Path, out: Path, values: dict[str, Any], seed: int = 0, start: Path | None = None) -> TrainMetrics:
    return train.run(digits, None, Recipe.model_validate(values), "tiny", seed, out, start=start)


@pytest.fixture(scope="module")
def natural(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of a training of the first phase alone."""
    out = tmp_path_factory.mktemp("natural") / "train"
    trained(digits, out, NATURAL)
    return out


def test_the_first_phase_of_another_training_need_not_be_trained_again(
    digits: Path, natural: Path, tmp_path: Path
) -> None:
    trained(digits, tmp_path / "whole", BOTH)
    trained(digits, tmp_path / "rest", BOTH, start=natural)
    for name in FILES:
        assert (tmp_path / "rest" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    whole, rest = (json.loads((tmp_path / out / "record.json").read_text()) for out in ("whole", "rest"))
    assert rest["inputs"].pop("start") == json.loads((natural / "last.json").read_text())["sha256"]
    assert rest == whole


def test_a_training_that_has_started_from_another_is_itself_a_start(
    digits: Path, natural: Path, tmp_path: Path
) -> None:
    last = {"schedule": {"epochs": 1, "batch_size": 100}}
    three = {**NATURAL, "phases": {"natural": {}, "robust": ROBUST, "last": last}}
    trained(digits, tmp_path / "two", BOTH, start=natural)
    trained(digits, tmp_path / "three", three, start=tmp_path / "two")
    trained(digits, tmp_path / "whole", three)
    for name in FILES:
        assert (tmp_path / "three" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


@pytest.mark.parametrize(
    ("values", "seed", "message"),
    [
        ({**BOTH, "optimiser": {"lr": 0.2}}, 0, "was not trained as the first phases of this recipe are"),
        (NATURAL, 0, "was not trained as the first phases of this recipe are"),
        (BOTH, 1, "was trained with seed 0, and this training has 1"),
    ],
)
def test_a_start_that_is_not_the_beginning_of_the_training_is_refused(
    values: dict[str, Any], seed: int, message: str, digits: Path, natural: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=f"{message}.*train it again, or leave out --start .`nofrost study plan` says"):
        trained(digits, tmp_path / "out", values, seed, natural)
    assert not (tmp_path / "out").exists()


def test_a_start_with_damaged_weights_is_refused(digits: Path, natural: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    for file in natural.iterdir():
        (damaged / file.name).write_bytes(file.read_bytes())
    weights = bytearray((damaged / "last.safetensors").read_bytes())
    weights[-1] ^= 1
    (damaged / "last.safetensors").write_bytes(weights)
    with pytest.raises(UserError, match=r"last\.safetensors is damaged"):
        trained(digits, tmp_path / "out", BOTH, start=damaged)


def test_a_start_from_another_dataset_is_refused(digits: Path, natural: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for file in natural.iterdir():
        (other / file.name).write_bytes(file.read_bytes())
    record = json.loads((other / "record.json").read_text())
    record["inputs"]["dataset"] = "0" * 64
    (other / "record.json").write_text(json.dumps(record))
    with pytest.raises(UserError, match="was trained from another dataset"):
        trained(digits, tmp_path / "out", BOTH, start=other)


def made_by(natural: Path, folder: Path, processes: int = 1, device: str = "cpu", **libraries: str) -> Path:
    """Return a copy of a training whose record says that it was made otherwise."""
    shutil.copytree(natural, folder)
    record = json.loads((natural / "record.json").read_text())
    for step in record["steps"].values():
        step["world_size"] = processes
    changed = {**record, "device": device, "libraries": {**record["libraries"], **libraries}}
    (folder / "record.json").write_text(json.dumps(changed))
    return folder


@pytest.mark.parametrize(
    ("changes", "decoders", "note"),
    [
        ({}, (), None),
        ({}, ("torch",), None),
        ({"processes": 2}, (), "(processes 2, here 1)"),
        ({"device": "cuda"}, (), "(device cuda, here cpu)"),
        ({"torch": "1.0"}, (), "(torch 1.0, here "),
        ({"gone": "1.0"}, (), "(gone 1.0, here none)"),
        ({}, ("pytest",), f"(pytest none, here {pytest.__version__})"),
        ({"processes": 2, "device": "cuda"}, (), "(processes 2, here 1; device cuda, here cpu)"),
    ],
)
def test_it_is_said_what_a_start_was_made_with_otherwise(
    changes: dict[str, Any], decoders: tuple[str, ...], note: str | None, natural: Path, tmp_path: Path
) -> None:
    inputs = json.loads((natural / "record.json").read_text())["inputs"]
    first = made_by(natural, tmp_path / "first", **changes)
    said = read_start(first, Recipe.model_validate(BOTH), 0, inputs, None).made_otherwise(1, "cpu", decoders)
    assert said is None if note is None else f"from {first}, which was made otherwise {note}" in str(said)


def test_a_start_of_two_processes_is_noted_and_gone_on_from(
    digits: Path, natural: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trained(digits, tmp_path / "out", BOTH, start=made_by(natural, tmp_path / "first", processes=2))
    assert "which was made otherwise (processes 2, here 1): with the same images" in capsys.readouterr().err


def recipe(**changes: Any) -> Recipe:
    return Recipe.model_validate({**NATURAL, **changes})


def test_recipes_of_zeise2025_start_from_the_training_of_all_layers() -> None:
    names = [f"zeise2025-{name}" for name in ("all-a", "all-n", "all-n-bn-a", "all-a-bn-n", "all-n-rest-a")]
    recipes = {name: load_recipe(name) for name in names}
    assert find_starts(recipes, [names]) == {
        "zeise2025-all-n-bn-a": "zeise2025-all-n",
        "zeise2025-all-a-bn-n": "zeise2025-all-a",
        "zeise2025-all-n-rest-a": "zeise2025-all-n",
    }


def test_the_longest_beginning_is_taken() -> None:
    recipes = {
        "three": recipe(phases={"natural": {}, "robust": ROBUST, "last": {}}),
        "one": recipe(),
        "two": recipe(phases={"natural": {}, "robust": ROBUST}),
    }
    assert find_starts(recipes, [list(recipes)]) == {"three": "two", "two": "one"}
    assert find_starts(recipes, [["three", "one"]]) == {"three": "one"}


@pytest.mark.parametrize(
    ("mine", "other"),
    [
        ({}, {}),
        ({}, {"optimiser": {"lr": 0.2}}),
        ({}, {"model": {"arch": "resnet14"}}),
        ({"selection": {"guard": 0.2}}, {"selection": {"guard": 0.2}}),
        ({"optimiser": {"averaging": {"decay": 0.9}}}, {"optimiser": {"averaging": {"decay": 0.9}}}),
    ],
    ids=["the-same", "another-rate", "another-model", "a-guard", "an-average"],
)
def test_what_is_no_beginning_is_no_start(mine: dict[str, Any], other: dict[str, Any]) -> None:
    phases = {} if not mine and not other else {"natural": {}, "robust": ROBUST}
    assert start_phases(recipe(**mine, phases=phases), recipe(**other)) == 0


def test_a_phase_that_draws_what_it_trains_is_the_same_only_under_its_name() -> None:
    drawn = {"trainable": "two-per-channel"}
    two = recipe(phases={"first": drawn, "second": ROBUST})
    assert start_phases(two, recipe(phases={"first": drawn})) == 1
    assert start_phases(two, recipe(phases={"other": drawn})) == 0
