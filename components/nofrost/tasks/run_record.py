"""What a run leaves in the store about itself: its record, its outputs if it is a part of a study, and its errors."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from nofrost.errors import UserError
from nofrost.store import MissingError, Store

# The keys of the outputs of a part: of the study, the second a list with one output for each ood suite, then two for
# each further dataset, which are the dataset and its augmentation; and lists for each recipe and seed, of their
# trainings and of their evaluations with each suite of a kind.
COMMON = ("dataset", "test_sets", "augmentation")
LISTS = ("trained", "adversarial", "ood")


@dataclass(frozen=True)
class RunRecord:
    """How a run ended.

    Attributes:
        run: its id.
        state: "succeeded" or "failed".
        error: in words; empty if it succeeded.
        errors: of its tasks, as JSON.
        kubeflow: how it ended in Kubeflow's words.
        ended: in UTC, in the form of ISO 8601.
    """

    run: str
    state: str
    error: str
    errors: list[dict[str, Any]]
    kubeflow: str
    ended: str


def record_name(run: str) -> str:
    """Return the name of the record of a run."""
    return f"nofrost/runs/{run}.json"


def outputs_name(run: str) -> str:
    """Return the name of the outputs of a run that is a part of a study."""
    return f"nofrost/runs/{run}/outputs.json"


def errors_prefix(run: str) -> str:
    """Return how the names of the errors of a run's tasks begin."""
    return f"nofrost/runs/{run}/errors/"


def json_bytes(content: Mapping[str, Any]) -> bytes:
    """Return what an object with this content holds: JSON that people can read as well."""
    return (json.dumps(content, indent=2) + "\n").encode()


def write_record(record: RunRecord, store: Store) -> None:
    """Write the record of a run."""
    store.put(record_name(record.run), json_bytes(asdict(record)))


def read_record(run: str, store: Store) -> RunRecord | None:
    """Return the record of a run; None if `finish` has not run, or something else has this name."""
    content = _content(record_name(run), store)
    return RunRecord(**content) if content is not None and content.keys() == RunRecord.__annotations__.keys() else None


def write_outputs(outputs: Mapping[str, Any], run: str, store: Store) -> None:
    """Write the outputs of a run that is a part of a study, with the keys COMMON and LISTS."""
    store.put(outputs_name(run), json_bytes(outputs))


def read_outputs(run: str, store: Store) -> dict[str, Any] | None:
    """Return the outputs of a run that is a part of a study; None if there are none, or a key or text is missing."""
    content = _content(outputs_name(run), store)
    if content is None or not content.keys() >= {*COMMON, *LISTS}:
        return None
    lists = ("test_sets", *LISTS)
    if not all(isinstance(content[key], list) for key in lists):
        return None
    texts = [content["dataset"], content["augmentation"], *(text for key in lists for text in content[key])]
    return {key: content[key] for key in (*COMMON, *LISTS)} if all(isinstance(text, str) for text in texts) else None


def _content(name: str, store: Store) -> dict[str, Any] | None:
    """Return the mapping in an object; None if there is no such object, or it has none."""
    try:
        content = json.loads(store.get(name))
    except MissingError:
        return None
    except UserError:
        raise
    # Of JSON, or of UTF-8.
    except ValueError:
        return None
    return content if isinstance(content, dict) else None
