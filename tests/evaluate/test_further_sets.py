"""Test sets with classes of their own, several right answers, textures, corruptions or outliers: exact numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import logsumexp, softmax

from nofrost import models
from nofrost.config import OodSuite
from nofrost.data import TestSetManifest, from_tensor, read_manifest, read_split, to_tensor, write_manifest, write_split
from nofrost.errors import UserError
from nofrost.evaluate import Shard, merge, run
from nofrost.evaluate.ood.summaries import by_corruption, corruption_error
from nofrost.measures import auroc, auroc_interval, corruption_errors, false_positive_rate
from nofrost.results import OodMetrics, Proportion
from nofrost.statistics import unpaired_interval
from nofrost.transforms.corruptions import CORRUPTIONS, corrupt

MakeSuite = Callable[..., OodSuite]
Digits = tuple[torch.Tensor, torch.Tensor]
CORRUPTED = {"fog-1": 0.9, "fog-5": 0.3, "snow-2": 0.6}  # brightness that stands for a corruption


class Sets:
    """Test sets in one folder, and the suite that has them."""

    def __init__(self, dataset: Path, folder: Path) -> None:
        self.dataset, self.folder, self.specs = dataset, folder, {}

    def add(
        self,
        name: str,
        splits: Mapping[str, tuple[np.ndarray, np.ndarray]],
        test_set: TestSetManifest | None = None,
        optional: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        """Write a test set of images and labels by split."""
        own = read_manifest(self.dataset)
        classes = len(test_set.classes if test_set else own.classes)
        written = {
            split: write_split(
                self.folder / name / split,
                [images],
                (8, 8, 1),
                labels.astype(np.int64),
                np.arange(len(labels), dtype=np.int64),
                classes,
                optional,
            )
            for split, (images, labels) in splits.items()
        }
        values = {"name": f"made {name}", "splits": written, "config": {"source": "npz"}, "test_set": test_set}
        if test_set and test_set.outliers:
            values["config"]["outliers"] = True
        write_manifest(self.folder / name, own.model_copy(update=values))
        self.specs[name] = {"source": "npz", "outliers": bool(test_set and test_set.outliers)}

    def evaluate(self, checkpoint: Path, suite: OodSuite, out: Path) -> tuple[OodMetrics, dict[str, np.ndarray]]:
        """Return metrics and flags of the evaluation with these sets."""
        metrics = run(self.dataset, checkpoint, suite, out, test_sets=self.folder)
        assert isinstance(metrics, OodMetrics)
        return metrics, dict(np.load(out / "flags.npz", allow_pickle=False))


@pytest.fixture
def sets(dataset: Path, tmp_path: Path) -> Sets:
    return Sets(dataset, tmp_path / "test-sets")


@pytest.fixture
def pictures(digits: Digits) -> tuple[np.ndarray, np.ndarray]:
    """80 dimmed digits and their labels."""
    images, labels = digits
    return from_tensor(images[400:480] / 2), labels[400:480].numpy()


def logits(checkpoint: Path, images: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        found: np.ndarray = models.load_model(checkpoint)(to_tensor(images)).double().numpy()
    return found


def test_a_set_with_some_classes_is_answered_among_them_and_beside_clean_images_of_them(
    sets: Sets, pictures: Any, plain_checkpoint: Path, make_ood_suite: MakeSuite, tmp_path: Path
) -> None:
    images, labels = pictures
    known = np.isin(labels, [7, 3])
    own = TestSetManifest(classes=("7", "3"), outputs=((7,), (3,)))
    sets.add("some", {"test": (images[known], (labels[known] == 3).astype(np.int64))}, own)
    suite = make_ood_suite(severities=[1], test_sets=sets.specs)
    metrics, flags = sets.evaluate(plain_checkpoint, suite, tmp_path / "out")
    found, right = metrics.test_sets["some"], logits(plain_checkpoint, images[known])[:, [7, 3]].argmax(1)
    assert np.array_equal(flags["test-sets/some/predictions"], right)
    correct = int((right == (labels[known] == 3)).sum())
    assert (found.correct, found.total, found.classes, found.top5) == (correct, int(known.sum()), 2, None)
    split = read_split(sets.dataset, "test")
    of_clean = np.isin(split.labels, [7, 3])
    answers = logits(plain_checkpoint, split.images[of_clean])[:, [7, 3]].argmax(1)
    clean = int((answers == (split.labels[of_clean] == 3)).sum())
    assert (found.clean.correct, found.clean.total) == (clean, int(of_clean.sum()))
    assert found.drop == pytest.approx(found.clean.accuracy - found.accuracy)
    interval = unpaired_interval((clean, int(of_clean.sum())), (correct, int(known.sum())))
    assert (found.drop_low, found.drop_high) == interval
    assert metrics.clean.total == 60
    assert found.effective_robustness is found.shape_bias is None


def test_each_of_several_right_classes_counts(
    sets: Sets, pictures: Any, plain_checkpoint: Path, make_ood_suite: MakeSuite, tmp_path: Path
) -> None:
    images, labels = pictures
    ranked = np.argsort(-logits(plain_checkpoint, images), axis=1)
    # the second answer is right too for the first half, none of the first five for the rest
    accepted = np.where(np.arange(80)[:, None] < 40, ranked[:, [5, 1]], np.stack([ranked[:, 9], np.full(80, -1)], 1))
    sets.add("several", {"test": (images, labels)}, optional={"accepted": accepted})
    suite = make_ood_suite(severities=[1], test_sets=sets.specs, max_images=40)
    found = sets.evaluate(plain_checkpoint, suite, tmp_path / "out")[0].test_sets["several"]
    assert found.top5 is not None
    assert (found.correct, found.top5.correct, found.total) == (0, 20, 40)


def test_shape_bias_is_the_share_of_shapes_among_shapes_and_textures(
    sets: Sets, pictures: Any, plain_checkpoint: Path, make_ood_suite: MakeSuite, tmp_path: Path
) -> None:
    images, _ = pictures
    outputs = ((0, 1), (2, 3, 4), (5,), (6, 7), (8, 9))
    probabilities = softmax(logits(plain_checkpoint, images), axis=1)
    answers = np.stack([probabilities[:, list(group)].mean(1) for group in outputs], 1).argmax(1)
    other = (answers + 1) % 5
    # 30 times the shape, 20 times the texture, 20 times neither, and 10 images whose shape is their texture
    shapes = np.where(np.arange(80) < 30, answers, other)
    textures = np.where((np.arange(80) >= 30) & (np.arange(80) < 50), answers, (answers + 2) % 5)
    shapes[70:] = textures[70:] = answers[70:]
    own = TestSetManifest(classes=tuple("abcde"), outputs=outputs, answer="mean")
    sets.add("conflict", {"test": (images, shapes)}, own, {"textures": textures})
    suite = make_ood_suite(severities=[1], test_sets=sets.specs)
    found = sets.evaluate(plain_checkpoint, suite, tmp_path / "out")[0].test_sets["conflict"]
    assert found.shape_bias is not None
    assert (found.shape_bias.correct, found.shape_bias.total) == (30, 50)
    assert (found.correct, found.top5) == (40, None)


@pytest.mark.parametrize("outputs", [tuple(range(10)), (4, 1, 8)])
def test_outliers_are_told_from_clean_images_of_the_classes_that_count(
    sets: Sets,
    pictures: Any,
    plain_checkpoint: Path,
    make_ood_suite: MakeSuite,
    tmp_path: Path,
    outputs: tuple[int, ...],
) -> None:
    images, labels = 255 - pictures[0], np.zeros(80, dtype=np.int64)
    sets.add(
        "strange", {"test": (images, labels)}, TestSetManifest(classes=("outlier",), outputs=(outputs,), outliers=True)
    )
    suite = make_ood_suite(severities=[1], test_sets=sets.specs)
    metrics, flags = sets.evaluate(plain_checkpoint, suite, tmp_path / "out")
    split = read_split(sets.dataset, "test")
    known = logits(plain_checkpoint, split.images[np.isin(split.labels, outputs)])[:, list(outputs)]
    strange = logits(plain_checkpoint, images)[:, list(outputs)]
    found = metrics.outlier_sets["strange"]
    assert (found.samples, metrics.test_sets) == (80, {})
    for detection, score in ((found.max_softmax, lambda x: softmax(x, axis=1).max(1)), (found.energy, energy)):
        groups = score(known), score(strange)
        assert detection.auroc == pytest.approx(auroc(*groups))
        assert (detection.low, detection.high) == pytest.approx(auroc_interval(*groups))
        assert detection.fpr95 == pytest.approx(false_positive_rate(*groups))
    assert flags["test-sets/strange/energy"] == pytest.approx(energy(strange))
    assert flags["energy"] == pytest.approx(energy(logits(plain_checkpoint, split.images)))


def energy(values: np.ndarray) -> np.ndarray:
    return np.asarray(logsumexp(values, axis=1))


def corrupted_splits(pictures: Any) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    images, labels = pictures
    return {name: ((images * share).astype(np.uint8), labels) for name, share in CORRUPTED.items()}


def test_a_corrupted_set_has_the_accuracies_of_its_splits(
    sets: Sets, pictures: Any, plain_checkpoint: Path, make_ood_suite: MakeSuite, tmp_path: Path
) -> None:
    splits = corrupted_splits(pictures)
    sets.add("published", splits)
    # The baseline's errors are of ImageNet-C, and this is another set.
    suite = make_ood_suite(corruptions=[], test_sets=sets.specs, baseline="alexnet")
    metrics, flags = sets.evaluate(plain_checkpoint, suite, tmp_path / "out")
    found = metrics.corrupted_sets["published"]
    right = {}
    for name, (images, labels) in splits.items():
        corruption, severity = name.split("-")
        right[name] = logits(plain_checkpoint, images).argmax(1) == labels
        assert np.array_equal(flags[f"test-sets/published/correct/{corruption}/{severity}"], right[name])
        points = {str(point.severity): point.correct for point in found.corruptions[corruption].severities}
        assert points[severity] == right[name].sum()
    assert found.mean_accuracy == pytest.approx(np.mean(list(right.values())))
    assert sum(each.count for each in found.calibration.bins) == 240
    assert found.corruption_error is None
    assert metrics.mean is metrics.corrupted_calibration is None
    assert metrics.corruptions == {}


def test_a_set_may_be_called_as_a_condition_of_another_one(
    sets: Sets, pictures: Any, plain_checkpoint: Path, make_ood_suite: MakeSuite, tmp_path: Path
) -> None:
    images, labels = pictures
    sets.add("some", {"fog-1": (images, labels)})
    sets.add("some-fog-1", {"test": (255 - images[:30], labels[:30])})
    metrics, _ = sets.evaluate(plain_checkpoint, make_ood_suite(severities=[1], test_sets=sets.specs), tmp_path / "out")
    right = logits(plain_checkpoint, 255 - images[:30]).argmax(1) == labels[:30]
    assert (metrics.test_sets["some-fog-1"].total, metrics.test_sets["some-fog-1"].correct) == (30, right.sum())


def test_errors_on_imagenet_c_need_all_of_its_15_corruptions(
    sets: Sets, pictures: Any, plain_checkpoint: Path, make_ood_suite: MakeSuite, tmp_path: Path
) -> None:
    sets.add("published", corrupted_splits(pictures))
    folder = sets.folder / "published"
    write_manifest(folder, read_manifest(folder).model_copy(update={"name": "imagenet-c"}))
    suite = make_ood_suite(corruptions=[], test_sets=sets.specs, baseline="alexnet")
    with pytest.raises(UserError, match="test set published lacks gaussian_noise at severity 1"):
        sets.evaluate(plain_checkpoint, suite, tmp_path / "out")


def test_splits_of_other_images_are_refused(
    sets: Sets, pictures: Any, plain_checkpoint: Path, make_ood_suite: MakeSuite, tmp_path: Path
) -> None:
    splits = corrupted_splits(pictures)
    splits["snow-2"] = (splits["snow-2"][0], (splits["snow-2"][1] + 1) % 10)
    sets.add("published", splits)
    with pytest.raises(UserError, match="holds other images under snow at severity 2 than under its first corruption"):
        sets.evaluate(plain_checkpoint, make_ood_suite(test_sets=sets.specs), tmp_path / "out")


def test_a_set_without_clean_images_of_its_classes_is_refused_before_anything_runs(
    sets: Sets, pictures: Any, plain_checkpoint: Path, make_ood_suite: MakeSuite, tmp_path: Path
) -> None:
    first = int(read_split(sets.dataset, "test").labels[0])
    others = tuple((number,) for number in range(10) if number != first)[:2]
    sets.add("some", {"test": (pictures[0], np.zeros(80))}, TestSetManifest(classes=("a", "b"), outputs=others))
    suite = make_ood_suite(severities=[1], test_sets=sets.specs, max_images=1)
    with pytest.raises(UserError, match=r"none of the 1 test images .* has a class of test set some"):
        sets.evaluate(plain_checkpoint, suite, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_shards_of_all_kinds_of_sets_are_merged_to_the_bytes_of_the_whole_also_after_a_kill(
    sets: Sets, pictures: Any, plain_checkpoint: Path, make_ood_suite: MakeSuite, tmp_path: Path, started: Any
) -> None:
    images, labels = pictures
    sets.add("published", corrupted_splits(pictures))
    sets.add("few", {"test": (images[:30], labels[:30] % 2)}, TestSetManifest(classes=("a", "b"), outputs=((0,), (1,))))
    strange = TestSetManifest(classes=("outlier",), outputs=((0, 1),), outliers=True)
    sets.add("strange", {"test": (images, 0 * labels)}, strange)
    suite = make_ood_suite(corruptions=["contrast"], severities=[1], batch_size=16, test_sets=sets.specs)
    sets.evaluate(plain_checkpoint, suite, tmp_path / "whole")
    shards = [tmp_path / f"{index}-of-2" for index in range(2)]
    started.clear()
    started.limit = 3
    with pytest.raises(KeyboardInterrupt):
        run(sets.dataset, plain_checkpoint, suite, shards[0], Shard(0, 2), sets.folder)
    started.limit = 100
    for index, out in enumerate(shards):
        run(sets.dataset, plain_checkpoint, suite, out, Shard(index, 2), sets.folder)
    merge(sets.dataset, plain_checkpoint, suite, shards, tmp_path / "merged", sets.folder)
    assert contents(tmp_path / "merged") == contents(tmp_path / "whole")


def test_errors_beside_alexnets_are_over_15_corruptions_and_no_fewer(
    dataset: Path, plain_checkpoint: Path, make_ood_suite: MakeSuite, tmp_path: Path
) -> None:
    names = list(CORRUPTIONS)[:15]
    right = np.random.default_rng(0).uniform(size=(15, 5, 40)) < 0.7
    found = by_corruption(
        {(name, place + 1): right[row, place] for row, name in enumerate(names) for place in range(5)}
    )
    error = corruption_error("alexnet", Proportion.of(30, 40), found)
    assert error is not None
    rates = {name: float(1 - right[row].mean()) for row, name in enumerate(names)}
    assert (error.mce, error.relative_mce) == pytest.approx(corruption_errors(0.25, rates, "alexnet"))
    for keys, lacking in (
        ({"corruptions": names[1:]}, "gaussian_noise at severity 1"),
        ({"corruptions": names, "severities": [1, 2, 3, 5]}, "gaussian_noise at severity 4"),
    ):
        suite = make_ood_suite(**{"severities": [1, 2, 3, 4, 5], **keys}, baseline="alexnet")
        with pytest.raises(UserError, match=f"suite: baseline: .*the suite lacks {lacking}: add it"):
            run(dataset, plain_checkpoint, suite, tmp_path / "fewer")


def test_parameters_and_jpeg_of_the_suite_are_those_of_its_corruptions(
    dataset: Path, plain_checkpoint: Path, make_ood_suite: MakeSuite, tmp_path: Path
) -> None:
    suite = make_ood_suite(corruptions=["contrast"], severities=[3], parameter_set="imagenet", jpeg_quality=20)
    run(dataset, plain_checkpoint, suite, tmp_path / "out")
    split = read_split(dataset, "test")
    keys: dict[str, Any] = {"seed": 0, "indices": np.array(split.indices)}
    shown = corrupt(to_tensor(split.images), "contrast", 3, parameter_set="imagenet", jpeg_quality=20, **keys)
    with torch.no_grad():
        right = models.load_model(plain_checkpoint)(shown).argmax(1).numpy() == split.labels
    flags = np.load(tmp_path / "out/flags.npz", allow_pickle=False)
    assert np.array_equal(flags["correct/contrast/3"], right)
    example = np.load(tmp_path / "out/examples.npz", allow_pickle=False)["corrupted"][0, 0]
    assert np.array_equal(example, from_tensor(shown[:1])[0])


def test_a_suite_without_anything_to_measure_is_refused_and_unset_keys_are_not_written(
    make_ood_suite: MakeSuite,
) -> None:
    with pytest.raises(ValueError, match="corruptions and test_sets are empty"):
        make_ood_suite(corruptions=[])
    assert not {"parameter_set", "jpeg_quality", "baseline"} & make_ood_suite().as_json().keys()
    assert make_ood_suite(jpeg_quality=85).as_json()["jpeg_quality"] == 85
