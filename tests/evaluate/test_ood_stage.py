"""The stage evaluate-ood: exact counts on corrupted images, what it writes, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nofrost import models
from nofrost.config import OodSuite
from nofrost.data import from_tensor, read_split, to_tensor
from nofrost.errors import UserError
from nofrost.evaluate import run
from nofrost.evaluate.ood.made_corruptions import _example
from nofrost.evaluate.ood.summaries import corruption_means, mean_of
from nofrost.statistics import wilson_interval
from nofrost.transforms.corruptions import corrupt

MakeSuite = Callable[..., OodSuite]
CONDITIONS = [("gaussian_noise", 1), ("gaussian_noise", 5), ("contrast", 1), ("contrast", 5)]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_counts_are_those_of_the_model_on_the_corrupted_test_images(
    dataset: Path, mixture_checkpoint: Path, make_ood_suite: MakeSuite, tmp_path: Path
) -> None:
    metrics = run(dataset, mixture_checkpoint, make_ood_suite(seed=5, batch_size=17), tmp_path / "out").as_json()
    flags = np.load(tmp_path / "out/flags.npz", allow_pickle=False)
    model, split = models.load_model(mixture_checkpoint), read_split(dataset, "test")
    images = to_tensor(split.images)
    for name, severity in CONDITIONS:
        corrupted = corrupt(images, name, severity, seed=5, indices=np.array(split.indices))
        with torch.no_grad():
            expected = model(corrupted).argmax(1).numpy() == split.labels
        assert np.array_equal(flags[f"correct/{name}/{severity}"], expected)
        points = {point["severity"]: point for point in metrics["corruptions"][name]["severities"]}
        assert points[severity]["correct"] == expected.sum()
        assert (points[severity]["low"], points[severity]["high"]) == wilson_interval(int(expected.sum()), 60)
    assert metrics["clean"]["correct"] == flags["correct/clean"].sum()
    assert np.array_equal(flags["correct/clean"], flags["predictions"] == split.labels)


def test_means_are_unweighted_over_corruptions_and_severities(
    dataset: Path, mixture_checkpoint: Path, make_ood_suite: MakeSuite, tmp_path: Path
) -> None:
    metrics = run(dataset, mixture_checkpoint, make_ood_suite(), tmp_path / "out").as_json()
    each = [[point["accuracy"] for point in corruption["severities"]] for corruption in metrics["corruptions"].values()]
    assert metrics["mean_accuracy"] == pytest.approx(np.mean(each))
    for values, corruption in zip(each, metrics["corruptions"].values(), strict=True):
        assert corruption["mean_accuracy"] == pytest.approx(np.mean(values))
        assert corruption["mean_low"] < corruption["mean_accuracy"] < corruption["mean_high"]
    assert "unweighted" in metrics["averaging"]


def test_the_mean_is_over_the_common_corruptions_and_the_others_have_means_by_family() -> None:
    shares = {"fog": 1, "snow": 0, "spatter": 0.5, "sparkles": 0.25, "perlin_noise": 0.75}
    flags = {(name, severity): np.arange(8) < 8 * share for name, share in shares.items() for severity in (1, 3)}
    means = corruption_means(flags)
    assert means["mean_accuracy"] == 0.5
    assert means["averaging"] == "unweighted mean over 2 of the 15 common corruptions, at all severities"
    assert {name: each.mean_accuracy for name, each in means["further_means"].items()} == {"extra": 0.5, "c-bar": 0.5}
    alone = corruption_means({key: each for key, each in flags.items() if key[0] in ("spatter", "sparkles")})
    assert (alone["mean_accuracy"], alone["further_means"]) == (0.375, {})
    assert alone["averaging"] == "unweighted mean over all corruptions and severities"


def test_the_interval_of_a_mean_knows_that_conditions_share_their_images() -> None:
    generator = np.random.default_rng(0)
    single = generator.random(400) < 0.7
    copies = dict(mean_of([single] * 10))
    low, high = wilson_interval(int(single.sum()), 400)
    assert copies["mean_low"] == pytest.approx(low, abs=0.002), "ten copies say no more than one"
    assert copies["mean_high"] == pytest.approx(high, abs=0.002)
    independent = dict(mean_of(list(generator.random((10, 400)) < 0.7)))
    expected = wilson_interval(2800, 4000)
    width = independent["mean_high"] - independent["mean_low"]
    assert width == pytest.approx(expected[1] - expected[0], rel=0.15), "independent ones say ten times as much"


@pytest.mark.parametrize("right", [True, False])
def test_the_interval_of_a_mean_of_all_or_nothing_is_that_of_one_condition(right: bool) -> None:
    mean = dict(mean_of([np.full(50, right)] * 3))
    assert (mean["mean_low"], mean["mean_high"]) == wilson_interval(50 if right else 0, 50)


def test_the_output_is_whole_and_two_runs_write_the_same_bytes(
    dataset: Path, mixture_checkpoint: Path, make_ood_suite: MakeSuite, tmp_path: Path
) -> None:
    for name in ("one", "two"):
        metrics = run(dataset, mixture_checkpoint, make_ood_suite(max_images=20), tmp_path / name).as_json()
    one = contents(tmp_path / "one")
    assert one == contents(tmp_path / "two")
    assert sorted(one) == ["examples.npz", "flags.npz", "metrics.json", "record.json"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"]
    assert json.loads(one["metrics.json"]) == metrics
    assert {key: metrics[key] for key in ("kind", "title", "samples", "seed")} == {
        "kind": "ood",
        "title": "Two corruptions",
        "samples": 20,
        "seed": 0,
    }
    assert json.loads(one["record.json"])["stage"] == "evaluate-ood"


def test_examples_show_one_image_under_every_corruption_at_each_severity(
    dataset: Path, mixture_checkpoint: Path, make_ood_suite: MakeSuite, tmp_path: Path
) -> None:
    run(dataset, mixture_checkpoint, make_ood_suite(), tmp_path / "out")
    examples = np.load(tmp_path / "out/examples.npz", allow_pickle=False)
    split = read_split(dataset, "test")
    assert examples["names"].tolist() == ["gaussian_noise", "contrast"]
    assert examples["severities"].tolist() == [1, 5]
    assert np.array_equal(examples["image"], split.images[0])
    assert examples["corrupted"].shape == (2, 2, 8, 8, 1)
    for name, by_severity in zip(examples["names"], examples["corrupted"], strict=True):
        for severity, shown in zip((1, 5), by_severity, strict=True):
            image, index = to_tensor(split.images[:1]), int(split.indices[0])
            expected = corrupt(image, str(name), severity, seed=0, indices=[index])
            assert np.array_equal(shown, from_tensor(expected)[0])


def test_examples_of_a_photograph_are_a_part_of_its_pixels() -> None:
    image = torch.linspace(0, 1, 3 * 224 * 300).reshape(1, 3, 224, 300)
    example = _example(image)
    assert example.shape == (75, 100, 3)
    assert np.array_equal(example, from_tensor(image)[0][::3, ::3])


@pytest.mark.parametrize("finished", [0, 1, 3])
def test_a_killed_run_repeats_no_finished_condition_and_ends_with_the_same_bytes(
    dataset: Path,
    mixture_checkpoint: Path,
    make_ood_suite: MakeSuite,
    tmp_path: Path,
    started: Any,
    finished: int,
) -> None:
    suite = make_ood_suite(max_images=20)
    run(dataset, mixture_checkpoint, suite, tmp_path / "undisturbed")
    started.clear()
    started.limit = finished
    with pytest.raises(KeyboardInterrupt):
        run(dataset, mixture_checkpoint, suite, tmp_path / "out")
    started.clear()
    started.limit = 100
    run(dataset, mixture_checkpoint, suite, tmp_path / "out")
    assert started == [f"{name} {severity}" for name, severity in CONDITIONS][finished:]
    assert contents(tmp_path / "out") == contents(tmp_path / "undisturbed")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["gausian_noise"], "suite: corruptions: unknown corruption 'gausian_noise': did you mean 'gaussian_noise'"),
        (["contrast", "saturate"], "suite: corruptions: .*saturate.*the images have none"),
    ],
)
def test_a_corruption_that_cannot_be_made_is_refused_before_anything_runs(
    dataset: Path,
    mixture_checkpoint: Path,
    make_ood_suite: MakeSuite,
    tmp_path: Path,
    names: list[str],
    message: str,
) -> None:
    with pytest.raises(UserError, match=message):
        run(dataset, mixture_checkpoint, make_ood_suite(corruptions=names), tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_a_corruption_named_twice_is_measured_once(
    dataset: Path, mixture_checkpoint: Path, make_ood_suite: MakeSuite, tmp_path: Path
) -> None:
    suite = make_ood_suite(corruptions=["contrast", "contrast"], severities=[5, 1, 5], max_images=10)
    metrics = run(dataset, mixture_checkpoint, suite, tmp_path / "out").as_json()
    assert [point["severity"] for point in metrics["corruptions"]["contrast"]["severities"]] == [1, 5]
