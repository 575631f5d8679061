from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nofrost.config import DatasetSpec
from nofrost.data import read_manifest, read_split
from nofrost.data.parallel import threaded_map
from nofrost.errors import UserError
from nofrost.prepare import run
from nofrost.prepare.sources import SourceData, open_source, resolve_source

Paint = Callable[..., Path]


def opened(path: Path, image_size: int | None = None) -> SourceData:
    return open_source(resolve_source(DatasetSpec(source="folder", path=str(path), image_size=image_size)))


def images_of(source: SourceData) -> np.ndarray:
    return np.concatenate(list(source.train.read(np.arange(len(source.train.labels)))))


def test_images_come_in_sorted_order_with_the_labels_of_their_folders(tmp_path: Path, paint: Paint) -> None:
    names = ["a/10.png", "a/9.png", "a/sub/deep/1.png", "b/x.PNG", "b/y.png"]
    for name in reversed(names):
        paint(tmp_path / name)
    source = opened(tmp_path)
    assert source.classes == ("a", "b")
    assert source.train.labels.tolist() == [0, 0, 0, 1, 1]
    expected = [np.asarray(Image.open(tmp_path / name)) for name in names]
    np.testing.assert_array_equal(images_of(source), expected)


def test_only_the_rows_asked_for_are_decoded(class_folders: Path) -> None:
    everything = images_of(opened(class_folders))
    source = opened(class_folders)
    (class_folders / "cat" / "0.png").unlink()
    rows = np.array([1, 4, 7])
    np.testing.assert_array_equal(np.concatenate(list(source.train.read(rows))), everything[rows])


def test_other_files_and_hidden_files_are_left_out(class_folders: Path) -> None:
    (class_folders / "cat" / "Thumbs.db").write_bytes(b"x")
    (class_folders / "cat" / "._0.png").write_bytes(b"x")
    (class_folders / ".cache").mkdir()
    source = opened(class_folders)
    assert (source.classes, len(source.train.labels)) == (("cat", "dog"), 10)


@pytest.mark.parametrize("test_folder", ["test", "val"])
def test_folders_train_and_test_are_a_split_of_the_source(tmp_path: Path, paint: Paint, test_folder: str) -> None:
    for name in ("cat", "dog"):
        for number in range(3):
            paint(tmp_path / "in" / "train" / name / f"{number}.png")
        paint(tmp_path / "in" / test_folder / name / "t.png")
    run(DatasetSpec(source="folder", path=str(tmp_path / "in")), tmp_path / "out")
    test = read_split(tmp_path / "out", "test")
    assert test.indices.tolist() == [0, 1]
    np.testing.assert_array_equal(
        test.images[1], np.asarray(Image.open(tmp_path / "in" / test_folder / "dog" / "t.png"))
    )
    assert f"test split {test_folder}" in read_manifest(tmp_path / "out").provenance["origin"]


def test_a_class_may_be_called_train(tmp_path: Path, paint: Paint) -> None:
    for name in ("car", "train"):
        paint(tmp_path / name / "0.png")
    assert opened(tmp_path).classes == ("car", "train")


def test_splits_of_the_source_must_have_the_same_classes(tmp_path: Path, paint: Paint) -> None:
    for folder in ("train/cat", "train/dog", "test/cat"):
        paint(tmp_path / folder / "0.png")
    with pytest.raises(UserError, match=r"class folder 'dog' is in .*train but not in .*test"):
        opened(tmp_path)


def test_an_empty_class_folder_is_named(class_folders: Path) -> None:
    (class_folders / "eel").mkdir()
    with pytest.raises(UserError, match=r"class folder .*eel holds no images"):
        opened(class_folders)


def test_images_without_class_folders_are_refused(tmp_path: Path, paint: Paint) -> None:
    paint(tmp_path / "0.png")
    with pytest.raises(UserError, match="holds no class folders"):
        opened(tmp_path)


def test_a_single_class_is_refused(tmp_path: Path, paint: Paint) -> None:
    paint(tmp_path / "cat" / "0.png")
    with pytest.raises(UserError, match="holds one class"):
        opened(tmp_path)


def test_the_first_image_of_another_size_is_named(class_folders: Path, paint: Paint) -> None:
    paint(class_folders / "dog" / "2.png", size=(13, 10))
    paint(class_folders / "dog" / "3.png", size=(14, 10))
    with pytest.raises(UserError, match=r"2\.png is 13x10 pixels, .* 12x10: set dataset\.image_size"):
        opened(class_folders)
    assert images_of(opened(class_folders, image_size=8)).shape == (10, 8, 8, 3)


