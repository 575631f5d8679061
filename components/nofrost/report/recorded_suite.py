"""Whether an evaluation was made with the settings of a suite: what its record says of it, beside the study."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from nofrost.config import Suite, TestSetSpec
from nofrost.config.base import dotted
from nofrost.errors import UserError, shortened

# On these no accuracy depends but for the last bits of a network's output.
WORDS_AND_BATCHES = ("title", "citation", "batch_size")


def check_recorded_suite(
    recorded: Mapping[str, Any], suite: Suite, folder: Path, ignored: Collection[str] = WORDS_AND_BATCHES
) -> None:
    """Check that an evaluation was made with the settings of a suite.

    Args:
        recorded: the suite in the record of the evaluation, as JSON values.
        folder: output of the evaluation, for the error.
        ignored: keys of the suite in which the two may differ.

    Raises:
        UserError: a setting differs; the message names the first one.
    """
    ours, theirs = _settings(suite.as_json()), _settings(_spelled_out(recorded, suite))
    for key in [*ours, *(key for key in theirs if key not in ours)]:
        actual, expected = theirs.get(key), ours.get(key)
        if actual != expected and key.partition(".")[0] not in ignored and not _is_place(key):
            raise UserError(f"{folder} has {key} {_word(actual)}, the study {_word(expected)}: evaluate this run again")


def _is_place(key: str) -> bool:
    """Return whether a key says where the images of a test set come from, and not what they are."""
    return key.startswith("test_sets.") and key.rpartition(".")[2] in TestSetSpec.of_place


def _spelled_out(recorded: Mapping[str, Any], suite: Suite) -> Mapping[str, Any]:
    """Return the recorded suite with the settings that it leaves at their defaults, as an earlier version may have."""
    try:
        return type(suite).model_validate(recorded).as_json()
    except ValidationError:
        return recorded


def _settings(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings by dotted keys; null and an empty mapping are none."""
    return {key: value for key, value in dotted(values) if value is not None and value != {}}


def _word(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, list) and all(isinstance(each, str | int | float) for each in value):
        return ", ".join(map(str, value)) or "none"
    return value if isinstance(value, str) else shortened(value)
