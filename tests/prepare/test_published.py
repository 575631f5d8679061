"""Published datasets by name, from small copies of their layouts that count as the published files."""

from __future__ import annotations

import gzip
import os
import struct
import tarfile
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat

from nofrost.config import DatasetSpec, TestSets
from nofrost.data import read_manifest, read_split
from nofrost.data.dataset_card import load_card
from nofrost.errors import UnavailableError, UserError
from nofrost.prepare import run, run_test_sets
from nofrost.prepare.sources import SourceData, open_source, resolve_source, stl10
from nofrost.prepare.sources.gaussians import COVARIANCE, MEANS

Take = Callable[..., None]
RANDOM = np.random.default_rng(0)


def opened(source: str, path: Path, **options: Any) -> SourceData:
    spec = DatasetSpec.model_validate({"source": source, "path": str(path), **options})
    return open_source(resolve_source(spec, is_test_set=source == "cifar10.1"))


def pixels(data: SourceData, rows: list[int], part: str = "train") -> np.ndarray:
    return np.concatenate(list(getattr(data, part).read(np.array(rows))))


def images(count: int, *shape: int) -> np.ndarray:
    return RANDOM.integers(0, 256, (count, *shape), dtype=np.uint8)


def labels(count: int, classes: int) -> np.ndarray:
    return np.arange(count) * 7 % classes


@pytest.fixture
def svhn(tmp_path: Path, take_for_published: Take) -> tuple[Path, np.ndarray, np.ndarray]:
    folder = tmp_path / "svhn"
    folder.mkdir()
    made = {}
    for name, count in (("train", 40), ("test", 20)):
        made[name] = images(count, 32, 32, 3), labels(count, 10)
        x, y = made[name]
        savemat(
            folder / f"{name}_32x32.mat",
            {"X": x.transpose(1, 2, 3, 0), "y": np.where(y == 0, 10, y)[:, None].astype(np.uint8)},
            do_compression=True,
        )
    take_for_published("svhn", folder)
    return folder, *made["train"]


def test_svhn_has_its_images_upright_and_the_label_of_zero_is_zero(svhn: tuple[Path, np.ndarray, np.ndarray]) -> None:
    folder, x, y = svhn
    data = opened("svhn", folder)
    assert data.classes == tuple("0123456789")
    np.testing.assert_array_equal(data.train.labels, y)
    np.testing.assert_array_equal(pixels(data, [0, 5, 39]), x[[0, 5, 39]])
    assert data.test is not None
    assert len(data.test.labels) == 20


@pytest.fixture
def stl(tmp_path: Path, take_for_published: Take) -> tuple[Path, np.ndarray, np.ndarray]:
    folder = tmp_path / "stl" / "stl10_binary"
    folder.mkdir(parents=True)
    x, y = images(20, 96, 96, 3), labels(20, 10)
    for name, count in (("train", 20), ("test", 10)):
        # each channel column by column
        (folder / f"{name}_X.bin").write_bytes(np.ascontiguousarray(x[:count].transpose(0, 3, 2, 1)).tobytes())
        (folder / f"{name}_y.bin").write_bytes((y[:count] + 1).astype(np.uint8).tobytes())
    (folder / "unlabeled_X.bin").write_bytes(bytes(96 * 96 * 3))
    take_for_published("stl10", folder)
    return folder, x, y


def archived(folder: Path) -> Path:
    archive = folder.parent / f"{folder.name}.tar.gz"
    with tarfile.open(archive, "w:gz") as target:
        target.add(folder, folder.name)
    return archive


@pytest.mark.parametrize("form", ["folder", "folder above", "archive"])
def test_stl10_is_read_in_every_form(stl: tuple[Path, np.ndarray, np.ndarray], form: str) -> None:
    folder, x, y = stl
    path = {"folder": folder, "folder above": folder.parent}.get(form) or archived(folder)
    data = opened("stl10", path)
    assert data.classes[:2] == ("airplane", "bird")
    np.testing.assert_array_equal(data.train.labels, y)
    np.testing.assert_array_equal(pixels(data, [1, 2, 19]), x[[1, 2, 19]])
    np.testing.assert_array_equal(pixels(data, [9], "test"), x[[9]])
    assert pixels(opened("stl10", path, image_size=48), [3]).shape == (1, 48, 48, 3)


def test_an_archive_of_stl10_without_a_file_is_refused(stl: tuple[Path, np.ndarray, np.ndarray]) -> None:
    (stl[0] / "test_y.bin").unlink()
    with pytest.raises(UserError, match=r"test_y\.bin is missing in .*: download stl10_binary\.tar\.gz again"):
        opened("stl10", archived(stl[0]))


