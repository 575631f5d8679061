"""Every objective with every normaliser trains the same in one process and in two, and continues in fewer.

The two are those of `nofrost train --gpus 2`, on the CPU.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from nofrost import prepare, train
from nofrost.cli import cli
from nofrost.config import DatasetSpec, load_recipe
from nofrost.ranks import Node
from nofrost.tasks.starter import start
from nofrost.train.objectives import list_objectives
from tests.train.several_processes import TINY, ends, read, several, tensors

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
SCRIPT, STOPPED = (Path(__file__).with_name(name) for name in ("recipes_of_folder.py", "stopped_training.py"))

NORMALISERS: dict[str, dict[str, Any]] = {
    "all": {"normaliser": "bn", "batch_statistics": "all"},
    "groups": {"normaliser": "bn", "batch_statistics": 10},
    "mbn-all": {"normaliser": "mbn", "batch_statistics": "all"},
    "mbn-groups": {"normaliser": "mbn", "batch_statistics": 10},
    **{name: {"normaliser": name} for name in ("in", "ln", "nf", "fixup", "none")},
    "gn": {"normaliser": "gn", "groups": 4},
}
WITH_MIXTURE = ("mbnat", "alp")
PAIRS = [
    (objective, normaliser)
    for objective in list_objectives()
    for normaliser in NORMALISERS
    # of a model of its own, which has no batch norms
    if objective != "nearest-centroid"
    and (objective != "mbnat" or normaliser.startswith("mbn"))
    and (objective in WITH_MIXTURE or not normaliser.startswith("mbn"))
]


def recipe_of(objective: str, model: dict[str, Any]) -> dict[str, Any]:
    settings: dict[str, Any] = {"multi-view": {"views": ["clean", "adversarial"]}, "free": {"replays": 2}}
    # Free feeds what rounding changes into the next update: slowly, so that only what is wrong shows.
    optimiser = {"lr": 0.01} if objective == "free" else TINY["optimiser"]
    return {
        **TINY,
        "model": {"arch": "resnet8", **model},
        "objective": {"name": objective, **settings.get(objective, {})},
        "views": {**TINY["views"], **({"augmix": {"depth": 1}} if objective == "augmix" else {})},
        "optimiser": optimiser,
    }


def start_two(folder: Path, dataset: Path) -> None:
    """Train all recipes in two processes that the starter starts once: each importing torch anew would take minutes."""
    python = folder / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{SCRIPT}" "{folder}" "{dataset}"\n')
    python.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "executable", str(python))
        patch.setenv("CUDA_VISIBLE_DEVICES", "")
        patch.setenv("OMP_NUM_THREADS", "1")
        start([], 2, Node())


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The outputs of two processes that our starter started in ``two``, and those of one process in ``one``."""
    folder = tmp_path_factory.mktemp("pairs")
    dataset = folder / "dataset"
    # Three steps of 40 images, in the size in which they are published.
    prepare.run(DatasetSpec(source="digits", image_size=8, limit=170), dataset)
    (folder / "recipes").mkdir()
    for objective, normaliser in PAIRS:
        recipe = recipe_of(objective, NORMALISERS[normaliser])
        (folder / "recipes" / f"{objective}-{normaliser}.yaml").write_text(json.dumps(recipe))
    start_two(folder, dataset)
    for pair in PAIRS:
        name = "-".join(pair)
        train.run(dataset, None, load_recipe(folder / "recipes" / f"{name}.yaml"), name, 0, folder / "one" / name)
    return folder


@pytest.mark.parametrize(("objective", "normaliser"), PAIRS)
def test_two_processes_train_the_model_of_one(objective: str, normaliser: str, done: Path) -> None:
    name = f"{objective}-{normaliser}"
    one, two = done / "one" / name, done / "two" / name
    # Of Free one case among those of two_processes.py is exact, in float64.
    tolerance = 5e-3 if objective == "free" else 5e-4
    torch.testing.assert_close(tensors(two), tensors(one), atol=tolerance, rtol=4 * tolerance)
    our_row, their_row = read(two / "curves.json")[-1], read(one / "curves.json")[-1]
    assert our_row["loss"] == pytest.approx(their_row["loss"], rel=2 * tolerance)
    assert our_row["train_clean"] == pytest.approx(their_row["train_clean"], abs=0.01)


def test_the_command_trains_the_model_of_one_process(
    done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "sat-groups"
    monkeypatch.setattr("nofrost.models.require_gpus", lambda count: None)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    paths = {"recipe": done / f"recipes/{name}.yaml", "dataset": done / "dataset", "out": tmp_path / "out"}
    cli(["train", "--gpus=2", *(f"--{option}={path}" for option, path in paths.items())], standalone_mode=False)
    assert read(tmp_path / "out/record.json")["steps"]["train"]["world_size"] == 2
    torch.testing.assert_close(tensors(tmp_path / "out"), tensors(done / "one" / name), atol=5e-4, rtol=2e-3)


# Of four processes, each with 5 images of a micro-batch, all share a group of 20; of two both; one process has it.
@pytest.mark.parametrize(
    ("objective", "model"),
    [
        ("free", {"normaliser": "gn", "groups": 4}),
        ("sat", {"normaliser": "bn", "batch_statistics": 20}),
        ("mbnat", {"normaliser": "mbn", "batch_statistics": "all"}),
    ],
)
def test_a_training_goes_on_in_fewer_processes_each_with_a_disk_of_its_own(
    objective: str, model: dict[str, Any], digits: Path, tmp_path: Path
) -> None:
    """Four processes are stopped inside an epoch, two go on and are stopped in the next, one ends."""
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        json.dumps({**recipe_of(objective, model), "schedule": {"epochs": 2, "batch_size": 40, "accumulation": 2}})
    )
    folders = [tmp_path / f"node-{rank}" for rank in range(4)]
    for folder in folders:
        folder.mkdir()
    said = []
    for processes, steps, code in ((4, 2, 143), (2, 5, 143), (1, 100, 0)):
        with several(folders[:processes], STOPPED, str(steps), recipe, digits, "out") as started:
            ended = ends(started)
        assert [end[0] for end in ended] == [code] * processes, ended
        said.append([line for _, _, errors in ended for line in errors.splitlines() if "this training" in line])
    sentence = (
        "nofrost: this training was saved with a world size of {} and continues with {}: with the same images in the "
        "same order"
    )
    assert said == [[], *([f"{sentence.format(*sizes)}, but not to the same bits"] for sizes in ((4, 2), (2, 1)))]
    assert [list(folder.iterdir()) for folder in folders[1:]] == [[]] * 3
    train.run(digits, None, load_recipe(recipe), "recipe", 0, tmp_path / "one")
    out = folders[0] / "out"
    torch.testing.assert_close(tensors(out), tensors(tmp_path / "one"), atol=1e-3, rtol=5e-3)
    for ours, theirs in zip(read(out / "curves.json"), read(tmp_path / "one/curves.json"), strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=2e-3)
