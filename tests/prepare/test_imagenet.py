"""ImageNet-1k and ImageNet-V2 in every layout they are published in, with few classes and small photographs."""

from __future__ import annotations

import gzip
import hashlib
import io
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from torchvision.datasets import imagenet as torchvision_imagenet

from nofrost.config import DatasetSpec
from nofrost.data.dataset_card import load_card
from nofrost.errors import UserError
from nofrost.prepare.sources import SourceData, imagenet, imagenet_devkit, imagenet_v2, open_source, resolve_source
from tests.prepare.jpegs import jpeg, tar, write

WNIDS = tuple(f"n0000000{number}" for number in range(3))
# ILSVRC's own numbers of the classes are in no order; that of a group of classes is among them.
NUMBERS = {2: WNIDS[0], 3: WNIDS[1], 1: WNIDS[2]}
TRUTH = [3, 1, 2, 2, 1, 3, 1, 3, 2]
TRAIN = {
    name: {f"{name}_{number}.JPEG": jpeg(10 * row + number) for number in (10, 2, 7)} for row, name in enumerate(WNIDS)
}
VAL = {f"ILSVRC2012_val_{row:08d}.JPEG": jpeg(100 + row) for row in range(1, 10)}

GROUND_TRUTH = "data/ILSVRC2012_validation_ground_truth.txt"


@pytest.fixture(autouse=True)
def _three_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (imagenet, imagenet_v2):
        monkeypatch.setattr(module, "wordnet_ids", lambda: WNIDS)


def devkit() -> dict[str, bytes]:
    names = (
        "ILSVRC2012_ID",
        "WNID",
        "words",
        "gloss",
        "num_children",
        "children",
        "wordnet_height",
        "num_train_images",
    )
    rows = [(number, wnid, "a, b", "c", 0, [], 0, 3) for number, wnid in sorted(NUMBERS.items())]
    rows.append((4, "n99999999", "group", "c", 3, [1, 2, 3], 1, 0))
    synsets = np.array([tuple(row) for row in rows], dtype=[(name, object) for name in names])
    meta = io.BytesIO()
    scipy.io.savemat(meta, {"synsets": synsets.reshape(-1, 1)})
    truth = "".join(f"{number}\n" for number in TRUTH)
    return {"data/meta.mat": meta.getvalue(), GROUND_TRUTH: truth.encode()}


def label_of(name: str) -> int:
    return WNIDS.index(NUMBERS[TRUTH[sorted(VAL).index(name)]])


