"""Processes that share every batch train the model of one process; batch norms see the rows of their process."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from nofrost import train
from nofrost.config import load_recipe
from nofrost.data import read_manifest
from nofrost.processes import ProcessGroup
from nofrost.train.setup import new_model
from nofrost.train.stage import process_group
from tests.train.several_processes import TINY, ends, read, tensors, two

SCRIPT = Path(__file__).with_name("two_processes.py")
RECIPES: dict[str, dict[str, Any]] = {
    "gn": {},
    "nf": {
        "model": {"arch": "resnet8", "normaliser": "nf"},
        "objective": {"name": "free", "replays": 2},
        "optimiser": {"lr": 0.05, "adaptive_clipping": {}},
    },
    "groups": {
        "model": {"arch": "resnet8", "normaliser": "mbn", "batch_statistics": 10},
        "objective": {"name": "mbnat", "batching": "joint"},
        "schedule": {"epochs": 1, "batch_size": 40, "accumulation": 2},
    },
    "partial-bn": {"model": {"arch": "resnet8", "normaliser": "bn"}, "trainable": "bn", "optimiser": {"lr": 0.05}},
}
# What one process trains as well: a batch norm whose statistics are those of a process sees other images there.
# `statistics: all` is a case of two_processes.py, and trained in test_world_sizes.py.
ALIKE = ("gn", "nf", "groups")
CASES = re.findall(r"@case\ndef (\w+)", SCRIPT.read_text())


@pytest.fixture(scope="module")
def done(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The outputs of two processes, and in ``one`` those of one process for the recipes `ALIKE`."""
    folder = tmp_path_factory.mktemp("shared")
    (folder / "recipes").mkdir()
    for name, changes in RECIPES.items():
        (folder / "recipes" / f"{name}.yaml").write_text(json.dumps({**TINY, **changes}))
    with two(SCRIPT, folder, digits) as processes:
        for name in ALIKE:
            train.run(digits, None, load_recipe(folder / "recipes" / f"{name}.yaml"), name, 0, folder / "one" / name)
        for code, _, errors in ends(processes):
            assert code == 0, errors
    return folder


@pytest.mark.parametrize("name", CASES)
def test_collectives_of_two_processes(name: str, done: Path) -> None:
    for rank in (0, 1):
        assert (done / f"{name}.{rank}").read_text() == ""


# Sums of gradients in another order differ in the last bits. Free feeds each perturbation into the next, so there they
# grow, and by how much depends on the processor: to 1e-5 on one of those seen. Trained weights moved by 1e-3 to 1e-2.
@pytest.mark.parametrize(("name", "tolerance"), [("gn", 2e-6), ("nf", 1e-4), ("groups", 1e-4)])
def test_two_processes_train_the_model_of_one(name: str, tolerance: float, done: Path) -> None:
    one, two = done / "one" / name, done / "two" / name
    ours, theirs = tensors(two), tensors(one)
    assert ours.keys() == theirs.keys()
    for key, tensor in ours.items():
        torch.testing.assert_close(tensor, theirs[key], atol=tolerance, rtol=5 * tolerance, msg=key)
    assert read(two / "metrics.json")["selection"] == read(one / "metrics.json")["selection"]
    for our_row, their_row in zip(read(two / "curves.json"), read(one / "curves.json"), strict=True):
        floats = {key: value for key, value in their_row.items() if isinstance(value, float)}
        close = {key: pytest.approx(value, rel=5 * tolerance) for key, value in floats.items()}
        assert our_row == {**their_row, **close}


def test_the_record_says_how_many_processes_shared_a_step(done: Path) -> None:
    one, two = (read(done / number / "gn/record.json")["steps"]["train"] for number in ("one", "two"))
    assert (one["world_size"], one["images_per_rank"]) == (1, 40)
    assert (two["world_size"], two["images_per_rank"]) == (2, 20)
    assert one["images"] == two["images"] == {"clean": 40, "adversarial": 40}


