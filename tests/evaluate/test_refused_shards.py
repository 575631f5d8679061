"""What is no complete set of shards of one evaluation is refused, and an earlier result stays."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from nofrost.config import OodSuite
from nofrost.errors import UserError
from nofrost.evaluate import Shard, run
from nofrost.evaluate import merge as merge_shards
from nofrost.evaluate.inputs import read_inputs
from nofrost.evaluate.ood import OodEvaluation
from nofrost.evaluate.sharding import is_finished
from tests.evaluate.shards import contents, run_shards

MakeSuite = Callable[..., Any]
CheckpointWith = Callable[[str], Path]
EARLIER = '{"stage": "evaluate-ood", "nofrost": "0.1"}'


def changed(path: Path, **values: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def changed_protocol(shard: Path, **values: Any) -> None:
    protocol = json.loads((shard / "record.json").read_text())["protocol"]
    changed(shard / "record.json", protocol={**protocol, **values})


@pytest.fixture(scope="module")
def measured(
    dataset: Path,
    checkpoint_with: CheckpointWith,
    make_ood_suite: MakeSuite,
    tmp_path_factory: pytest.TempPathFactory,
) -> list[Path]:
    """Three shards of an evaluation of 20 images with corruptions. Read only."""
    suite, folder = make_ood_suite(max_images=20, batch_size=4), tmp_path_factory.mktemp("shards")
    return run_shards(dataset, checkpoint_with("bn"), suite, 3, folder)


@pytest.fixture
def shards(measured: list[Path], tmp_path: Path) -> list[Path]:
    """Copies of the shards, which a test may change."""
    return [shutil.copytree(shard, tmp_path / shard.name) for shard in measured]


def save_contrast(shard: Path, values: NDArray[np.bool_]) -> None:
    np.savez(shard / "conditions/contrast-5.npz", values=values, reduced=0)


def merge(dataset: Path, checkpoint: Path, suite: OodSuite, shards: Sequence[Path], out: Path) -> None:
    """Merge what must not be merged, over an earlier result that must stay."""
    (out / "record.json").parent.mkdir()
    (out / "record.json").write_text(EARLIER)
    try:
        merge_shards(dataset, checkpoint, suite, shards, out)
    finally:
        assert contents(out) == {"record.json": EARLIER.encode()}


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ([], "no shards to merge: name the folder of every shard"),
        ([0, 2], r"shard 1/3 is not among \S+0-3, \S+2-3: name the folders of all 3 shards"),
        ([0, 1], r"shard 2/3 is not among"),
        ([0, 1, 2, 1], r"1-3 and \S+1-3 both hold shard 1/3: name every shard once"),
    ],
)
def test_shards_that_are_not_each_there_once_are_refused(
    dataset: Path,
    checkpoint_with: CheckpointWith,
    make_ood_suite: MakeSuite,
    shards: list[Path],
    tmp_path: Path,
    chosen: list[int],
    message: str,
) -> None:
    suite = make_ood_suite(max_images=20, batch_size=4)
    with pytest.raises(UserError, match=message):
        merge(dataset, checkpoint_with("bn"), suite, [shards[index] for index in chosen], tmp_path / "out")


def test_shards_of_two_divisions_are_refused(
    dataset: Path, checkpoint_with: CheckpointWith, make_ood_suite: MakeSuite, shards: list[Path], tmp_path: Path
) -> None:
    suite = make_ood_suite(max_images=20, batch_size=4)
    other = run_shards(dataset, checkpoint_with("bn"), suite, 2, tmp_path)
    message = r"0-3 holds shard 0/3 but \S+1-2 shard 1/2: merge shards of the same count"
    with pytest.raises(UserError, match=message):
        merge(dataset, checkpoint_with("bn"), suite, [shards[0], other[1]], tmp_path / "out")


@pytest.mark.parametrize(
    ("keys", "normaliser", "message"),
    [
        ({"seed": 1}, "bn", r"0-3 holds a shard of another evaluation \(config\.seed is 0 there and 1 here\)"),
        ({"max_images": 19}, "bn", r"config\.max_images is 20 there and 19 here"),
        ({"batch_size": 5}, "bn", r"config\.batch_size is 4 there and 5 here"),
        ({"corruptions": ["contrast"]}, "bn", r"config\.corruptions is \['gaussian_noise', 'contrast'\] there and"),
        ({}, "mbn", r"inputs\.best\.safetensors is '\w+' there and '\w+' here"),
    ],
)
def test_shards_of_another_evaluation_are_refused(
    dataset: Path,
    checkpoint_with: CheckpointWith,
    make_ood_suite: MakeSuite,
    shards: list[Path],
    tmp_path: Path,
    keys: dict[str, Any],
    normaliser: str,
    message: str,
) -> None:
    suite = make_ood_suite(**{"max_images": 20, "batch_size": 4, **keys})
    with pytest.raises(UserError, match=message):
        merge(dataset, checkpoint_with(normaliser), suite, shards, tmp_path / "out")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda shard: changed_protocol(shard, device="tpu"), r"protocol\.device is 'tpu' there and 'c"),
        (lambda shard: changed_protocol(shard, batch_size=3), r"protocol\.batch_size is 3 there and 4 here"),
        (lambda shard: changed_protocol(shard, data_sha256=""), r"protocol\.data_sha256 is '' there and"),
        (lambda shard: changed(shard / "record.json", libraries={}), "libraries.torch is None there and '"),
        (lambda shard: changed(shard / "record.json", shard="3/3"), "there is no shard 3/3"),
        (lambda shard: (shard / "record.json").write_text("{}"), "1-3 holds no shard of an evaluation"),
        (lambda shard: (shard / "record.json").write_text("[]"), "1-3 holds no shard of an evaluation"),
        (lambda shard: (shard / "record.json").unlink(), r"1-3/record\.json is missing"),
        (shutil.rmtree, r"1-3/record\.json is missing"),
        (lambda shard: (shard / "conditions/contrast-5.npz").unlink(), r"1-3/conditions/contrast-5\.npz is missing"),
        (lambda shard: (shard / "conditions/contrast-5.npz").write_bytes(b"half"), r"contrast-5\.npz is damaged"),
        (
            lambda shard: save_contrast(shard, np.ones(5, dtype=np.bool_)),
            r"contrast-5\.npz holds \[5\] values for 8 images: measure this shard again",
        ),
        (
            lambda shard: save_contrast(shard, np.ones((8, 3), dtype=np.bool_)),
            r"contrast-5\.npz holds \[8, 3\] values for 8 images: measure this shard again",
        ),
        (
            lambda shard: save_contrast(shard, np.ones((), dtype=np.bool_)),
            r"contrast-5\.npz holds \[\] values for 8 images: measure this shard again",
        ),
    ],
)
def test_a_spoiled_shard_is_refused(
    dataset: Path,
    checkpoint_with: CheckpointWith,
    make_ood_suite: MakeSuite,
    shards: list[Path],
    tmp_path: Path,
    spoil: Callable[[Path], Any],
    message: str,
) -> None:
    spoil(shards[1])
    suite = make_ood_suite(max_images=20, batch_size=4)
    with pytest.raises(UserError, match=message):
        merge(dataset, checkpoint_with("bn"), suite, shards, tmp_path / "out")


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(path.read_bytes()[:-9])])
def test_a_damaged_shard_does_not_count_as_finished(
    dataset: Path,
    checkpoint_with: CheckpointWith,
    make_ood_suite: MakeSuite,
    tmp_path: Path,
    damage: Callable[[Path], Any],
) -> None:
    suite, out = make_ood_suite(max_images=20, batch_size=4), tmp_path / "shard"
    run(dataset, checkpoint_with("bn"), suite, out, Shard(0, 2))
    evaluation = OodEvaluation(suite, read_inputs(dataset, checkpoint_with("bn"), suite))
    record = evaluation._record({})
    assert is_finished(out, Shard(0, 2), record, evaluation.measurements())
    damage(out / "conditions/contrast-5.npz")
    assert not is_finished(out, Shard(0, 2), record, evaluation.measurements())


def test_an_evaluation_of_all_images_is_no_shard(
    dataset: Path, checkpoint_with: CheckpointWith, make_ood_suite: MakeSuite, tmp_path: Path
) -> None:
    suite = make_ood_suite(max_images=20)
    run(dataset, checkpoint_with("bn"), suite, tmp_path / "whole")
    with pytest.raises(UserError, match="whole holds no shard of an evaluation: make one with"):
        merge(dataset, checkpoint_with("bn"), suite, [tmp_path / "whole"], tmp_path / "out")
