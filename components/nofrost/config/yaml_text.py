"""YAML that every reader takes for the same: files of the user, and what is written for `dvc repro`.

DVC reads params.yaml as YAML 1.2 and writes it so (`dvc exp run -S`); PyYAML reads YAML 1.1, where ``no`` is false,
``012`` is ten and ``1:30`` is ninety. Here text is read as DVC reads it, what DVC cannot use or other readers take for
another number is refused, and what is written is quoted wherever one of the two versions would not take it for text.
"""

import re
from collections.abc import Hashable
from typing import Any, cast

import yaml
from yaml.error import Mark
from yaml.events import AliasEvent, CollectionStartEvent, Event, ScalarEvent

from nofrost.errors import UserError, shortened

# A study of all shipped recipes, spelled out, has a tenth of this.
MOST_CHARACTERS = 1_000_000
_MOST_NODES = 100_000
_MOST_LEVELS = 40
# Whole numbers of more than 64 bits are exact in few readers, and no setting needs them.
_MOST_INTEGER = 2**63 - 1
_SHOWN = 200  # most characters of a parser's reason in a message

_TAG = "tag:yaml.org,2002:"
_TEXT, _MERGE = f"{_TAG}str", f"{_TAG}merge"
# What ruamel.yaml, by which DVC reads, takes plain words of YAML 1.2 for.
_YAML_1_2 = {
    "bool": (r"true|True|TRUE|false|False|FALSE", "tTfF"),
    "float": (
        r"[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?|[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+"
        r"|[-+]?\.[0-9_]+(?:[eE][-+][0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        "-+0123456789.",
    ),
    "int": (r"[-+]?0b[01_]+|[-+]?0o?[0-7_]+|[-+]?[0-9_]+|[-+]?0x[0-9a-fA-F_]+", "-+0123456789"),
    "merge": (r"<<", "<"),
    "null": (r"~|null|Null|NULL|", ("~", "n", "N", "")),
    "timestamp": (
        r"[0-9]{4}-[0-9]{2}-[0-9]{2}|[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:[Tt]|[ \t]+)[0-9]{1,2}:[0-9]{2}:[0-9]{2}"
        r"(?:\.[0-9]*)?(?:[ \t]*(?:Z|[-+][0-9]{1,2}(?::[0-9]{2})?))?",
        "0123456789",
    ),
    "value": (r"=", "="),
}
_LEADING_ZERO = re.compile(r"([-+]?)0[0_]*([0-9][0-9_]*)")
_BASES = {"0b": 2, "0o": 8, "0x": 16}


def parse(text: str, origin: str) -> dict[str, Any]:
    """Return the mapping that the YAML `text` holds; `origin` is its file.

    Raises:
        UserError: as in :func:`parse_value`, or it holds something else.
    """
    values = parse_value(text, origin)
    if not isinstance(values, dict):
        raise UserError(f"{origin} holds no keys: write a mapping such as `title: ...`")
    return values


def parse_value(text: str, origin: str) -> Any:
    """Return what the YAML `text` holds: null, truth values, numbers, text, lists, and mappings with text as keys.

    Raises:
        UserError: it is not YAML, is too large (aliases count as what they repeat), names a key twice or by anything
            but text, or contains a word that readers of YAML do not agree on.
    """
    if len(text) > MOST_CHARACTERS:
        raise UserError(f"{origin} has more than {MOST_CHARACTERS:,} characters: no configuration needs so many")
    try:
        return yaml.load(text, _Loader)
    except _RefusedError as error:
        raise UserError(f"{origin}: {_reason(error)}") from None
    except yaml.YAMLError as error:
        raise UserError(f"{origin} is not valid YAML: {_reason(error)}") from None


def check_size(text: str, origin: str) -> None:
    """Check that aliases in the YAML `text` do not make far more of it, before another library reads it.

    Raises:
        UserError: it has more values or levels than :func:`parse_value` takes, repeated ones included.
    """
    if "*" not in text:
        return
    try:
        yaml.compose(text, _Loader)
    except _RefusedError as error:
        raise UserError(f"{origin}: {_reason(error)}") from None
    except (yaml.YAMLError, RecursionError):
        # The other library says what is wrong in its own words.
        return


