"""Method corruptions: each image has the corruption and the severity that are drawn for it, by seed and row alone."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nofrost.augment import resolve_methods, run
from nofrost.config import AugmentationSpec
from nofrost.data import Photographs, checksum, from_tensor, read_augmentation_set, read_split, to_tensor
from nofrost.errors import UserError
from nofrost.seeds import derive_seed
from nofrost.transforms.corruptions import FAMILIES, corrupt

Choice = tuple[str, int]


def spec(**settings: Any) -> AugmentationSpec:
    return AugmentationSpec.model_validate({"methods": ["corruptions"], "corruptions": settings})


def made(original: np.ndarray, row: int, choice: Choice) -> np.ndarray:
    """Return an image as the corruption makes it, alone."""
    name, severity = choice
    seed = derive_seed(0, "corruptions")
    return from_tensor(corrupt(to_tensor(original[None]), name, severity, seed=seed, indices=[row]))[0]


def choices_of(out: Path, dataset: Path, choices: list[Choice]) -> list[set[Choice]]:
    """Return for each image of the set which of the choices it can be made by."""
    originals = read_split(dataset, "train").images
    images = read_augmentation_set(out, "corruptions", dataset=checksum(dataset), verify=True)
    assert len(images) == len(originals)
    return [
        {choice for choice in choices if np.array_equal(images[row], made(originals[row], row, choice))}
        for row in range(len(images))
    ]


def test_each_image_is_one_of_the_corruptions_at_one_of_the_severities(
    make_dataset: Callable[..., Path], tmp_path: Path
) -> None:
    dataset = make_dataset(tmp_path / "dataset", 96, channels=3)
    names, severities = ("gaussian_noise", "fog", "brightness"), (2, 5)
    metrics = run(dataset, spec(names=names, severities=severities), tmp_path / "out")
    choices = [(name, severity) for name in names for severity in severities]
    found = choices_of(tmp_path / "out", dataset, choices)
    assert all(len(each) == 1 for each in found)
    drawn = Counter(choice for each in found for choice in each)
    assert set(drawn) == set(choices)
    assert all(6 <= count <= 28 for count in drawn.values()), "about 16 of 96 each"
    assert metrics.corruptions == json.loads((tmp_path / "out/metrics.json").read_text())["corruptions"]
    counts = {name: sum(drawn[name, severity] for severity in severities) for name in sorted(names)}
    assert {name: metrics.corruptions[name] for name in names} == counts
    assert 0 < metrics.corruptions["mean_correlation"] < 1


@pytest.mark.parametrize("channels", [1, 3])
def test_by_default_what_models_are_evaluated_on_stays_unseen(
    channels: int, make_dataset: Callable[..., Path], tmp_path: Path
) -> None:
    dataset = make_dataset(tmp_path / "dataset", 40, channels=channels)
    metrics = run(dataset, spec(), tmp_path / "out").corruptions
    names = set(FAMILIES["extra"]) - ({"saturate"} if channels == 1 else set())
    assert set(metrics) - {"mean_correlation"} == names
    assert sum(metrics[name] for name in names) == 40


def test_an_image_does_not_depend_on_the_images_beside_it(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for block in (64, 7):
        monkeypatch.setattr("nofrost.augment.originals._BLOCK", block)
        run(digits, spec(), tmp_path / str(block))
    first, second = (tmp_path / str(block) / "corruptions/images.npy" for block in (64, 7))
    assert first.read_bytes() == second.read_bytes()


def test_photographs_are_corrupted_at_their_own_size(make_photographs: Callable[..., Path], tmp_path: Path) -> None:
    dataset = make_photographs(tmp_path / "dataset")
    run(dataset, spec(names=["contrast"], severities=[5], parameter_set="imagenet"), tmp_path / "out")
    images = read_augmentation_set(tmp_path / "out", "corruptions", dataset=checksum(dataset), verify=True)
    originals = read_split(dataset, "train").images
    assert isinstance(images, Photographs)
    assert isinstance(originals, Photographs)
    for row in range(len(images)):
        image, original = (np.asarray(each.decoded(row)) for each in (images, originals))
        height, width = original.shape[:2]
        assert min(image.shape[:2]) == 24, "the shorter side of the dataset's view"
        assert max(image.shape[:2]) == pytest.approx(24 * max(height, width) / min(height, width), abs=1)
        spread, before = (each.std(axis=(0, 1)) for each in (image, original))
        assert (spread < 0.2 * before).all(), "of a twentieth of the contrast"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"names": ["fogg"]}, r"corruptions\.names: unknown corruption 'fogg': did you mean 'fog'\?"),
        ({"names": ["fog", "fog"]}, r"corruptions\.names: it names fog twice: name each once"),
        ({"names": []}, r"corruptions\.names: .*at least 1"),
        ({"severities": [6]}, r"corruptions\.severities.*less than or equal to 5, got 6"),
        ({"severities": [1, 1]}, r"corruptions\.severities: it names 1 twice"),
        ({"parameter_set": "cifar10"}, r"corruptions\.parameter_set: .*'cifar', 'tiny-imagenet' or 'imagenet'"),
    ],
)
def test_a_wrong_setting_is_refused_in_one_sentence(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=rf"^augmentation: {message}") as error:
        resolve_methods(spec(**settings))
    assert "\n" not in str(error.value)


def test_colours_of_grey_images_cannot_be_corrupted(digits: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"augmentation\.corruptions\.names: corruption saturate changes colours"):
        run(digits, spec(names=["fog", "saturate"]), tmp_path / "out")
    assert not (tmp_path / "out").exists()
