"""Shards of an evaluation, merged, are the evaluation; what does not belong together is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from nofrost.config import AdversarialSuite, OodSuite
from nofrost.errors import UserError
from nofrost.evaluate import Shard, run
from nofrost.evaluate import merge as merge_shards
from nofrost.evaluate.inputs import read_inputs
from nofrost.evaluate.measuring.attacking import EvaluatedModel
from nofrost.evaluate.measuring.engine import Engine
from nofrost.evaluate.ood import OodEvaluation
from nofrost.evaluate.sharding import is_finished

MakeSuite = Callable[..., Any]
Model = Callable[[str], Path]
EARLIER = '{"stage": "evaluate-ood", "nofrost": "0.1"}'
CURVES = {
    "steps_curve": {"attack": "apgd-ce", "steps": [1, 2]},
    "budget_curve": {"attack": {"name": "fgsm"}, "multiples": [1]},
}
DIVISIONS = [
    pytest.param(3, {"batch_size": 7}, id="even"),
    pytest.param(2, {"batch_size": 59}, id="a last batch of one image"),
    pytest.param(3, {"max_images": 25, "batch_size": 4}, id="max_images"),
    pytest.param(9, {"max_images": 7, "batch_size": 2}, id="more shards than images"),
    pytest.param(1, {"max_images": 10}, id="one shard"),
]
CASCADE = {"attacks": {"fgsm": {}, "apgd-ce": {"steps": 5}, "square": {"queries": 10}}, "cascade": True}
CASCADES = [
    pytest.param(3, {**CASCADE, "batch_size": 3}, id="groups of a cascade"),
    pytest.param(2, {**CASCADE, "batch_size": 59}, id="one group"),
    pytest.param(
        3,
        {"attacks": {"autoattack": {"steps": 3, "targets": 2, "queries": 10}}, "batch_size": 3},
        id="groups of an attack that is a cascade",
    ),
]


@pytest.fixture
def model(plain_checkpoint: Path, mixture_checkpoint: Path) -> Model:
    return lambda normaliser: {"bn": plain_checkpoint, "mbn": mixture_checkpoint}[normaliser]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def run_shards(dataset: Path, checkpoint: Path, suite: AdversarialSuite | OodSuite, count: int, to: Path) -> list[Path]:
    """Evaluate every shard by itself."""
    for index in range(count):
        run(dataset, checkpoint, suite, to / f"{index}-{count}", Shard(index, count))
    return [to / f"{index}-{count}" for index in range(count)]


@pytest.mark.parametrize("normaliser", ["bn", "mbn"])
@pytest.mark.parametrize(("count", "keys"), [*DIVISIONS, *CASCADES])
def test_merged_shards_are_the_adversarial_evaluation_of_all_images_byte_for_byte(
    dataset: Path,
    model: Model,
    make_suite: MakeSuite,
    tmp_path: Path,
    normaliser: str,
    count: int,
    keys: dict[str, Any],
) -> None:
    suite = make_suite(**CURVES, **keys)
    whole = run(dataset, model(normaliser), suite, tmp_path / "whole").as_json()
    shards = run_shards(dataset, model(normaliser), suite, count, tmp_path)
    merged = merge_shards(dataset, model(normaliser), suite, shards[::-1], tmp_path / "merged").as_json()
    assert merged == whole
    assert contents(tmp_path / "merged") == contents(tmp_path / "whole")
    assert bool(whole["branches"]) == (normaliser == "mbn")


@pytest.mark.parametrize(("count", "keys"), DIVISIONS)
def test_merged_shards_are_the_ood_evaluation_of_all_images_byte_for_byte(
    dataset: Path, model: Model, make_ood_suite: MakeSuite, tmp_path: Path, count: int, keys: dict[str, Any]
) -> None:
    suite = make_ood_suite(**keys)
    whole = run(dataset, model("mbn"), suite, tmp_path / "whole").as_json()
    shards = run_shards(dataset, model("mbn"), suite, count, tmp_path)
    merged = merge_shards(dataset, model("mbn"), suite, shards[::-1], tmp_path / "merged").as_json()
    assert merged == whole
    assert contents(tmp_path / "merged") == contents(tmp_path / "whole")


def test_a_shard_that_gets_no_image_says_so(
    dataset: Path, model: Model, make_ood_suite: MakeSuite, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for index in range(3):
        run(dataset, model("bn"), make_ood_suite(max_images=4, batch_size=2), tmp_path / str(index), Shard(index, 3))
    said = [line for line in capsys.readouterr().err.splitlines() if "no image" in line]
    assert len(said) == 1
    assert "shard 2/3 has no image to measure, as 2 at a time" in said[0]


@pytest.mark.parametrize("keys", [{"batch_size": 7}, {**CASCADE, "batch_size": 4}], ids=["batches", "groups"])
def test_shards_run_the_same_batches_as_the_whole(
    dataset: Path,
    model: Model,
    make_suite: MakeSuite,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    keys: dict[str, Any],
) -> None:
    suite = make_suite(**keys)
    attacked: list[tuple[str, tuple[int, ...]]] = []
    original = EvaluatedModel.attack

    def spy(self: EvaluatedModel, condition: Any, images: Any, labels: Any, indices: Any, *rest: Any) -> Any:
        attacked.append((condition.name, tuple(indices.tolist())))
        return original(self, condition, images, labels, indices, *rest)

    monkeypatch.setattr(EvaluatedModel, "attack", spy)
    run(dataset, model("mbn"), suite, tmp_path / "whole")
    examples = attacked.pop()  # of the whole alone
    whole = sorted(attacked)
    attacked.clear()
    run_shards(dataset, model("mbn"), suite, 4, tmp_path)
    assert sorted(attacked) == whole
    assert len(examples[1]) == 8


def test_merging_measures_nothing_again(
    dataset: Path, model: Model, make_suite: MakeSuite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    suite = make_suite(batch_size=20, properties={"decision_margin": True}, **CURVES)
    shards = run_shards(dataset, model("mbn"), suite, 3, tmp_path)

    def again(*_: object) -> None:
        raise AssertionError("measured again")

    monkeypatch.setattr(Engine, "_computed", again)
    merge_shards(dataset, model("mbn"), suite, shards, tmp_path / "merged")


def test_a_shard_records_what_it_is_and_no_accuracy(
    dataset: Path, model: Model, make_suite: MakeSuite, make_ood_suite: MakeSuite, tmp_path: Path
) -> None:
    for suite in (make_suite(batch_size=16), make_ood_suite(batch_size=16)):
        shards = run_shards(dataset, model("bn"), suite, 5, tmp_path / suite.kind)
        metrics = [json.loads((shard / "metrics.json").read_text()) for shard in shards]
        assert [each["samples"] for each in metrics] == [16, 16, 16, 12, 0]
        assert [each["shard"] for each in metrics] == ["0/5", "1/5", "2/5", "3/5", "4/5"]
        for each in metrics:
            assert sorted(each) == ["batch_size", "indices_sha256", "kind", "samples", "seed", "shard", "title"]
        made = json.loads((shards[1] / "record.json").read_text())
        assert (made["shard"], made["config"]) == ("1/5", suite.as_json())
        assert {path.name for path in shards[1].iterdir()} == {"conditions", "metrics.json", "record.json"}
        lengths = {len(np.load(path)["values"]) for path in (shards[1] / "conditions").iterdir()}
        assert lengths == {16}


def changed(path: Path, **values: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def changed_protocol(shard: Path, **values: Any) -> None:
    protocol = json.loads((shard / "record.json").read_text())["protocol"]
    changed(shard / "record.json", protocol={**protocol, **values})


@pytest.fixture
def shards(dataset: Path, model: Model, make_ood_suite: MakeSuite, tmp_path: Path) -> list[Path]:
    """Three shards of an evaluation of 20 images with corruptions."""
    return run_shards(dataset, model("bn"), make_ood_suite(max_images=20, batch_size=4), 3, tmp_path)


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
    model: Model,
    make_ood_suite: MakeSuite,
    shards: list[Path],
    tmp_path: Path,
    chosen: list[int],
    message: str,
) -> None:
    suite = make_ood_suite(max_images=20, batch_size=4)
    with pytest.raises(UserError, match=message):
        merge(dataset, model("bn"), suite, [shards[index] for index in chosen], tmp_path / "out")


def test_shards_of_two_divisions_are_refused(
    dataset: Path, model: Model, make_ood_suite: MakeSuite, shards: list[Path], tmp_path: Path
) -> None:
    suite = make_ood_suite(max_images=20, batch_size=4)
    other = run_shards(dataset, model("bn"), suite, 2, tmp_path)
    message = r"0-3 holds shard 0/3 but \S+1-2 shard 1/2: merge shards of the same count"
    with pytest.raises(UserError, match=message):
        merge(dataset, model("bn"), suite, [shards[0], other[1]], tmp_path / "out")


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
    model: Model,
    make_ood_suite: MakeSuite,
    shards: list[Path],
    tmp_path: Path,
    keys: dict[str, Any],
    normaliser: str,
    message: str,
) -> None:
    suite = make_ood_suite(**{"max_images": 20, "batch_size": 4, **keys})
    with pytest.raises(UserError, match=message):
        merge(dataset, model(normaliser), suite, shards, tmp_path / "out")


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
    model: Model,
    make_ood_suite: MakeSuite,
    shards: list[Path],
    tmp_path: Path,
    spoil: Callable[[Path], Any],
    message: str,
) -> None:
    spoil(shards[1])
    suite = make_ood_suite(max_images=20, batch_size=4)
    with pytest.raises(UserError, match=message):
        merge(dataset, model("bn"), suite, shards, tmp_path / "out")


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(path.read_bytes()[:-9])])
def test_a_damaged_shard_does_not_count_as_finished(
    dataset: Path, model: Model, make_ood_suite: MakeSuite, tmp_path: Path, damage: Callable[[Path], Any]
) -> None:
    suite, out = make_ood_suite(max_images=20, batch_size=4), tmp_path / "shard"
    run(dataset, model("bn"), suite, out, Shard(0, 2))
    evaluation = OodEvaluation(suite, read_inputs(dataset, model("bn"), suite.max_images))
    record = evaluation._record({})
    assert is_finished(out, Shard(0, 2), record, evaluation.measurements())
    damage(out / "conditions/contrast-5.npz")
    assert not is_finished(out, Shard(0, 2), record, evaluation.measurements())


def test_an_evaluation_of_all_images_is_no_shard(
    dataset: Path, model: Model, make_ood_suite: MakeSuite, tmp_path: Path
) -> None:
    suite = make_ood_suite(max_images=20)
    run(dataset, model("bn"), suite, tmp_path / "whole")
    with pytest.raises(UserError, match="whole holds no shard of an evaluation: make one with"):
        merge(dataset, model("bn"), suite, [tmp_path / "whole"], tmp_path / "out")


def test_a_killed_shard_resumes_from_its_own_measurements_only(
    dataset: Path, model: Model, make_ood_suite: MakeSuite, tmp_path: Path, started: Any
) -> None:
    suite = make_ood_suite(max_images=20, batch_size=4)
    run(dataset, model("bn"), suite, tmp_path / "undisturbed", Shard(1, 3))

    def measured(shard: Shard) -> int:
        started.clear()
        run(dataset, model("bn"), suite, tmp_path / "out", shard)
        return len(started)

    started.limit = 3
    with pytest.raises(KeyboardInterrupt):
        measured(Shard(1, 3))
    started.limit = 100
    left = shutil.copytree(tmp_path / ".out.nofrost-partial", tmp_path / "left")
    assert measured(Shard(1, 3)) == 4 - 3
    assert contents(tmp_path / "out") == contents(tmp_path / "undisturbed")
    for other in (Shard(0, 3), Shard(1, 2)):
        shutil.copytree(left, tmp_path / ".out.nofrost-partial")
        assert measured(other) == 4


def test_a_merge_that_was_stopped_ends_with_the_same_bytes(
    dataset: Path, model: Model, make_suite: MakeSuite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    suite = make_suite(batch_size=20)
    whole, merged = tmp_path / "whole", tmp_path / "merged"
    run(dataset, model("mbn"), suite, whole)
    shards = run_shards(dataset, model("mbn"), suite, 3, tmp_path)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("nofrost.evaluate.stage._AdversarialEvaluation._examples", stop)
        with pytest.raises(KeyboardInterrupt):
            merge_shards(dataset, model("mbn"), suite, shards, merged)
    assert not merged.exists()
    merge_shards(dataset, model("mbn"), suite, shards, merged)
    assert contents(merged) == contents(whole)
