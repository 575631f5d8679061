from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from nofrost.config import DatasetSpec
from nofrost.data import SPLITS, read_manifest, read_split
from nofrost.errors import UserError
from nofrost.prepare import list_sources, resolve_source, run
from nofrost.prepare.sources import SOURCES

FolderBytes = Callable[[Path], dict[str, str]]


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("prepared") / "digits"
    run(DatasetSpec(), out)
    return out


def test_every_source_is_known_by_its_name() -> None:
    assert list_sources() == [
        "cifar10",
        "cifar10-c",
        "cifar10.1",
        "cifar100",
        "cifar100-c",
        "cue-conflict",
        "digits",
        "fashion-mnist",
        "folder",
        "gaussians",
        "idx",
        "imagenet",
        "imagenet-9",
        "imagenet-a",
        "imagenet-c",
        "imagenet-o",
        "imagenet-r",
        "imagenet-real",
        "imagenet-sketch",
        "imagenet-v2",
        "mnist",
        "npz",
        "objectnet",
        "stl10",
        "stylized-imagenet",
        "svhn",
        "tiny-imagenet",
        "tiny-imagenet-c",
        "webdataset",
    ]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (
            {"source": "cifar"},
            ["source", "'npz'", "got 'cifar'", "did you mean 'cifar10'?"],
        ),
        (
            {"limt": 60},
            ["unknown key 'limt'", "did you mean 'limit'?", "allowed here are class_limit, classes, image_size"],
        ),
        ({"source": "npz", "key": "x"}, ["unknown key 'key'", "allowed here are class_limit"]),
        ({"limit": 0}, ["limit", "greater than or equal to 1", "got 0"]),
    ],
)
def test_a_wrong_source_or_option_is_refused_in_one_sentence(
    values: dict[str, Any], words: list[str], tmp_path: Path
) -> None:
    with pytest.raises(UserError) as error:
        run(DatasetSpec.model_construct(**{**DatasetSpec().as_json(), **values}), tmp_path / "out")
    assert all(word in str(error.value) for word in ("dataset", *words))
    assert not (tmp_path / "out").exists()


def test_digits_are_the_images_and_labels_of_scikit_learn(digits: Path) -> None:
    values, labels = load_digits(return_X_y=True)
    expected = np.rint(values * 255 / 16).reshape(-1, 8, 8, 1)
    seen = []
    for name in SPLITS:
        split = read_split(digits, name, verify=True)
        np.testing.assert_array_equal(split.images, expected[split.indices])
        np.testing.assert_array_equal(split.labels, labels[split.indices])
        seen.append(split.indices)
    assert sorted(np.concatenate(seen).tolist()) == list(range(1797))


def test_rows_are_sorted_by_their_position_in_the_source(digits: Path) -> None:
    for name in SPLITS:
        assert (np.diff(read_split(digits, name).indices) > 0).all()


def test_mean_and_std_are_those_of_the_training_pixels(digits: Path) -> None:
    manifest = read_manifest(digits)
    pixels = np.array(read_split(digits, "train").images) / 255
    assert manifest.mean == pytest.approx([pixels.mean()], abs=1e-12)
    assert manifest.std == pytest.approx([pixels.std()], abs=1e-12)


def test_the_manifest_and_metrics_describe_what_is_there(digits: Path) -> None:
    manifest = read_manifest(digits)
    metrics = json.loads((digits / "metrics.json").read_text())
    assert manifest.classes == tuple("0123456789")
    assert (manifest.image_size, manifest.channels, manifest.licence) == ((8, 8), 1, "CC BY 4.0")
    assert metrics == {
        **{f"{name}_images": len(read_split(digits, name)) for name in SPLITS},
        "classes": 10,
        "image_size": [8, 8],
        "channels": 1,
    }
    for name in SPLITS:
        counts = np.bincount(read_split(digits, name).labels, minlength=10)
        assert manifest.splits[name].class_counts == tuple(counts.tolist())


def test_metrics_are_returned_as_written(tmp_path: Path) -> None:
    metrics = run(DatasetSpec(limit=60), tmp_path / "out")
    assert metrics.as_json() == json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics.train_images + metrics.selection_images + metrics.test_images == 60


def test_image_size_resizes_by_bicubic_interpolation(tmp_path: Path) -> None:
    run(DatasetSpec(image_size=16, limit=60), tmp_path / "out")
    split = read_split(tmp_path / "out", "test")
    values = np.rint(load_digits(return_X_y=True)[0].reshape(-1, 8, 8) * 255 / 16).astype(np.uint8)
    for image, index in zip(split.images, split.indices, strict=True):
        expected = Image.fromarray(values[index]).resize((16, 16), Image.Resampling.BICUBIC)
        np.testing.assert_array_equal(image[..., 0], np.asarray(expected))


def test_the_same_configuration_makes_the_same_bytes_anywhere(tmp_path: Path, folder_bytes: FolderBytes) -> None:
    config = DatasetSpec(limit=100)
    run(config, tmp_path / "one")
    run(config, tmp_path / "below" / "another name")
    run(config.model_copy(update={"seed": 1}), tmp_path / "other seed")
    first = folder_bytes(tmp_path / "one")
    assert first == folder_bytes(tmp_path / "below" / "another name")
    assert first["train/indices.npy"] != folder_bytes(tmp_path / "other seed")["train/indices.npy"]


