"""A compiled pipeline in a file: its name, its version, and its arguments."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from google.protobuf import json_format
from kfp.pipeline_spec.pipeline_spec_pb2 import ParameterType, PipelineSpec

from nofrost.errors import UserError, shortened, unknown
from pipelines.submit.texts import texts_in

COMPILE = "write one with `python -m pipelines compile`"
SUFFIXES = (".yaml", ".yml")
KINDS: dict[str, tuple[str, tuple[type, ...]]] = {
    "STRING": ("text", (str,)),
    "NUMBER_INTEGER": ("an integer", (int,)),
    "NUMBER_DOUBLE": ("a number", (int, float)),
    "BOOLEAN": ("true or false", (bool,)),
    "LIST": ("a list", (list, tuple)),
    "STRUCT": ("a mapping", (dict,)),
}


@dataclass(frozen=True)
class CompiledPipeline:
    """A compiled pipeline.

    Attributes:
        name: of the pipeline.
        version: a name made from the content, so that equal files are one version.
        parameters: the type of each (a key of KINDS).
        required: parameters without a default.
    """

    path: Path
    name: str
    version: str
    parameters: Mapping[str, str]
    required: frozenset[str]

    def check(self, arguments: Mapping[str, Any]) -> None:
        """Raise UserError unless a run can be started with `arguments`."""
        for name, value in arguments.items():
            if name not in self.parameters:
                raise unknown("pipeline argument", name, self.parameters)
            description, types = KINDS[self.parameters[name]]
            if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
                raise UserError(f"pipeline argument {name} must be {description}, not {value!r}")
        missing = sorted(self.required - set(arguments))
        if missing:
            raise UserError(f"{self.path} needs a value for the pipeline argument {', '.join(missing)}")


def read_compiled(path: Path) -> CompiledPipeline:
    """Read a compiled pipeline.

    Raises:
        UserError: the file is missing or is not a compiled pipeline.
    """
    if path.suffix not in SUFFIXES:
        raise UserError(f"{path} is not a compiled pipeline, which ends in .yaml: {COMPILE}")
    try:
        content = path.read_bytes()
    except OSError:
        raise UserError(f"{path} cannot be read: {COMPILE}") from None
    try:
        documents = list(yaml.safe_load_all(content))
        spec = json_format.ParseDict(next(iter(documents)), PipelineSpec())
    except StopIteration:
        raise UserError(f"{path} is empty: {COMPILE}") from None
    except (yaml.YAMLError, UnicodeDecodeError, json_format.ParseError, AttributeError, TypeError):
        raise UserError(f"{path} is not a compiled pipeline: {COMPILE}") from None
    for text in texts_in(documents):
        if not text.isascii():
            raise UserError(
                f"{path} holds {shortened(text)}, which is not ASCII and which databases of Kubeflow refuse: use ASCII "
                "alone, in the cluster's settings as well"
            )
    if not spec.pipeline_info.name or not spec.root.dag.tasks:
        raise UserError(f"{path} is not a compiled pipeline, as it has no name or no tasks: {COMPILE}")
    parameters = spec.root.input_definitions.parameters
    kinds = {name: ParameterType.ParameterTypeEnum.Name(p.parameter_type) for name, p in parameters.items()}
    if not set(kinds.values()) <= set(KINDS):
        raise UserError(f"{path} has arguments of a type that runs cannot have: {COMPILE}")
    required = (n for n, p in parameters.items() if not p.is_optional and not p.HasField("default_value"))
    return CompiledPipeline(
        path=path,
        name=spec.pipeline_info.name,
        version=f"sha256-{hashlib.sha256(content).hexdigest()[:12]}",
        parameters=kinds,
        required=frozenset(required),
    )
