from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nofrost.augment import resolve_methods, run
from nofrost.config import AugmentationSpec
from nofrost.data import checksum, read_augmentation_set, read_split
from nofrost.errors import UserError

FolderBytes = Callable[[Path], dict[str, str]]
QUICK = {
    "deepaugment": {"width": 8, "epochs": 6, "batch_size": 16, "lr": 0.01},
    "tda": {"horizontal_flip": False},
}
METHODS = ("deepaugment", "tda")
FILES = {"manifest.json", "metrics.json", "record.json"}


def spec(**values: Any) -> AugmentationSpec:
    return AugmentationSpec.model_validate({**QUICK, **values})


@pytest.fixture(scope="module")
def augmented(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("augmented") / "out"
    run(digits, spec(), out)
    return out


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"methods": ["augmix"]}, ["methods.0", "'deepaugment-edsr', 'deepaugment-cae' or 'tda'", "got 'augmix'"]),
        ({"deepaugment": {"wide": 1}}, ["unknown key 'deepaugment.wide'", "did you mean 'width'?", "batch_size"]),
        (
            {"tdaa": {}},
            [
                "unknown key 'tdaa'",
                "did you mean 'tda'?",
                "deepaugment, deepaugment-cae, deepaugment-edsr, methods, seed, tda",
            ],
        ),
        ({"tda": 3}, ["tda: 3 is not a mapping", "blur, horizontal_flip, noise"]),
        ({"deepaugment": {"lr": 0}}, ["deepaugment.lr", "greater than 0", "got 0"]),
        ({"deepaugment": {"weights": "w", "epochs": 9}}, ["deepaugment", "weights are loaded", "epochs has no effect"]),
    ],
)
def test_a_wrong_method_or_setting_is_refused_in_one_sentence(
    values: dict[str, Any], words: list[str], digits: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError) as error:
        run(digits, AugmentationSpec.model_validate(values), tmp_path / "out")
    assert all(word in str(error.value) for word in ("augmentation", *words))


def test_settings_of_a_method_that_is_not_named_are_refused_on_the_command_line() -> None:
    config = AugmentationSpec(methods=("tda",))
    with pytest.raises(UserError, match=r"deepaugment\.epochs=9.*methods \(tda\) does not name deepaugment"):
        resolve_methods(config, overrides=["methods=[tda]", "deepaugment.epochs=9"])
    with pytest.raises(UserError, match="does not name tda"):
        resolve_methods(
            AugmentationSpec(methods=()), key=("augmentation",), overrides=["augmentation.tda={blur: true}"]
        )
    resolve_methods(config, overrides=["tda.blur=true"])


def test_a_method_may_be_named_once() -> None:
    with pytest.raises(ValueError, match="methods names 'tda' twice"):
        AugmentationSpec(methods=("tda", "tda"))


def test_no_method_and_settings_without_effect_are_said(
    digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(digits, AugmentationSpec.model_validate({"methods": [], "tda": {"blur": True}}), tmp_path / "out")
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "augment: augmentation.methods names no method: no sets are made",
        "augment: the settings of tda are not used, as augmentation.methods does not name it",
    ]


@pytest.mark.parametrize("method", METHODS)
def test_a_set_holds_one_changed_image_for_each_training_image(augmented: Path, digits: Path, method: str) -> None:
    images = read_augmentation_set(augmented, method, dataset=checksum(digits))
    originals = read_split(digits, "train").images
    assert (images.shape, images.dtype) == (originals.shape, np.uint8)
    changed = (images != originals).any(axis=(1, 2, 3))
    assert changed.mean() > 0.95


@pytest.mark.parametrize("method", METHODS)
def test_row_i_is_made_of_image_i(augmented: Path, digits: Path, method: str) -> None:
    """Of all originals, most images resemble their own one most."""
    images = read_augmentation_set(augmented, method, dataset=checksum(digits)).reshape(96, -1).astype(float)
    originals = read_split(digits, "train").images.reshape(96, -1).astype(float)
    correlations = np.corrcoef(images, originals)[:96, 96:]
    assert (correlations.argmax(axis=1) == np.arange(96)).mean() > 0.6


def test_a_set_whose_images_are_missing_is_an_error_that_names_the_file(
    augmented: Path, digits: Path, tmp_path: Path
) -> None:
    sets = shutil.copytree(augmented, tmp_path / "sets")
    (sets / "tda" / "images.npy").unlink()
    with pytest.raises(UserError, match=r"tda/images\.npy is missing: augment again"):
        read_augmentation_set(sets, "tda", dataset=checksum(digits), verify=True)


@pytest.mark.parametrize("method", METHODS)
def test_no_image_is_empty(augmented: Path, digits: Path, method: str) -> None:
    images = read_augmentation_set(augmented, method, dataset=checksum(digits))
    assert (np.ptp(images, axis=(1, 2, 3)) > 8).all()


