"""docs/training.md agrees with the code about objectives, partial training and settings."""

from __future__ import annotations

import re
import typing
from pathlib import Path

import pytest
import torch

from nofrost.config import AttackSpec, ScheduleSpec
from nofrost.config.recipe import TRAINABLE
from nofrost.models import create_model
from nofrost.train.objectives import Adversary, Batch, create_objective, list_objectives
from nofrost.train.step_record import trace_step

PAGE = (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")


def table(heading: str) -> dict[str, list[str]]:
    """Return the rows of the first table below a heading by the name that heads each."""
    section = PAGE.split(f"{heading}\n", 1)[1]
    lines = re.search(r"(?:^\|.*\n)+", section, re.MULTILINE)
    assert lines
    rows = [[cell.strip() for cell in line.strip("|\n").split("|")] for line in lines.group().splitlines()[2:]]
    return {row[0]: row[1:] for row in rows}


def test_every_objective_has_its_row() -> None:
    assert sorted(name.strip("`") for name in table("## Objectives")) == list_objectives()


@pytest.mark.parametrize("name", [name for name in list_objectives() if name != "nearest-centroid"])
def test_batch_norms_are_updated_as_often_as_the_table_says(name: str) -> None:
    normaliser = "mbn" if name == "mbnat" else "bn"
    model = create_model("resnet8", normaliser=normaliser, num_classes=3, image_size=16, channels=1).train()
    objective = create_objective(name)
    images = torch.rand(4, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    views = {view: images.flip(3) for view in objective.augmented_views}
    batch = Batch(images, torch.tensor([0, 1, 2, 0]), torch.arange(4), views)
    with trace_step(model) as trace:
        for losses in objective.updates(model, batch, Adversary(AttackSpec(steps=2), "linf", 0.1, 0), {}):
            losses.loss.backward()  # type: ignore[no-untyped-call]
    documented = table("## Objectives")[f"`{name}`"][2]
    assert set(trace.batch_norm_updates.values()) == {int(documented.split()[0].strip(",;"))}
    assert ("each branch" in documented.split(";")[0]) == (name == "mbnat")


def test_every_value_of_trainable_is_explained() -> None:
    rows = ", ".join(table("`trainable` says which parameters move (zeise2025):"))
    assert set(re.findall(r"`([^`]+)`", rows)) == {*TRAINABLE, "layer:NAME"}


def test_every_shape_of_schedule_is_explained() -> None:
    line = PAGE.split("- **Learning rate**", 1)[1].split("\n- ", 1)[0]
    for shape in typing.get_args(typing.get_type_hints(ScheduleSpec)["shape"]):
        assert f"`{shape}`" in line
