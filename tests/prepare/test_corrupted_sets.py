"""Published sets of corrupted images, from small copies of their arrays, folders and tars."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nofrost.config import DatasetSpec, TestSets, TestSetSpec
from nofrost.config.corruption_families import COMMON
from nofrost.data import read_manifest, read_split
from nofrost.errors import UserError
from nofrost.prepare import run, run_test_sets
from nofrost.prepare.sources import Part, SourceData, corrupted_folders, open_source, resolve_source
from nofrost.prepare.sources.corrupted import PUBLISHED
from nofrost.verify import verify
from tests.prepare.jpegs import jpeg, tar, write

Take = Callable[..., None]
IMAGES = 4  # in each condition
COUNTS = {"corrupted": 15 * 5 * IMAGES}


def content(part: Part, row: int) -> bytes:
    assert part.images is not None
    with part.images(row).open() as stream:
        return stream.read()


def opened(source: str, path: Path, **options: Any) -> SourceData:
    spec = DatasetSpec.model_validate({"source": source, "path": str(path), **options})
    return open_source(resolve_source(spec, is_test_set=True))


def test_there_are_fifteen_corruptions_and_four_extra_ones() -> None:
    assert (len(COMMON), len(PUBLISHED)) == (15, 19)


@pytest.fixture
def arrays(tmp_path: Path, take_for_published: Take) -> Path:
    """CIFAR-10-C with four images: a pixel says corruption, severity and image."""
    folder = tmp_path / "CIFAR-10-C"
    folder.mkdir()
    for number, name in enumerate(PUBLISHED):
        images = np.full((5 * IMAGES, 32, 32, 3), number, np.uint8)
        images[:, 0, 0, 0] = np.repeat(np.arange(1, 6), IMAGES)
        images[:, 0, 0, 1] = np.tile(np.arange(IMAGES), 5)
        np.save(folder / f"{name}.npy", images)
    np.save(folder / "labels.npy", np.tile(np.array([3, 8, 0, 6], np.uint8), 5))
    members = [(f"CIFAR-10-C/{file.name}", file.read_bytes()) for file in sorted(folder.iterdir())]
    write(tmp_path / "CIFAR-10-C.tar", tar(members))
    take_for_published("cifar10-c", tmp_path, images=COUNTS)
    return folder


@pytest.mark.parametrize("form", ["CIFAR-10-C", "CIFAR-10-C.tar", "."])
def test_rows_of_an_array_are_the_severities_one_after_another(arrays: Path, form: str) -> None:
    data = opened("cifar10-c", arrays.parent / form)
    assert list(data.conditions) == [f"{name}-{level}" for name in PUBLISHED for level in range(1, 6)]
    assert data.classes[3] == "cat"
    part = data.conditions["fog-4"]
    assert part.labels.tolist() == [3, 8, 0, 6]
    pixels = np.concatenate(list(part.read(np.arange(IMAGES))))
    assert (pixels[:, 5, 5] == PUBLISHED.index("fog")).all()
    assert pixels[:, 0, 0, 0].tolist() == [4] * IMAGES
    assert pixels[:, 0, 0, 1].tolist() == [0, 1, 2, 3]


def test_only_the_corruptions_and_severities_that_are_asked_for_are_read(arrays: Path) -> None:
    (arrays / "snow.npy").unlink()
    data = opened("cifar10-c", arrays, corruptions=["fog", "shot_noise"], severities=[5, 1])
    assert list(data.conditions) == ["shot_noise-1", "shot_noise-5", "fog-1", "fog-5"]
    assert data.checksums.keys() == {"shot_noise.npy", "fog.npy", "labels.npy"}


def save(name: str, array: np.ndarray) -> Callable[[Path], object]:
    return lambda folder: np.save(folder / name, array)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda folder: (folder / "snow.npy").unlink(),
            r"lacks the corruption snow \(1 in all\): download and unpack CI",
        ),
        (lambda folder: (folder / "labels.npy").unlink(), r"lacks labels\.npy: download CIFAR-10-C\.tar again"),
        (
            lambda folder: (folder / "fog.npy").write_bytes((folder / "fog.npy").read_bytes()[:-9]),
            r"fog\.npy in .*CIFAR-10-C is cut off or damaged: it has 61,559 bytes, its header says 61,568",
        ),
        (save("fog.npy", np.zeros((15, 32, 32, 3), np.uint8)), r"fog\.npy in .* is uint8 \[15, 32, 32, 3\], published"),
        (save("labels.npy", np.full(20, 10)), r"must be 20 whole numbers from 0 to 9"),
        (save("labels.npy", np.arange(20) % 10), r"differs between severities, whose images are the same"),
        (lambda folder: (folder / "fog.npy").write_bytes(bytes(99)), r"is cut off or has no array in fog\.npy"),
        (lambda folder: shutil.rmtree(folder), r"CIFAR-10-C\.tar is not the published file \(its MD5 differs\)"),
    ],
)
def test_faulty_arrays_are_refused(arrays: Path, change: Callable[[Path], object], message: str) -> None:
    archive = arrays.with_name("CIFAR-10-C.tar")
    archive.write_bytes(archive.read_bytes()[:-512])
    change(arrays)
    with pytest.raises(UserError, match=message):
        opened("cifar10-c", arrays.parent)


def test_unknown_corruptions_and_severities_are_refused(arrays: Path) -> None:
    with pytest.raises(UserError, match="unknown published corruption 'foggy': did you mean 'fog'"):
        opened("cifar10-c", arrays, corruptions=["foggy"])
    with pytest.raises(UserError, match="dataset: severities"):
        opened("cifar10-c", arrays, severities=[6])


def test_a_corrupted_set_is_a_test_set_with_a_split_for_each_condition(arrays: Path, tmp_path: Path) -> None:
    classes = ("cat", "ship", "airplane", "frog")
    images = np.random.default_rng(0).integers(0, 256, (12, 32, 32, 3), dtype=np.uint8)
    np.savez(tmp_path / "in.npz", images=images, labels=np.arange(12) % 4, classes=np.array(classes))
    run(DatasetSpec.model_validate({"source": "npz", "path": str(tmp_path / "in.npz")}), tmp_path / "dataset")
    options = {"corruptions": ["fog", "snow"], "severities": [2, 3], "classes": list(classes)}
    spec = TestSetSpec.model_validate({"source": "cifar10-c", "path": str(arrays), **options})
    metrics = run_test_sets(TestSets(test_sets={"c": spec}), tmp_path / "dataset", tmp_path / "sets")
    assert metrics.test_images == {"c": 16}
    manifest = read_manifest(tmp_path / "sets/c")
    assert list(manifest.splits) == ["snow-2", "snow-3", "fog-2", "fog-3"]
    assert manifest.test_set is None
    split = read_split(tmp_path / "sets/c", "fog-3", verify=True)
    assert split.labels.tolist() == [0, 1, 2, 3]
    assert split.images[:, 0, 0, 0].tolist() == [3] * 4
    assert not verify(tmp_path / "sets").lines


WNIDS = ("n01443537", "n01484850")
NAMES = ("ILSVRC2012_val_00000010.JPEG", "ILSVRC2012_val_00000002.JPEG")


@pytest.fixture
def folders(tmp_path: Path, take_for_published: Take, monkeypatch: pytest.MonkeyPatch) -> Path:
    """ImageNet-C with two classes of two photographs each, and some of its corruptions."""
    monkeypatch.setattr(corrupted_folders, "wordnet_ids", lambda: WNIDS)
    for kind, name in (("noise", "gaussian_noise"), ("weather", "fog")):
        members = []
        for level in (1, 2, 3, 4, 5):
            for row, path in enumerate(f"{wnid}/{file}" for wnid in WNIDS for file in NAMES):
                content = jpeg(100 * len(name) + 10 * level + row, size=(24, 24))
                write(tmp_path / "unpacked" / name / str(level) / path, content)
                members.append((f"{name}/{level}/{path}", content))
        write(tmp_path / f"{kind}.tar", tar(members))
    take_for_published("imagenet-c", tmp_path, images=COUNTS)
    return tmp_path


CHOICE = {"corruptions": ["fog", "gaussian_noise"], "severities": [1, 5], "view": {"resize": 24, "crop": 24}}


@pytest.mark.parametrize("form", ["unpacked", "parent", "."])
def test_folders_and_tars_of_corruptions_are_read_alike(folders: Path, form: str) -> None:
    if form == "parent":
        (folders / form).mkdir()
        (folders / "unpacked").rename(folders / form / "ImageNet-C")
    data = opened("imagenet-c", folders / form, **CHOICE)
    assert list(data.conditions) == ["gaussian_noise-1", "gaussian_noise-5", "fog-1", "fog-5"]
    part = data.conditions["fog-5"]
    assert part.labels.tolist() == [0, 0, 1, 1]
    # by name: 2 comes before 10
    assert content(part, 0) == jpeg(351, size=(24, 24))
    assert set(data.checksums) == ({"noise.tar", "weather.tar"} if form == "." else {"names and sizes of all files"})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda root: shutil.rmtree(root / "fog"), r"lacks the corruption fog \(1 in all\): download and unpack noise"),
        (lambda root: shutil.rmtree(root / "fog/5"), "lacks fog/5: each corruption has severities 1 to 5"),
        (
            lambda root: shutil.rmtree(root / "fog/5/n01484850"),
            r"fog/5 lacks n01484850 \(1 in all\): it must have the 2",
        ),
        (lambda root: write(root / "fog/1/n2/a.jpg", b""), r"fog/1 also holds n2 \(1 in all\)"),
        (
            lambda root: (root / "fog/5/n01484850" / NAMES[0]).rename(root / "fog/5/n01484850/a.JPEG"),
            "fog/5 holds other photographs than gaussian_noise/1",
        ),
        (
            lambda root: (root / "gaussian_noise/1/n01484850" / NAMES[0]).unlink(),
            "gaussian_noise/1 holds 3 images, and ImageNet-C has 4",
        ),
        (lambda root: shutil.rmtree(root), r"expected there is noise\.tar and blur\.tar"),
    ],
)
def test_faulty_folders_are_refused(folders: Path, change: Callable[[Path], object], message: str) -> None:
    change(folders / "unpacked")
    with pytest.raises(UserError, match=message):
        opened("imagenet-c", folders / "unpacked", **CHOICE)


def test_a_tar_that_was_cut_off_is_refused(folders: Path) -> None:
    archive = folders / "weather.tar"
    archive.write_bytes(archive.read_bytes()[:-2048])
    with pytest.raises(UserError, match=r"weather\.tar is not the published file \(its MD5 differs\)"):
        opened("imagenet-c", folders, **CHOICE)


def test_tiny_imagenet_c_has_the_classes_of_its_folders(tmp_path: Path, take_for_published: Take) -> None:
    take_for_published("tiny-imagenet-c", images={"corrupted": 15 * 5 * 200})
    for number in range(200):
        write(tmp_path / f"Tiny-ImageNet-C/fog/3/n{number:08d}/test_{number}.JPEG", jpeg(number, size=(64, 64)))
    data = opened("tiny-imagenet-c", tmp_path, corruptions=["fog"], severities=[3])
    assert data.classes[-1] == "n00000199"
    assert data.train.shape == (64, 64, 3)
    shutil.rmtree(tmp_path / "Tiny-ImageNet-C/fog/3/n00000007")
    with pytest.raises(UserError, match="fog/3 has 199 class folders, Tiny-ImageNet-C has 200"):
        opened("tiny-imagenet-c", tmp_path, corruptions=["fog"], severities=[3])


def test_corrupted_photographs_are_stored_by_condition_and_not_cropped_again(folders: Path, tmp_path: Path) -> None:
    for name in WNIDS:
        for row in range(3):
            write(tmp_path / "in" / name / f"{row}.jpg", jpeg(row))
    dataset = {"source": "folder", "path": str(tmp_path / "in"), "view": {"resize": 32, "crop": 24}}
    run(DatasetSpec.model_validate(dataset), tmp_path / "dataset")
    values = {"source": "imagenet-c", "path": str(folders / "unpacked"), "corruptions": ["fog"], "severities": [5]}
    spec = TestSetSpec.model_validate(values)
    run_test_sets(TestSets(test_sets={"c": spec}), tmp_path / "dataset", tmp_path / "sets")
    manifest = read_manifest(tmp_path / "sets/c")
    assert manifest.view is not None
    assert (manifest.view.resize, manifest.view.crop) == (24, 24)
    split = read_split(tmp_path / "sets/c", "fog-5", verify=True)
    assert split.images[np.array([0])].shape == (1, 24, 24, 3)
    assert not verify(tmp_path / "sets").lines