def test_the_metrics_are_those_of_the_images(augmented: Path, digits: Path) -> None:
    metrics = json.loads((augmented / "metrics.json").read_text())
    assert metrics["images"] == 96
    originals = read_split(digits, "train").images.reshape(96, -1)
    for method in METHODS:
        images = read_augmentation_set(augmented, method, dataset=checksum(digits)).reshape(96, -1)
        expected = np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(images, originals, strict=True)])
        assert metrics[method]["mean_correlation"] == pytest.approx(expected, abs=0.005)  # before rounding to levels
    unchanged = read_augmentation_set(augmented, "deepaugment", dataset=checksum(digits)).reshape(96, -1) == originals
    assert metrics["deepaugment"]["unchanged_images"] == unchanged.all(axis=1).sum()
    assert metrics["deepaugment"]["reconstruction_psnr_db"] > 15


def test_the_same_work_makes_the_same_bytes_whatever_the_threads_and_global_seed(
    augmented: Path, digits: Path, tmp_path: Path, folder_bytes: FolderBytes
) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    torch.manual_seed(123)
    try:
        before = torch.get_rng_state()
        run(digits, spec(), tmp_path / "below" / "another name")
        assert torch.get_num_threads() == 2
        assert torch.equal(before, torch.get_rng_state())
    finally:
        torch.set_num_threads(threads)
    assert folder_bytes(augmented) == folder_bytes(tmp_path / "below" / "another name")


def test_another_seed_makes_other_images(augmented: Path, digits: Path, tmp_path: Path) -> None:
    run(digits, spec(seed=1), tmp_path / "out")
    for method in METHODS:
        first, other = ((folder / method / "images.npy").read_bytes() for folder in (augmented, tmp_path / "out"))
        assert first != other


def test_a_set_does_not_depend_on_which_others_are_made(augmented: Path, digits: Path, tmp_path: Path) -> None:
    run(digits, spec(methods=["tda"]), tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"tda", *FILES}
    assert (tmp_path / "out/tda/images.npy").read_bytes() == (augmented / "tda/images.npy").read_bytes()


def test_the_saved_network_makes_the_same_images_again(
    augmented: Path, digits: Path, tmp_path: Path, folder_bytes: FolderBytes
) -> None:
    weights = str(augmented / "deepaugment" / "network.safetensors")
    run(digits, spec(methods=["deepaugment"], deepaugment={"weights": weights}), tmp_path / "out")
    assert folder_bytes(tmp_path / "out" / "deepaugment") == folder_bytes(augmented / "deepaugment")
    for file in ("manifest.json", "record.json"):
        assert str(augmented) not in (tmp_path / "out" / file).read_text()
    assert "deepaugment weights" in json.loads((tmp_path / "out" / "record.json").read_text())["inputs"]


def test_a_folder_that_is_no_dataset_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no dataset"):
        run(tmp_path, spec(), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_damaged_dataset_is_refused(digits: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(digits, tmp_path / "copy")
    file = copy / "train/images.npy"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(UserError, match=r"train/images\.npy does not match its checksum"):
        run(copy, AugmentationSpec(methods=("tda",)), tmp_path / "out")


def test_weights_that_are_not_there_are_refused(digits: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"augmentation\.deepaugment\.weights gone\.safetensors cannot be read"):
        run(digits, spec(deepaugment={"weights": "gone.safetensors"}), tmp_path / "out")


def test_weights_for_another_number_of_channels_are_refused(
    augmented: Path, make_dataset: Callable[..., Path], tmp_path: Path
) -> None:
    colour = make_dataset(tmp_path / "colour", count=12, channels=3)
    weights = str(augmented / "deepaugment" / "network.safetensors")
    with pytest.raises(UserError, match="is a network for 1-channel images, the dataset has 3"):
        run(colour, spec(deepaugment={"weights": weights}), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_colour_images_are_augmented_in_colour(make_dataset: Callable[..., Path], tmp_path: Path) -> None:
    colour = make_dataset(tmp_path / "colour", count=48, channels=3)
    run(colour, spec(), tmp_path / "out")
    for method in METHODS:
        images = read_augmentation_set(tmp_path / "out", method, dataset=checksum(colour))
        assert images.shape == (48, 8, 8, 3)
        assert (images[..., 0] != images[..., 1]).any()


def test_a_network_that_diverges_is_an_error_that_names_the_learning_rate(digits: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"diverged: lower augmentation\.deepaugment\.lr"):
        run(digits, spec(deepaugment={"lr": 1e7, "epochs": 2, "width": 4}), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_network_that_learnt_nothing_is_an_error(digits: Path, tmp_path: Path) -> None:
    barely_trained = {"width": 1, "epochs": 1, "batch_size": 96, "lr": 1e-9}
    with pytest.raises(UserError, match=r"could not change \d+ of 96 images usefully.*epochs"):
        run(digits, spec(methods=["deepaugment"], deepaugment=barely_trained), tmp_path / "out")
    assert not (tmp_path / "out").exists()