def test_a_moved_folder_of_images_makes_the_same_bytes(
    tmp_path: Path, class_folders: Path, folder_bytes: FolderBytes
) -> None:
    moved = tmp_path / "elsewhere" / class_folders.name
    run(DatasetSpec(source="folder", path=str(class_folders)), tmp_path / "one")
    moved.parent.mkdir()
    class_folders.rename(moved)
    run(DatasetSpec(source="folder", path=str(moved)), tmp_path / "two")
    assert folder_bytes(tmp_path / "one") == folder_bytes(tmp_path / "two")
    for file in ("manifest.json", "record.json"):
        assert str(tmp_path) not in (tmp_path / "two" / file).read_text()


def test_nothing_but_the_dataset_is_left_behind(tmp_path: Path) -> None:
    run(DatasetSpec(limit=60), tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        *SPLITS, "manifest.json", "metrics.json", "record.json",
    }  # fmt: skip


def test_the_record_names_checksums_seed_and_libraries(digits: Path) -> None:
    record = json.loads((digits / "record.json").read_text())
    assert record["inputs"]["digits"].startswith("sha256:")
    assert record["seeds"] == {"split": 0}
    assert set(record["libraries"]) == {"numpy", "pillow", "scikit-learn"}
    assert "path" not in record["config"]


@pytest.mark.parametrize("overrides", [(), ("path=data/source",)])
def test_a_path_is_refused_by_a_source_that_reads_none(overrides: tuple[str, ...]) -> None:
    config = DatasetSpec(path="photos" if not overrides else "data/source")
    with pytest.raises(UserError, match="source 'digits' reads no file or folder"):
        resolve_source(config, overrides=overrides)
    resolve_source(DatasetSpec())


@pytest.mark.parametrize("source", [name for name, each in SOURCES.classes.items() if each.test_only])
def test_a_source_that_is_only_tested_on_is_no_dataset(source: str, tmp_path: Path) -> None:
    config = DatasetSpec(source=source)
    with pytest.raises(UserError) as raised:
        run(config, tmp_path / "out")
    assert str(raised.value) == (
        f"dataset: source: {source!r} holds images that models are only tested on, so no dataset is made of it: name "
        f"it in the test_sets of an ood suite, such as suites.ood.SUITE.test_sets.NAME.source={source}"
    )
    assert resolve_source(config, is_test_set=True).source == source


def test_a_share_is_refused_by_a_source_with_a_test_split_of_its_own(tmp_path: Path) -> None:
    images, labels = np.arange(64, dtype=np.uint8).reshape(16, 2, 2), [0, 1] * 8
    np.savez(tmp_path / "a.npz", images=images, labels=labels, test_images=images, test_labels=labels)
    config = DatasetSpec(source="npz", path=str(tmp_path / "a.npz"))
    with pytest.raises(UserError, match=r"dataset\.test_share is 0\.5, but the source has a test split of its own"):
        run(config.model_copy(update={"test_share": 0.5}), tmp_path / "out")
    run(config, tmp_path / "out")


@pytest.mark.parametrize(
    "values", [{"limit": 10**22}, {"selection_share": 1e-300}, {"test_share": 1 - 1e-9}, {"source": []}, {"seed": -1}]
)
def test_values_without_sense_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(values))):
        DatasetSpec.model_validate(values)


@pytest.mark.parametrize(
    ("key", "sentence"),
    [
        ("limit", "the source has 1,797 images: all of them are kept"),
        ("class_limit", "no class has more than 183 images: all are kept"),
    ],
)
def test_a_limit_above_the_number_of_images_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], key: str, sentence: str
) -> None:
    run(DatasetSpec.model_validate({key: 5000}), tmp_path / "out")
    assert f"prepare: dataset.{key} is 5,000, {sentence}" in capsys.readouterr().err


@pytest.mark.parametrize("source", ["cifar10", "folder", "imagenet", "npz", "idx", "webdataset"])
@pytest.mark.parametrize("path", ["x" * 5000, "a\0b"])
def test_a_path_that_no_file_system_takes_is_refused(tmp_path: Path, source: str, path: str) -> None:
    with pytest.raises(UserError, match=r"cannot read|does not exist"):
        run(DatasetSpec(source=source, path=path), tmp_path / "out")


@pytest.mark.parametrize("source", ["cifar10", "folder", "imagenet", "npz", "idx", "webdataset"])
@pytest.mark.parametrize("state", ["does not exist", "holds no"])
def test_a_path_without_the_source_is_refused_with_what_is_expected(tmp_path: Path, source: Any, state: str) -> None:
    path = tmp_path / "source"
    if state == "holds no":
        path.mkdir()
    with pytest.raises(UserError, match=rf"{path}.* {state}.*"):
        run(DatasetSpec(source=source, path=str(path)), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_images_without_any_difference_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(tmp_path / "flat.npz", images=np.full((8, 4, 4), 9, np.uint8), labels=[0, 1] * 4)
    with pytest.raises(UserError, match="every training pixel of channel 0 has the same value"):
        run(DatasetSpec(source="npz", path=str(tmp_path / "flat.npz")), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert "done" not in capsys.readouterr().err


def test_an_output_that_cannot_be_written_is_refused_before_anything_is_read_or_said(
    tmp_path: Path, class_folders: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (class_folders / "stray.png").write_bytes((class_folders / "cat" / "0.png").read_bytes())
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "note").write_text("x")
    monkeypatch.setattr("nofrost.prepare.photo.Image.open", None)
    with pytest.raises(UserError, match="mine: it contains 'note'"):
        run(DatasetSpec(source="folder", path=str(class_folders)), tmp_path / "mine")
    with pytest.raises(UserError, match="it lies in"):
        run(DatasetSpec(source="folder", path=str(class_folders)), class_folders / "out")
    assert capsys.readouterr().err == ""
