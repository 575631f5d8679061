"""No command replaces what it reads: an output that is, holds or lies in an input is refused, and all stays."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Contents = Callable[[Path], dict[str, bytes]]
# By stage, the options whose values it reads.
INPUTS = {
    "prepare": ("--study",),
    "augment": ("--study", "--dataset"),
    "train": ("--study", "--dataset"),
    "evaluate-adversarial": ("--study", "--dataset", "--checkpoint"),
    "evaluate-ood": ("--study", "--dataset", "--checkpoint"),
    "transfer": ("--dataset", "--model"),
    "report": ("--study", "--dataset", "--runs"),
}


@pytest.mark.slow
def test_no_stage_replaces_what_it_reads(world: Any, content: Contents, tmp_path: Path) -> None:
    project = tmp_path / "project"
    shutil.copytree(world.folder, project)
    before = content(project)
    tried = 0
    for stage, options in INPUTS.items():
        for option in options:
            arguments = [
                argument.replace(str(world.folder), str(project)) for argument in world.commands[stage](tmp_path / "x")
            ][:-2]
            source = Path(arguments[arguments.index(option) + 1].removeprefix("a="))
            outputs = [source, source / "inner"] if source.is_dir() and option != "--runs" else [source]
            if option == "--runs":
                outputs = [source, source / "mbnat", source / "mbnat/seed-0/train", source / "mbnat/seed-0/train/new"]
            for out in outputs:
                (end,) = world.run({"arguments": [*arguments, "--out", str(out)]})
                assert end.code == 2, (stage, out, end.errors)
                assert len(end.sentences) == 1, end.errors
                assert "cannot write" in end.sentences[0]
                assert content(project) == before
                tried += 1
    assert tried > 20
    augmentation = shutil.copytree(world.whole("augment"), project / "augmentation")
    for stage in ("train", "report"):
        arguments = world.commands[stage](augmentation)
        if stage == "train":
            arguments += ["--set", "objective.name=multi-view", "--set", "views.augmentation_sets=[tda]"]
            arguments += ["--set", "model.normaliser=bn"]
        (end,) = world.run({"arguments": [*arguments, "--augmentation", str(augmentation)]})
        assert end.code == 2, end.errors
        assert "it is an input" in end.sentences[0], end.errors
    assert content(augmentation) == content(world.whole("augment"))