def as_yaml(values: Any) -> str:
    """Return `values` (of JSON) as YAML in which all text is text to readers of YAML 1.1 and 1.2."""
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False, width=110, allow_unicode=True)


class _Loader(yaml.SafeLoader):
    """YAML's safe loader for YAML 1.2, with limits that hold before memory is taken."""

    yaml_implicit_resolvers = {}  # noqa: RUF012  as PyYAML declares it
    yaml_constructors = {}  # noqa: RUF012

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._nodes = self._levels = 0
        self._sizes: dict[str, int] = {}

    def compose_document(self) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if getattr(event, "version", None) not in (None, (1, 2)):
            raise _fault("the line %YAML asks for another version than 1.2: delete it", event)
        return super().compose_document()

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        before = self._nodes
        self._levels += 1
        self._nodes += self._size_of_alias(event) if isinstance(event, AliasEvent) else 1
        if self._nodes > _MOST_NODES:
            raise _fault(f"more than {_MOST_NODES:,} values, repeated ones included: make it smaller", event)
        if self._levels > _MOST_LEVELS:
            raise _fault(f"more than {_MOST_LEVELS} levels inside one another: take some out", event)
        self._check_tag(event)
        self._check_anchor(event)
        node: yaml.Node | None = super().compose_node(parent, index)
        self._levels -= 1
        if anchor := getattr(event, "anchor", None):
            self._sizes[anchor] = self._nodes - before
        return node

    def _size_of_alias(self, event: AliasEvent) -> int:
        if event.anchor in self.anchors and event.anchor not in self._sizes:
            raise _fault(f"*{event.anchor} stands inside what it names: take it out", event)
        return self._sizes.get(event.anchor or "", 0)

    @staticmethod
    def _check_tag(event: Event) -> None:
        tag = getattr(event, "tag", None)
        allowed = {ScalarEvent: _TEXT, yaml.SequenceStartEvent: f"{_TAG}seq", yaml.MappingStartEvent: f"{_TAG}map"}
        if isinstance(event, ScalarEvent | CollectionStartEvent) and tag not in (None, allowed[type(event)]):
            raise _fault(f"the tag {tag} is not for configurations: delete it", event)

    def _check_anchor(self, event: Event) -> None:
        anchor = getattr(event, "anchor", None)
        if anchor in self.anchors and not isinstance(event, AliasEvent):
            raise _fault(f"the anchor &{anchor} comes twice: give each a name of its own", event)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag not in (_TEXT, _MERGE):
                shown = shortened(key.value) if isinstance(key, yaml.ScalarNode) else "a list or mapping"
                raise _fault(f"the key {shown} is not text to YAML: put it in quotes", key)
            if key.value in keys:
                raise _fault(f"key {shortened(key.value)} comes twice: keep one", key)
            keys.add(key.value)
        return super().construct_mapping(node, deep)

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        for key, value in node.value:
            parts = value.value if isinstance(value, yaml.SequenceNode) else [value]
            if key.tag == _MERGE and not all(isinstance(part, yaml.MappingNode) for part in parts):
                raise _fault("the key << stands for the keys of a mapping: write one after it, such as *name", key)
        super().flatten_mapping(node)


class _RefusedError(yaml.MarkedYAMLError):
    """YAML that is valid, and not for a configuration."""


def _fault(problem: str, place: Event | yaml.Node) -> _RefusedError:
    return _RefusedError(problem=problem, problem_mark=cast(Mark | None, place.start_mark))


def _in_quotes(node: yaml.ScalarNode, what: str) -> _RefusedError:
    return _fault(f"{node.value} is {what} to YAML, which no setting is: write '{node.value}' in quotes for text", node)


def _null(loader: _Loader, node: yaml.ScalarNode) -> None:
    return None