@pytest.mark.parametrize(("size", "box"), [((24, 12), (6, 0)), ((12, 24), (0, 6)), ((12, 12), (0, 0))])
def test_the_shorter_side_is_resized_and_the_centre_cropped(
    tmp_path: Path, paint: Paint, size: tuple[int, int], box: tuple[int, int]
) -> None:
    path = paint(tmp_path / "a" / "0.png", size=size)
    paint(tmp_path / "b" / "0.png", size=(6, 6))
    halved = Image.open(path).resize((size[0] // 2, size[1] // 2), Image.Resampling.BICUBIC)
    left, top = box[0] // 2, box[1] // 2
    expected = np.asarray(halved)[top : top + 6, left : left + 6]
    np.testing.assert_array_equal(images_of(opened(tmp_path, image_size=6))[0], expected)


@pytest.mark.parametrize("image_size", [None, 10])
def test_grey_images_stay_grey_only_if_all_are(tmp_path: Path, paint: Paint, image_size: int | None) -> None:
    for name in ("a/0.png", "a/1.png", "b/0.png"):
        paint(tmp_path / name, mode="L")
    grey = opened(tmp_path, image_size)
    assert grey.train.shape[2] == 1
    paint(tmp_path / "b" / "1.png", mode="RGB")
    mixed = opened(tmp_path, image_size)
    assert mixed.train.shape[2] == 3
    np.testing.assert_array_equal(images_of(mixed)[:3], np.repeat(images_of(grey), 3, axis=3))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "TIFF", "PPM"])
def test_a_cut_off_image_is_named_and_no_output_is_left(class_folders: Path, tmp_path: Path, kind: str) -> None:
    whole = io.BytesIO()
    Image.open(class_folders / "dog" / "3.png").save(whole, kind)
    damaged = class_folders / "dog" / f"3.{'jpg' if kind == 'JPEG' else kind.lower()}"
    (class_folders / "dog" / "3.png").unlink()
    damaged.write_bytes(whole.getvalue()[: len(whole.getvalue()) * 2 // 3])
    with pytest.raises(UserError, match=rf"{damaged} cannot be decoded \(.+\): remove it"):
        run(DatasetSpec(source="folder", path=str(class_folders)), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / ".out.nofrost-partial").exists()


@pytest.mark.parametrize("content", [b"", b"not an image"])
def test_a_file_that_is_no_image_is_named(class_folders: Path, content: bytes) -> None:
    (class_folders / "cat" / "2.png").write_bytes(content)
    with pytest.raises(UserError, match=r"cat/2\.png is cut off or not an image"):
        opened(class_folders)


def test_a_broken_link_is_named(class_folders: Path) -> None:
    (class_folders / "cat" / "9.png").symlink_to("gone.png")
    with pytest.raises(UserError, match=r"cannot read .*9\.png: "):
        opened(class_folders)


@pytest.mark.parametrize("together", [1, 3, 20, 50])
def test_results_come_in_order_though_work_does_not(together: int) -> None:
    delays = [0.03, 0.0, 0.02, 0.0, 0.01] * 4

    def work(item: tuple[int, float]) -> int:
        time.sleep(item[1])
        return item[0]

    assert list(threaded_map(work, enumerate(delays), together=together)) == list(range(20))


def test_work_never_runs_far_ahead_of_its_consumer() -> None:
    begun: list[int] = []
    results = threaded_map(begun.append, range(10_000))
    next(results)
    time.sleep(0.05)
    assert len(begun) <= 4 * 8 + 1
    results.close()  # type: ignore[attr-defined]


def test_an_error_comes_in_its_turn_and_stops_the_work() -> None:
    begun: list[int] = []
    lock = threading.Lock()

    def work(item: int) -> int:
        with lock:
            begun.append(item)
        if item == 3:
            raise UserError("third")
        return item

    results = threaded_map(work, range(10_000))
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(UserError, match="third"):
        next(results)
    assert len(begun) < 100


def test_an_error_of_items_taken_together_comes_before_the_results_of_these() -> None:
    results = threaded_map(lambda item: 60 // (50 - item), range(10_000), together=20)
    assert [next(results) for _ in range(40)] == [60 // (50 - item) for item in range(40)]
    with pytest.raises(ZeroDivisionError):
        next(results)
