"""The base of all results: reading and writing, proportions of images, and the record of how an output was made."""

import math
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, SerializerFunctionWrapHandler, ValidationError, model_serializer, model_validator

from nofrost.config.base import Schema, without_unset
from nofrost.config.validation import sentence
from nofrost.errors import UserError, shortened
from nofrost.files import read_json, write_json
from nofrost.statistics import wilson_interval


class Result(Schema):
    """Something that a stage measured. It is written by :func:`write_result` and read by :func:`read_result`.

    A key that is always written has no default, so that a renamed or missing key is an error wherever it is read.

    Attributes:
        last_keys: the keys that are written after all others.
        later_keys: the keys that are written only where there is something to write.
    """

    last_keys: ClassVar[tuple[str, ...]] = ()
    later_keys: ClassVar[tuple[str, ...]] = ()

    @model_serializer(mode="wrap")
    def _in_order(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values = without_unset(handler(self), self.later_keys)
        return {name: values[name] for name in sorted(values, key=self.last_keys.__contains__)}


R = TypeVar("R", bound=Result)


def write_result(path: Path, result: Result | Iterable[Result]) -> None:
    """Write a result, or a list of results, to `path` as JSON."""
    write_json(path, result.as_json() if isinstance(result, Result) else [each.as_json() for each in result])


def read_result(schema: type[R], path: Path) -> R:
    """Return the result in the file at `path`.

    Raises:
        UserError: the file is missing or holds something else; the sentence names file and key.
    """
    return validate_result(schema, read_json(path), path)


def read_results(schema: type[R], path: Path) -> tuple[R, ...]:
    """Return the list of results in the file at `path`; raises like :func:`read_result`."""
    values = read_json(path)
    if not isinstance(values, list):
        raise UserError(f"{path} is not a list: run the stage that wrote it again")
    return tuple(validate_result(schema, value, path) for value in values)


def validate_result(schema: type[R], value: Any, path: Path) -> R:
    """Return the content of the file at `path` as a result; raises like :func:`read_result`."""
    _refuse_large_numbers(value, path)
    try:
        return schema.model_validate(value)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        if fault["type"] == "missing":
            key = ".".join(map(str, fault["loc"]))
            raise UserError(f"{path}: key {key} is missing: run the stage that wrote it again") from None
        raise UserError(sentence(error, schema, str(path))) from None


def _refuse_large_numbers(value: Any, path: Path, key: str = "") -> None:
    """Refuse whole numbers that no computation takes: JSON and Python have no largest one."""
    if isinstance(value, int) and value.bit_length() > 63:
        raise UserError(f"{path}: {key} is {shortened(value)}, too large: run the stage that wrote it again")
    if isinstance(value, Mapping | list):
        for name, inner in value.items() if isinstance(value, Mapping) else enumerate(value):
            _refuse_large_numbers(inner, path, f"{key}.{name}" if key else str(name))


class Proportion(Result):
    """`correct` of `total` images, their share `accuracy` in [0, 1], and its 95 % Wilson interval (Wilson 1927)."""

    # A point of a curve starts with its position on the axis (steps, eps, severity), which the subclass adds.
    last_keys = ("correct", "total", "accuracy", "low", "high")

    correct: int = Field(ge=0)
    total: int = Field(ge=1, le=10**12)
    accuracy: float = Field(ge=0, le=1)
    low: float = Field(ge=0, le=1)
    high: float = Field(ge=0, le=1)

    @classmethod
    def of(cls, correct: int, total: int, **keys: Any) -> Self:
        """Return the proportion of an exact count; `keys` are those that a subclass adds."""
        low, high = wilson_interval(correct, total)
        return cls(correct=correct, total=total, accuracy=correct / total, low=low, high=high, **keys)

    @classmethod
    def of_flags(cls, flags: NDArray[np.bool_], **keys: Any) -> Self:
        """Return the proportion of true entries in flags [N]; `keys` are those that a subclass adds."""
        return cls.of(int(flags.sum()), len(flags), **keys)

    @property
    def interval(self) -> tuple[float, float]:
        """Lower and upper end of the Wilson interval, in [0, 1]."""
        return self.low, self.high

    @model_validator(mode="after")
    def _numbers_agree(self) -> Self:
        if not math.isclose(self.accuracy, self.correct / self.total, abs_tol=1e-9):
            raise ValueError(f"accuracy {self.accuracy} is not {self.correct} of {self.total}: evaluate again")
        if not self.low - 1e-9 <= self.accuracy <= self.high + 1e-9:
            raise ValueError(f"accuracy {self.accuracy} is outside {self.low} to {self.high}: evaluate again")
        return self


class Record(Result):
    """``record.json`` of every stage: how an output was made.

    It holds nothing that differs between two places doing the same work (no time, host name or absolute path), so that
    equal work gives equal bytes and DVC and Kubeflow agree on its content address.

    Args:
        stage: its name.
        nofrost: version of the code.
        config: the configuration, as JSON values.
        inputs: checksum by the name of each input.
        seeds: by name.
        libraries: those whose versions decide the result, with their versions.
    """

    stage: str
    nofrost: str
    config: dict[str, Any]
    inputs: dict[str, str]
    seeds: dict[str, int]
    libraries: dict[str, str]

    @classmethod
    def of(
        cls,
        stage: str,
        *,
        config: dict[str, Any],
        inputs: Mapping[str, str],
        seeds: Mapping[str, int],
        libraries: Iterable[str],
        **keys: Any,
    ) -> Self:
        """Return the record of an output of this code and the installed `libraries`; a subclass adds `keys`."""
        versions = {name: version(name) for name in libraries}
        return cls(
            stage=stage,
            nofrost=version("nofrost"),
            config=config,
            inputs=dict(inputs),
            seeds=dict(seeds),
            libraries=versions,
            **keys,
        )