def test_an_archive_longer_than_the_published_one_is_refused(
    stl: tuple[Path, np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stl10, "_LARGEST_ARCHIVE", 100_000)
    with pytest.raises(UserError, match="holds more than the published archive"):
        opened("stl10", archived(stl[0]))


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


@pytest.fixture
def mnist(tmp_path: Path, take_for_published: Take) -> tuple[Path, np.ndarray, np.ndarray]:
    """A folder with the gzipped files, beside which lie the unpacked ones in ``unpacked``."""
    folder, unpacked = tmp_path / "mnist", tmp_path / "unpacked"
    folder.mkdir()
    unpacked.mkdir()
    x, y = images(100, 28, 28), labels(100, 10)
    for name, count in (("train", 100), ("t10k", 30)):
        for kind, array in (("images-idx3", x[:count]), ("labels-idx1", y[:count].astype(np.uint8))):
            (unpacked / f"{name}-{kind}-ubyte").write_bytes(idx(array))
            (folder / f"{name}-{kind}-ubyte.gz").write_bytes(gzip.compress(idx(array)))
    take_for_published("mnist", folder, unpacked)
    return folder, x, y


def test_mnist_is_known_by_its_content_however_it_is_packed(mnist: tuple[Path, np.ndarray, np.ndarray]) -> None:
    folder, x, y = mnist
    packed = opened("mnist", folder)
    for file in folder.iterdir():
        file.write_bytes(gzip.compress(gzip.decompress(file.read_bytes()), 1))
    again, unpacked = opened("mnist", folder), opened("mnist", folder.parent / "unpacked")
    assert packed.checksums == again.checksums == unpacked.checksums
    assert set(packed.checksums) == {file.name for file in (folder.parent / "unpacked").iterdir()}
    for data in (packed, again, unpacked):
        np.testing.assert_array_equal(data.train.labels, y)
        np.testing.assert_array_equal(pixels(data, [3, 50])[..., 0], x[[3, 50]])


def test_fashion_mnist_is_no_mnist(mnist: tuple[Path, np.ndarray, np.ndarray], take_for_published: Take) -> None:
    folder, _, y = mnist
    with pytest.raises(UserError, match=r"train-images-idx3-ubyte\.gz is not the published file \(its MD5 differs\)"):
        opened("fashion-mnist", folder)
    with pytest.raises(UserError, match=r"train-images-idx3-ubyte.* is not the published file"):
        opened("fashion-mnist", folder.parent / "unpacked")
    take_for_published("fashion-mnist", folder)
    data = opened("fashion-mnist", folder)
    assert data.classes[y[0]] == load_card("fashion-mnist").class_names[y[0]]
    assert data.licence == "MIT"


@pytest.fixture
def cifar10_1(tmp_path: Path, take_for_published: Take) -> tuple[Path, np.ndarray, np.ndarray]:
    folder = tmp_path / "cifar10.1"
    folder.mkdir()
    x, y = images(50, 32, 32, 3), labels(50, 10)
    for version, count in (("v4", 50), ("v6", 30)):
        np.save(folder / f"cifar10.1_{version}_data.npy", x[:count])
        np.save(folder / f"cifar10.1_{version}_labels.npy", y[:count].astype(np.int32))
    take_for_published("cifar10.1", folder)
    return folder, x, y


@pytest.mark.parametrize(("version", "count"), [("v4", 50), ("v6", 30)])
def test_both_versions_of_cifar10_1_are_read(
    cifar10_1: tuple[Path, np.ndarray, np.ndarray], version: str, count: int
) -> None:
    folder, x, y = cifar10_1
    data = opened("cifar10.1", folder, version=version)
    assert data.test is None
    np.testing.assert_array_equal(data.train.labels, y[:count])
    np.testing.assert_array_equal(pixels(data, [2, 29]), x[[2, 29]])
    assert all(f"_{version}_" in name for name in data.checksums)


@pytest.mark.parametrize(
    ("source", "file"),
    [
        ("svhn", "train_32x32.mat"),
        ("stl", "train_X.bin"),
        ("mnist", "t10k-labels-idx1-ubyte.gz"),
        ("cifar10_1", "cifar10.1_v6_labels.npy"),
    ],
)
@pytest.mark.parametrize("fault", ["changed", "cut", "missing", "nothing there"])
def test_a_fault_in_published_files_is_one_sentence(
    source: str, file: str, fault: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    folder: Path = request.getfixturevalue(source)[0]
    path = folder / file
    content = path.read_bytes()
    if fault == "changed":
        whole = gzip.decompress(content) if file.endswith(".gz") else content
        changed = whole[:-1] + bytes([whole[-1] ^ 1])
        path.write_bytes(gzip.compress(changed) if file.endswith(".gz") else changed)
    elif fault == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif fault == "missing":
        path.unlink()
    else:
        folder = tmp_path / "nowhere"
    name = {"stl": "stl10", "cifar10_1": "cifar10.1"}.get(source, source)
    with pytest.raises(UserError) as error:
        opened(name, folder)
    words = {
        "changed": "is not the published file (its ",
        "cut": "is cut off" if file.endswith(".gz") else "is not the published file (its ",
        "missing": file.removesuffix(".gz"),
        "nothing there": "nowhere",
    }
    assert words[fault] in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("source", ["cifar10", "cifar10.1", "fashion-mnist", "mnist", "stl10", "svhn", "tiny-imagenet"])
@pytest.mark.parametrize("kind", ["loop", "pipe", "folder", "empty", "noise"])
def test_what_bears_the_name_of_a_published_file_and_is_none_is_one_sentence(
    source: str, kind: str, tmp_path: Path
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for file in load_card(source).files:
        for path in (folder / each.name for each in (file, *file.members)):
            make = {
                "loop": lambda path: path.symlink_to(path.name),
                "pipe": os.mkfifo,
                "folder": Path.mkdir,
                "empty": Path.touch,
                "noise": lambda path: path.write_bytes(RANDOM.bytes(999)),
            }
            make[kind](path)
    with pytest.raises(UserError) as error:
        opened(source, folder)
    assert str(folder) in str(error.value)
    assert "\n" not in str(error.value)


def test_cifar10_1_is_a_test_set_of_a_dataset_with_its_classes(
    cifar10_1: tuple[Path, np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    folder, x, y = cifar10_1
    names = np.array(load_card("cifar10.1").class_names)
    # in another order than theirs, as of some copy of CIFAR-10
    np.savez(tmp_path / "data.npz", images=x, labels=9 - y, classes=names[::-1])
    run(DatasetSpec(source="npz", path=str(tmp_path / "data.npz")), tmp_path / "dataset")
    spec = TestSets.model_validate({"test_sets": {"new": {"source": "cifar10.1", "path": str(folder)}}})
    assert run_test_sets(spec, tmp_path / "dataset", tmp_path / "out").test_images == {"new": 30}
    manifest, split = read_manifest(tmp_path / "out" / "new"), read_split(tmp_path / "out" / "new", "test")
    np.testing.assert_array_equal(split.images, x[:30])
    np.testing.assert_array_equal(names[::-1][split.labels], names[y[:30]])
    assert manifest.provenance["url"] == load_card("cifar10.1").url


def test_a_manifest_says_licence_origin_page_and_checksums(
    svhn: tuple[Path, np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    run(DatasetSpec(source="svhn", path=str(svhn[0]), selection_share=0.25), tmp_path / "out")
    manifest, card = read_manifest(tmp_path / "out"), load_card("svhn")
    assert manifest.licence == card.licence
    assert manifest.provenance["url"] == card.url
    assert "Netzer" in manifest.provenance["origin"]
    assert manifest.provenance["train_32x32.mat"].startswith("md5:")


def test_chosen_classes_get_new_labels_and_keep_their_place_in_the_source(
    mnist: tuple[Path, np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    folder, x, y = mnist
    spec = DatasetSpec.model_validate({"source": "mnist", "path": str(folder), "classes": [7, 3], "class_limit": 8})
    run(spec, tmp_path / "out")
    manifest = read_manifest(tmp_path / "out")
    assert manifest.classes == ("7", "3")
    assert manifest.config["classes"] == ["7", "3"]
    for name, count in (("train", 14), ("selection", 2), ("test", int(np.isin(y[:30], [3, 7]).sum()))):
        split = read_split(tmp_path / "out", name)
        assert len(split) == count
        np.testing.assert_array_equal(np.array([7, 3])[split.labels], y[split.indices])
        np.testing.assert_array_equal(split.images[..., 0], x[split.indices])


def test_options_that_are_not_set_do_not_show_in_a_manifest(tmp_path: Path) -> None:
    run(DatasetSpec(limit=60), tmp_path / "out")
    assert {"classes", "class_limit"}.isdisjoint(read_manifest(tmp_path / "out").config)


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (["3", "cat"], r"dataset\.classes: unknown class 'cat'"),
        (["3", "3"], r"dataset\.classes names '3' twice"),
        (["3"], r"classes: .*at least 2"),
        ([3, 4.5], r"classes\.1: .*valid string"),
    ],
)
def test_a_wrong_choice_of_classes_is_refused(classes: list[Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        open_source(resolve_source(DatasetSpec.model_validate({"source": "digits", "classes": classes})))


def test_the_gaussians_have_the_means_and_covariance_of_the_paper(tmp_path: Path) -> None:
    data = opened("gaussians", Path("data/source"), points=40_000)
    points = pixels(data, list(range(40_000))).reshape(-1, 2) / 127.5 * 10 - 10
    for label in (0, 1):
        own = points[data.train.labels == label]
        np.testing.assert_allclose(own.mean(0), MEANS[label], atol=0.02)
        # rounding to levels adds (1 / 12.75)² / 12 to each variance
        np.testing.assert_allclose(np.cov(own.T), COVARIANCE + np.eye(2) / 12.75**2 / 12, atol=0.02)
    # a direction of the Bayes classifier, of which rounding leaves the angle as it is but for a degree
    weight = np.linalg.solve(np.cov(points[data.train.labels == 0].T), MEANS[1] - MEANS[0])
    assert np.degrees(np.arctan2(-weight[1], weight[0])) == pytest.approx(np.degrees(np.arctan(5)), abs=1.5)


def test_the_gaussians_become_a_dataset_that_depends_on_the_seed_alone(tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        run(DatasetSpec.model_validate({"source": "gaussians", "points": 200, "seed": seed}), tmp_path / name)
    first, again, other = (read_manifest(tmp_path / name) for name in "abc")
    assert first == again
    assert first.provenance["points"] != other.provenance["points"]
    assert (first.image_size, first.channels) == ((1, 2), 1)


def test_the_gaussians_cannot_be_resized() -> None:
    with pytest.raises(UserError, match=r"dataset\.image_size: source 'gaussians' has images of 1 x 2 pixels"):
        opened("gaussians", Path("data/source"), image_size=8)


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None:
        pass


class _QuietServer(ThreadingHTTPServer):
    def handle_error(self, *arguments: object) -> None:
        # torchvision closes its first connection, which only follows redirections, without reading from it
        pass


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A server of the files in the folder ``served``."""
    folder = tmp_path / "served"
    folder.mkdir()
    with _QuietServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder))) as http:
        Thread(target=http.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http.server_port}", folder
        http.shutdown()


@pytest.fixture
def offered(
    server: tuple[str, Path], cifar10_1: tuple[Path, np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> Path:
    """CIFAR-10.1 on a server; the folder that is served."""
    from nofrost.prepare.sources import published_source

    url, folder = server
    for file in cifar10_1[0].iterdir():
        file.rename(folder / file.name)
    card = published_source.load_card("cifar10.1")
    files = tuple(file.model_copy(update={"url": f"{url}/{file.name}"}) for file in card.files)
    monkeypatch.setattr(published_source, "load_card", lambda name: card.model_copy(update={"files": files}))
    return folder


def test_missing_files_are_downloaded_when_that_is_asked_for(
    offered: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "new" / "folder"
    with pytest.raises(UserError, match="does not exist"):
        opened("cifar10.1", path)
    data = opened("cifar10.1", path, download=True)
    assert len(data.train.labels) == 30
    assert sorted(file.name for file in path.iterdir()) == ["cifar10.1_v6_data.npy", "cifar10.1_v6_labels.npy"]
    lines = capsys.readouterr().err.splitlines()
    assert [line.startswith("prepare: cifar10.1_v6_") for line in lines] == [True, True]
    for file in offered.iterdir():
        file.unlink()
    # all is there: nothing is asked of the server
    assert opened("cifar10.1", path, download=True).checksums == data.checksums


def test_the_settings_do_not_tell_whether_files_were_downloaded(tmp_path: Path) -> None:
    values = {"source": "svhn", "path": str(tmp_path)}
    specs = [DatasetSpec.model_validate({**values, "download": download}) for download in (True, False)]
    assert resolve_source(specs[0]).settings() == resolve_source(specs[1]).settings()


def test_a_download_that_is_not_the_published_file_leaves_nothing(offered: Path, tmp_path: Path) -> None:
    (offered / "cifar10.1_v6_labels.npy").write_bytes(b"<html>moved</html>")
    with pytest.raises(UserError, match=r"sends is not the published cifar10\.1_v6_labels\.npy"):
        opened("cifar10.1", tmp_path / "new", download=True)
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["cifar10.1_v6_data.npy"]


def test_a_server_that_refuses_is_named_and_may_be_asked_again(offered: Path, tmp_path: Path) -> None:
    (offered / "cifar10.1_v6_data.npy").unlink()
    with pytest.raises(UnavailableError, match=r"cannot be downloaded from http://.*404.*: try again"):
        opened("cifar10.1", tmp_path / "new", download=True)
    assert list((tmp_path / "new").iterdir()) == []


def test_nothing_is_downloaded_into_a_file(offered: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="is a file: name a folder to download"):
        opened("cifar10.1", tmp_path / "file", download=True)