def _truth(loader: _Loader, node: yaml.ScalarNode) -> bool:
    return str(node.value).lower() == "true"


def _text(loader: _Loader, node: yaml.ScalarNode) -> str:
    text: str = loader.construct_scalar(node)
    if re.search(r"[\ud800-\udfff]", text):
        raise _fault("text contains half of a character (a surrogate), which no file can hold: replace it", node)
    return text


def _integer(loader: _Loader, node: yaml.ScalarNode) -> int:
    if zero := _LEADING_ZERO.fullmatch(node.value):
        meant = "".join(zero.groups())
        raise _fault(f"{node.value} is not the same number everywhere: write {meant}, or '{node.value}' for text", node)
    digits = node.value.replace("_", "").lower()
    sign = -1 if digits.startswith("-") else 1
    digits = digits.lstrip("+-")
    # before a conversion that takes time in the square of the length
    if len(digits) <= 80:
        base = _BASES.get(digits[:2], 10)
        if not (text := digits if base == 10 else digits[2:]):
            raise _fault(f"{node.value} is not a number: write digits, or quotes for text", node)
        if (value := int(text, base)) <= _MOST_INTEGER:
            return sign * value
    raise _fault(
        f"the number {node.value[:20]}{'...' * (len(node.value) > 20)} is too large: write a smaller one", node
    )


def _float(loader: _Loader, node: yaml.ScalarNode) -> float:
    text = node.value.replace("_", "").lower()
    if text.lstrip("+-") in (".inf", ".nan"):
        text = text.replace(".", "")
    try:
        return float(text)
    except ValueError:
        raise _fault(f"{node.value[:20]} is not a number: write digits, or quotes for text", node) from None


def _timestamp(loader: _Loader, node: yaml.ScalarNode) -> Any:
    raise _in_quotes(node, "a date")


def _sign(loader: _Loader, node: yaml.ScalarNode) -> Any:
    raise _in_quotes(node, "a sign of its own")


for _name, (_pattern, _first) in _YAML_1_2.items():
    _Loader.add_implicit_resolver(f"{_TAG}{_name}", re.compile(f"(?:{_pattern})\\Z"), list(_first))
_CONSTRUCTORS: dict[str, Any] = {
    "null": _null,
    "bool": _truth,
    "int": _integer,
    "float": _float,
    "str": _text,
    "timestamp": _timestamp,
    "merge": _sign,
    "value": _sign,
    "seq": yaml.SafeLoader.construct_yaml_seq,
    "map": yaml.SafeLoader.construct_yaml_map,
}
for _name, _constructor in _CONSTRUCTORS.items():
    _Loader.add_constructor(f"{_TAG}{_name}", _constructor)


class _Dumper(yaml.SafeDumper):
    """YAML's safe dumper that quotes what YAML 1.1 or 1.2 does not take for text, and repeats instead of aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_str(self, data: str) -> yaml.ScalarNode:
        # line ends to YAML 1.1 alone, which quotes keep only as escapes
        return self.represent_scalar(_TEXT, data, style='"' if re.search("[\x85\u2028\u2029]", data) else None)


_Dumper.add_representer(str, _Dumper.represent_str)

for _name, (_pattern, _first) in _YAML_1_2.items():
    _Dumper.add_implicit_resolver(f"{_TAG}{_name}", re.compile(f"(?:{_pattern})\\Z"), list(_first))
# YAML 1.1 has these as well, although PyYAML takes them for text.
_Dumper.add_implicit_resolver(f"{_TAG}bool", re.compile(r"[yYnN]\Z"), list("yYnN"))


def _reason(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    where = f"line {mark.line + 1}: " if mark else ""
    reason = " ".join((getattr(error, "problem", None) or str(error)).split())
    # Half of a sentence, whose other half says what was expected.
    if reason.startswith("but ") and (context := getattr(error, "context", None)):
        reason = f"{context}, {reason}"
    return where + (reason if len(reason) <= _SHOWN else f"{reason[: _SHOWN - 3]}...")
