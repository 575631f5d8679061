"""The papers whose methods are shipped: ``papers.yaml``, and the form in which their keys are printed."""

import re
from functools import cache
from importlib.resources import files
from pathlib import Path

from pydantic import TypeAdapter

from nofrost.config.base import Schema
from nofrost.config.loading import load_recipe
from nofrost.config.reading import read_text, shipped_names
from nofrost.config.yaml_text import parse
from nofrost.errors import unknown


class Paper(Schema):
    """A paper: names of its authors as printed, venue and year of publication, and what it shows in one sentence."""

    authors: tuple[str, ...]
    title: str
    venue: str
    year: int
    link: str
    summary: str

    @property
    def reference(self) -> str:
        """Authors and year as a text cites them, such as "Wang et al. 2022"."""
        names = [author.split()[-1] for author in self.authors]
        return f"{' & '.join(names) if len(names) < 3 else f'{names[0]} et al.'} {self.year}"


@cache
def load_papers() -> dict[str, Paper]:
    """Return the papers by key, such as ``wang2022``, in the order in which they are listed everywhere."""
    path = Path(str(files("nofrost"))) / "papers.yaml"
    return TypeAdapter(dict[str, Paper]).validate_python(parse(read_text(path, "list of papers"), str(path)))


def find_paper(key: str) -> Paper:
    """Return the paper of this key.

    Raises:
        UserError: there is none.
    """
    papers = load_papers()
    if key not in papers:
        raise unknown("paper", key, papers)
    return papers[key]


def cite(citation: str) -> str:
    """Return a citation with authors and year in place of keys: "wang2022 §4.1" becomes "Wang et al. 2022 §4.1"."""
    papers = load_papers()
    return re.sub(rf"\b({'|'.join(papers)})\b", lambda match: papers[match[1]].reference, citation)


def paper_of(citation: str) -> str | None:
    """Return the key of the paper that a citation begins with, None where it begins with no paper of ours."""
    first = re.split(r"\W", citation, maxsplit=1)[0]
    return first if first in load_papers() else None


def recipes_of(paper: str | None = None) -> list[str]:
    """Return the names of the shipped recipes, or of those of one paper, sorted.

    Raises:
        UserError: there is no such paper.
    """
    if paper is not None:
        find_paper(paper)
    names = shipped_names("recipe")
    return names if paper is None else [name for name in names if paper_of(load_recipe(name).citation) == paper]
