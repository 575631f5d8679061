"""Which classes of ImageNet mean the classes of a test set: tables of published facts that come with the package."""

from functools import cache
from importlib.resources import files
from pathlib import Path

from nofrost.config.reading import read_text
from nofrost.config.yaml_text import parse


@cache
def class_groups(name: str) -> dict[str, tuple[str, ...]]:
    """Return for each class of the test set `name`, sorted, the WordNet ids that mean it (prepare/class_groups)."""
    path = Path(str(files("nofrost"))) / "prepare" / "class_groups" / f"{name}.yaml"
    table = parse(read_text(path, "table of classes"), str(path))
    return {str(key): tuple(table[key]) for key in sorted(table)}
