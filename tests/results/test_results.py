"""Results: what a file holds, that reading gives back what was written, and errors that name file and key."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

import nofrost
from nofrost import results
from nofrost.errors import UserError
from nofrost.results import (
    AttackUse,
    BatchNormStatistics,
    CorruptionAccuracy,
    Epoch,
    Proportion,
    Record,
    Result,
    SeverityPoint,
    StepsPoint,
    Timing,
    read_result,
    read_results,
    write_result,
)
from nofrost.statistics import wilson_interval

TIMING = Timing(seconds=1.5, images_per_second=100.0, data_wait=0.03, device="cpu")
EPOCH: dict[str, Any] = {
    "epoch": 1, "phase": "train", "loss": 2.0, "lr": 0.1, "eps": 0.03, "train_clean": 0.5, "train_augmented": None,
    "train_adversarial": None, "selection_clean": 0.6, "selection_attacked": None,
}  # fmt: skip


def test_a_proportion_is_a_count_its_share_and_its_wilson_interval() -> None:
    proportion = Proportion.of(5, 10)
    low, high = wilson_interval(5, 10)
    assert (proportion.accuracy, proportion.interval) == (0.5, (low, high))
    assert proportion == Proportion.of_flags(np.arange(10) < 5)
    assert list(proportion.as_json().items()) == [
        ("correct", 5), ("total", 10), ("accuracy", 0.5), ("low", low), ("high", high),
    ]  # fmt: skip


@pytest.mark.parametrize(("key", "value"), [("correct", 4), ("low", 0.6), ("high", 0.4), ("accuracy", 0.6)])
def test_a_proportion_whose_numbers_contradict_each_other_is_refused(key: str, value: float) -> None:
    with pytest.raises(ValidationError, match="evaluate again"):
        Proportion.model_validate({**Proportion.of(5, 10).as_json(), key: value})


def test_a_point_starts_with_its_place_on_the_axis_and_a_mean_ends_with_its_value() -> None:
    assert list(StepsPoint.of(5, 10, steps=20).as_json()) == ["steps", "correct", "total", "accuracy", "low", "high"]
    point = SeverityPoint.of(5, 10, severity=1)
    mean = CorruptionAccuracy(severities=(point,), mean_accuracy=0.5, mean_low=0.4, mean_high=0.6)
    assert list(mean.as_json()) == ["severities", "mean_accuracy", "mean_low", "mean_high"]


def test_an_attack_keeps_its_settings_as_they_were_written() -> None:
    use = {"name": "pgd", "steps": 20, "step_size": "4/255", "cumulative": False}
    assert AttackUse.model_validate(use).as_json() == use


def test_a_batch_norm_without_parameters_has_no_keys_for_them() -> None:
    layer = BatchNormStatistics(layer="bn1", branch="all", mean=(0.0, 0.5, 1.0), variance=(1.0, 2.0, 3.0))
    assert list(layer.as_json()) == ["layer", "branch", "mean", "variance"]


def test_what_was_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "train" / "timing.json"
    write_result(path, TIMING)
    assert read_result(Timing, path) == TIMING
    curves = [Epoch(**EPOCH), Epoch(**{**EPOCH, "epoch": 2, "train_deepaugment": 0.25})]
    write_result(path, curves)
    assert read_results(Epoch, path) == tuple(curves)
    assert json.loads(path.read_text())[1]["train_deepaugment"] == 0.25


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"seconds": 1.5, "device": "cpu"}, "key images_per_second is missing: run the stage that wrote it again"),
        ({**TIMING.as_json(), "second": 1}, "unknown key 'second': did you mean 'seconds'"),
        ({**TIMING.as_json(), "seconds": "long"}, "seconds: .*got 'long'"),
        ([TIMING.as_json()], "is not a mapping: its keys are data_wait, device, images_per_second, seconds"),
    ],
)
def test_a_file_of_another_form_is_an_error_that_names_file_and_key(content: Any, message: str, tmp_path: Path) -> None:
    path = tmp_path / "timing.json"
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=rf"timing\.json: .*{message}"):
        read_result(Timing, path)


def test_a_list_is_expected_where_one_is_read(tmp_path: Path) -> None:
    write_result(tmp_path / "curves.json", TIMING)
    with pytest.raises(UserError, match=r"curves\.json is not a list"):
        read_results(Epoch, tmp_path / "curves.json")


def test_an_epoch_has_further_keys_for_views_of_the_training_images_only() -> None:
    with pytest.raises(ValidationError, match="unknown key 'selection_other'"):
        Epoch(**EPOCH, selection_other=0.5)


def test_no_key_has_a_default_but_those_that_are_left_out_where_they_are_empty() -> None:
    schemas = [schema for schema in vars(results).values() if isinstance(schema, type) and issubclass(schema, Result)]
    assert len(schemas) > 30
    optional = [
        (schema.__name__, name)
        for schema in schemas
        for name, field in schema.model_fields.items()
        if not field.is_required() and name not in schema.later_keys
    ]
    assert optional == []


def test_a_record_says_how_an_output_was_made_but_not_where(tmp_path: Path) -> None:
    record = Record.of(
        "train", config={"a": 1}, inputs={"dataset": "f00"}, seeds={"seed": 3}, libraries=("numpy", "torch")
    )
    assert record.as_json() == {
        "stage": "train",
        "nofrost": nofrost.__version__,
        "config": {"a": 1},
        "inputs": {"dataset": "f00"},
        "seeds": {"seed": 3},
        "libraries": {"numpy": version("numpy"), "torch": version("torch")},
    }
    write_result(tmp_path / "record.json", record)
    assert read_result(Record, tmp_path / "record.json") == record