@pytest.fixture(params=["tars", "folders", "folders and flat val", "kaggle"])
def published(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return make(tmp_path / "in", request.param, monkeypatch)


def make(root: Path, layout: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    if layout == "tars":
        # neither classes nor images are sorted in the tars
        classes = [(f"{name}.tar", tar(reversed(TRAIN[name].items()))) for name in reversed(WNIDS)]
        write(root / imagenet.TRAIN_TAR, tar(classes))
        write(root / imagenet.VAL_TAR, tar(reversed(VAL.items())))
        kit = gzip.compress(tar([(f"{imagenet_devkit.DEVKIT}/{name}", data) for name, data in devkit().items()]))
        write(root / f"{imagenet_devkit.DEVKIT}.tar.gz", kit)
        card = load_card("imagenet")
        files = [
            file.model_copy(update={"md5": hashlib.md5((root / file.name).read_bytes()).hexdigest()})
            for file in card.files
        ]
        for module in (imagenet, imagenet_devkit):
            monkeypatch.setattr(module, "load_card", lambda _: card.model_copy(update={"files": tuple(files)}))
        return root
    base = root / "ILSVRC/Data/CLS-LOC" if layout == "kaggle" else root
    for name, images in TRAIN.items():
        for file, data in images.items():
            write(base / "train" / name / file, data)
    for file, data in VAL.items():
        folder = base / "val" if layout == "folders and flat val" else base / "val" / WNIDS[label_of(file)]
        write(folder / file, data)
    if layout == "folders and flat val":
        for name, data in devkit().items():
            write(root / imagenet_devkit.DEVKIT / name, data)
    return root


def opened(path: Path, source: str = "imagenet") -> SourceData:
    return open_source(resolve_source(DatasetSpec(source=source, path=str(path)), is_test_set=source != "imagenet"))


def content(source: SourceData, part: str) -> list[tuple[int, bytes]]:
    images = getattr(source, part)
    found = []
    for row, label in enumerate(images.labels.tolist()):
        with images.images(row).open() as stream:
            found.append((label, stream.read()))
    return found


def test_every_layout_gives_the_same_images_in_the_same_order(published: Path) -> None:
    source = opened(published)
    train = [(row, TRAIN[name][file]) for row, name in enumerate(WNIDS) for file in sorted(TRAIN[name])]
    assert content(source, "train") == train
    assert content(source, "test") == sorted(
        ((label_of(file), VAL[file]) for file in sorted(VAL)), key=lambda pair: pair[0]
    )
    assert source.classes == WNIDS
    assert all(value.startswith(("md5:", "sha256:")) for value in source.checksums.values())


def test_the_checksums_are_those_torchvision_knows() -> None:
    known = dict(torchvision_imagenet.ARCHIVE_META.values())
    assert known == {file.name: file.md5 for file in load_card("imagenet").files}


def test_the_classes_are_the_thousand_of_imagenet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    names = imagenet.wordnet_ids()
    assert (len(names), names[0], names[-1]) == (1000, "n01440764", "n15075141")
    assert list(names) == sorted(names)


@pytest.mark.parametrize("file", [imagenet.TRAIN_TAR, imagenet.VAL_TAR, f"{imagenet_devkit.DEVKIT}.tar.gz"])
def test_a_file_that_is_not_the_published_one_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    root = make(tmp_path / "in", "tars", monkeypatch)
    (root / file).write_bytes((root / file).read_bytes() + bytes(512))
    with pytest.raises(UserError, match=rf"{file} is not the published file \(its MD5 differs\)"):
        opened(root)


FOLDER_FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "a class without training images": (
        lambda root: shutil.rmtree(root / "train" / WNIDS[1]), r"train lacks n00000001 \(1 in all\): ImageNet-1k has 3"
    ),
    "another class": (lambda root: (root / "train/cat").mkdir(), r"train also holds cat \(1 in all\)"),
    "a class without test images": (lambda root: shutil.rmtree(root / "val" / WNIDS[0]), "val lacks n00000000"),
    "no training images": (
        lambda root: shutil.rmtree(root / "train"), "holds no such thing: expected there is the folder train of class"
    ),
    "an empty class": (
        lambda root: [file.unlink() for file in (root / "train" / WNIDS[2]).iterdir()], "n00000002 holds no images"
    ),
    "a link in a circle": (lambda root: (root / "train" / WNIDS[0] / "loop").symlink_to("."), "again, by a link"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FOLDER_FAULTS)
def test_folders_with_a_fault_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    change, reason = FOLDER_FAULTS[fault]
    root = make(tmp_path / "in", "folders", monkeypatch)
    change(root)
    with pytest.raises(UserError, match=reason):
        opened(root)


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("data/meta.mat", None, r"meta\.mat is missing: download the development kit again"),
        ("data/meta.mat", b"x" * 500, r"is cut off or not the published kit"),
        (
            "data/ILSVRC2012_validation_ground_truth.txt",
            b"1\n2\n3\n",
            r"holds 9 images, the ground truth .* 3: complete",
        ),
        (GROUND_TRUTH, b"9\n" * 9, r"is cut off or not the published kit"),
        (GROUND_TRUTH, b"1\n" * 9, r"lacks n00000000, n00000001"),
    ],
)
def test_a_kit_with_a_fault_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, data: bytes | None, reason: str
) -> None:
    root = make(tmp_path / "in", "folders and flat val", monkeypatch)
    file = root / imagenet_devkit.DEVKIT / name
    file.unlink() if data is None else file.write_bytes(data)
    with pytest.raises(UserError, match=reason):
        opened(root)


def test_validation_images_without_classes_need_the_kit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make(tmp_path / "in", "folders and flat val", monkeypatch)
    (root / imagenet_devkit.DEVKIT).rename(tmp_path / "kit")
    with pytest.raises(UserError, match="and neither ILSVRC2012_devkit_t12 nor"):
        opened(root)


def test_folders_of_imagenet_v2_are_numbers_and_not_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = tuple(f"n{number:08d}" for number in range(12))
    monkeypatch.setattr(imagenet_v2, "wordnet_ids", lambda: names)
    for number in range(12):
        write(tmp_path / str(number) / "a.jpeg", jpeg(number))
    source = opened(tmp_path, "imagenet-v2")
    assert content(source, "train") == [(number, jpeg(number)) for number in range(12)]
    assert source.classes == names
    (tmp_path / "11").rename(tmp_path / "cat")
    with pytest.raises(UserError, match=r"lacks 11 \(1 in all\)"):
        opened(tmp_path, "imagenet-v2")


def test_a_variant_of_imagenet_v2_is_found_by_its_published_name_and_no_other_is_taken_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imagenet_v2, "wordnet_ids", lambda: ("n00000000", "n00000001"))
    folder = tmp_path / "imagenetv2-threshold0.7-format-val"
    for number in range(2):
        write(folder / str(number) / "a.jpeg", jpeg(number))
    for path in (tmp_path, folder):
        spec = DatasetSpec.model_validate({"source": "imagenet-v2", "path": str(path), "variant": "threshold-0.7"})
        assert open_source(resolve_source(spec, is_test_set=True)).origin.endswith(": threshold-0.7")
    with pytest.raises(UserError, match=r"is the set threshold-0\.7 of ImageNet-V2, and variant is matched-frequency"):
        opened(folder, "imagenet-v2")
