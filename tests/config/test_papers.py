"""The papers are stated once: keys, authors and links in papers.yaml, what of them is here in docs/papers.md."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from nofrost.config import cite, load_papers, load_recipe, load_suite, paper_of, shipped_names
from nofrost.prepare import list_sources

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "papers.md").read_text(encoding="utf-8")
KEYS = list(load_papers())


def section(key: str) -> str:
    (text,) = re.findall(rf"^## {key}\n(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL)
    return " ".join(text.split())


def test_references_name_up_to_two_authors() -> None:
    assert {key: paper.reference for key, paper in load_papers().items()} == {
        "wang2022": "Wang et al. 2022",
        "zeise2025": "Zeise & Vlaar 2025",
        "galloway2019": "Galloway et al. 2019",
        "xie2020": "Xie & Yuille 2020",
    }


def test_a_key_is_the_first_author_and_the_year() -> None:
    for key, paper in load_papers().items():
        assert key == f"{paper.authors[0].split()[-1].lower()}{paper.year}"


@pytest.mark.parametrize(
    ("citation", "printed", "key"),
    [
        ("wang2022 §4.1, Tables 1 and 2", "Wang et al. 2022 §4.1, Tables 1 and 2", "wang2022"),
        ("wang2022 Fig. 2; xie2020 §4.2", "Wang et al. 2022 Fig. 2; Xie & Yuille 2020 §4.2", "wang2022"),
        ("zeise2025, Appendix G", "Zeise & Vlaar 2025, Appendix G", "zeise2025"),
        ("own", "own", None),
        ("Madry et al. 2018, before wang2022", "Madry et al. 2018, before Wang et al. 2022", None),
        ("adversarial-wang2022x", "adversarial-wang2022x", None),
    ],
)
def test_a_citation_is_printed_with_authors_and_year(citation: str, printed: str, key: str | None) -> None:
    assert cite(citation) == printed
    assert paper_of(citation) == key


def test_the_documentation_describes_every_paper_in_order() -> None:
    assert re.findall(r"^## (.*)$", TEXT, re.MULTILINE) == KEYS


@pytest.mark.parametrize("key", KEYS)
def test_the_documentation_says_the_same_of_a_paper(key: str) -> None:
    paper, text = load_papers()[key], section(key)
    assert f"{', '.join(paper.authors)}. [{paper.title}]({paper.link}). {paper.venue}, {paper.year}." in text
    assert paper.summary in text
    assert f"| [`{key}`](#{key}) | {paper.reference} |" in TEXT


@pytest.mark.parametrize("key", KEYS)
def test_the_documentation_names_the_recipes_and_suites_of_a_paper(key: str) -> None:
    text = section(key)
    recipes = {name for name in shipped_names("recipe") if paper_of(load_recipe(name).citation) == key}
    assert f"**Recipes:** {len(recipes)} (`nofrost recipes list --paper {key}`)" in text
    suites = {name for name in shipped_names("suite") if paper_of(load_suite(name).citation) == key}
    assert set(re.findall(r"`(adversarial-[\w-]+|ood-[\w-]+)`", text)) == suites
    named = set(re.findall(r"`([a-z0-9-]+)`", text)) - suites - set(list_sources())
    assert {name for name in named if not name.startswith("-")} <= recipes | {"awgn"}
