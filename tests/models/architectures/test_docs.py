"""docs/models.md says what the code does."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest
import torch

from nofrost.config.model import Normaliser
from nofrost.models import create_model, summarise
from nofrost.models.architectures import families, own_names

PAGE = (Path(__file__).parents[3] / "docs" / "models.md").read_text(encoding="utf-8")
COUNTS = re.findall(r"^\| `([\w-]+)` \| (\w+) \| (\d+) \| ([\d,]+) \| ([\d,]+) \|$", PAGE, re.MULTILINE)


@pytest.mark.parametrize(("arch", "normaliser", "classes", "every", "of_normalisers"), COUNTS)
def test_parameters_are_as_many_as_the_table_says(
    arch: str, normaliser: str, classes: str, every: str, of_normalisers: str
) -> None:
    with torch.device("meta"):
        model = create_model(arch, normaliser=normaliser, num_classes=int(classes), image_size=32)
    summary = summarise(model.network)
    assert (f"{summary.parameters:,}", f"{summary.of_normalisers:,}") == (every, of_normalisers)


def test_every_family_and_normaliser_is_described() -> None:
    assert len(COUNTS) > 20
    rows = re.findall(r"^\| (.+?) \|", PAGE, re.MULTILINE)
    assert {family.title for family in families()} <= {row.split(",")[0] for row in rows}
    assert {f"`{normaliser}`" for normaliser in get_args(Normaliser)} <= set(rows)
    assert [name for name in own_names() if f"`{name}`" not in PAGE] == []