def test_two_processes_train_batch_norms_alone(done: Path, digits: Path) -> None:
    trained = tensors(done / "two/partial-bn")
    fresh = new_model(load_recipe(done / "recipes/partial-bn.yaml"), read_manifest(digits), None, seed=0)
    norms = [name for name, module in fresh.named_modules() if isinstance(module, torch.nn.BatchNorm2d)]
    for name, tensor in fresh.state_dict().items():
        assert torch.equal(tensor, trained[name]) != (name.rpartition(".")[0] in norms), name


def test_without_torchrun_there_is_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)
    parameter = torch.nn.Parameter(torch.zeros(2))
    parameter.grad, norm = torch.ones(2), torch.nn.BatchNorm1d(2)
    with process_group() as world:
        assert world == ProcessGroup(0, 1)
        world.average_gradients([parameter])
        world.average_buffers(norm)
        world.barrier()
        assert torch.equal(parameter.grad, torch.ones(2))
        assert world.any(True)
        assert not world.any(False)
        assert world.total({"a": torch.ones(1)}) == {"a": torch.ones(1)}


def wait_for(state: Path, processes: list[subprocess.Popen[str]], but: str = "") -> str:
    """Wait until the training has saved another state than `but`, and return it."""
    deadline = time.monotonic() + 200
    while not state.is_file() or (content := state.read_text()) == but:
        assert time.monotonic() < deadline
        assert [process.poll() for process in processes] == [None, None], "too quick for us: train longer"
        time.sleep(0.01)
    return content


@pytest.mark.slow
def test_two_processes_stopped_killed_and_restarted_end_with_the_same_bits(digits: Path, tmp_path: Path) -> None:
    recipe, state = tmp_path / "recipe.yaml", tmp_path / ".out.nofrost-partial/unfinished/state.json"
    changes = {"model": {"arch": "resnet8", "normaliser": "mbn"}, "objective": {"name": "mbnat"}}
    recipe.write_text(json.dumps({**TINY, **changes, "schedule": {"epochs": 6, "batch_size": 40}}))
    command = ("-m", "nofrost", "train", "--recipe", recipe, "--dataset", digits, "--out")
    with two(*command, tmp_path / "out") as processes:
        stopped_at = wait_for(state, processes)
        for process in processes:
            process.send_signal(signal.SIGTERM)
        first, second = ends(processes)
    assert (first[0], second[0]) == (143, 143)
    assert "nofrost: stopped in epoch" in first[2]
    assert "nofrost: " not in second[2], "the first speaks for both"
    with two(*command, tmp_path / "out") as processes:
        wait_for(state, processes, but=wait_for(state, processes, but=stopped_at))
        processes[1].kill()
        first, second = ends(processes)
    assert (first[0], second[0]) == (200, -signal.SIGKILL)
    assert "nofrost: another process of this training has failed" in first[2]
    assert "Traceback" not in first[2]
    for out in ("out", "undisturbed"):
        with two(*command, tmp_path / out) as processes:
            first, second = ends(processes)
        assert (first[0], second[0]) == (0, 0), first[2] + second[2]
        assert first[1].startswith(f"{tmp_path / out}: best epoch")
        assert second[1] == ""
    for name in ("last.safetensors", "best.safetensors", "curves.json", "metrics.json", "record.json"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "undisturbed" / name).read_bytes(), name


@pytest.mark.slow
def test_a_wrong_recipe_is_reported_once(digits: Path, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(json.dumps({**TINY, "schedule": {"epochs": 1, "batch_size": 41}}))
    command = ("-m", "nofrost", "train", "--recipe", "recipe.yaml", "--dataset", digits, "--out", "out")
    with two(*command, cwd=tmp_path) as processes:
        first, second = ends(processes)
    assert (first[0], second[0]) == (2, 2)
    assert "nofrost: schedule.batch_size 41 cannot be shared equally by 2 processes" in first[2]
    assert "nofrost: " not in second[2]
    assert [path.name for path in tmp_path.iterdir()] == ["recipe.yaml"]
