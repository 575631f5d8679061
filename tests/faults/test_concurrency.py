"""Two commands write one output at the same time: one whole result that is right, and one sentence for the other.

NOFROST_PAIRS is the number of pairs with random offsets, NOFROST_SEED the seed of the choice.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

PAIRS, SEED = int(os.environ.get("NOFROST_PAIRS", "30")), os.environ.get("NOFROST_SEED", "0")
# What differs from the study in further commands, which write other things.
OTHER_SETTINGS = {"prepare": "seed=1", "train": "optimiser.lr=0.01", "evaluate-ood": "severities=[2]"}
Contents = Callable[[Path], dict[str, bytes]]


@pytest.mark.slow
@pytest.mark.timeout(600 + 10 * PAIRS)
def test_pairs_of_all_stages_at_random_offsets(world: Any, content: Contents, tmp_path: Path) -> None:
    store = tmp_path / "store"
    (pushed,) = world.run({"arguments": ["store", "push", str(world.whole("train")), "--store", str(store)]})
    ref = pushed.output.strip().rpartition("@")[2]
    commands = {**world.commands, "pull": lambda out: ["store", "pull", f"{out}@{ref}", "--store", str(store)]}
    for stage, setting in OTHER_SETTINGS.items():
        commands[f"{stage} {setting}"] = lambda out, stage=stage, setting=setting: [
            *world.commands[stage](out), "--set", setting
        ]  # fmt: skip
    expected, seconds = {}, {}
    for stage, command in commands.items():
        (end,) = world.run({"arguments": command(tmp_path / "alone" / stage)})
        assert end.code == 0, end.errors
        expected[stage], seconds[stage] = content(tmp_path / "alone" / stage), end.seconds
    assert all(expected[stage] == content(world.whole(stage)) for stage in world.commands)
    assert len({str(files) for files in expected.values()}) == len(expected) - 1, "a pull of what train wrote is equal"
    choice = random.Random(SEED)
    pairs = [(stage, stage) for stage in commands]
    pairs += [(stage, f"{stage} {setting}") for stage, setting in OTHER_SETTINGS.items()]
    pairs += [tuple(choice.choices(list(commands), k=2)) for _ in range(PAIRS - len(pairs))]
    refused = 0
    for number, (first, second) in enumerate(pairs):
        work = tmp_path / f"work-{number}"
        delay = choice.uniform(0, seconds[first])
        ends = world.run(
            {"arguments": commands[first](work / "out")}, {"arguments": commands[second](work / "out"), "delay": delay}
        )
        told = f"{first}, and {second} {delay:.2f} s later: {ends}"
        done = [stage for stage, end in zip((first, second), ends, strict=True) if end.code == 0]
        assert done, told
        for end in ends:
            assert "Traceback" not in end.errors, told
            if end.code != 0:
                refused += 1
                assert end.code == 2, told
                (sentence,) = [line for line in end.sentences if "waiting for it" not in line]
                assert "is being written by process" in sentence or "is an output of" in sentence, told
        assert content(work / "out") in [expected[stage] for stage in done], told
        assert [path.name for path in work.iterdir()] == ["out"], told
    assert refused > 0.3 * PAIRS
