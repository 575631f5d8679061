"""Prepare writes photographs into shards: as they were published, in any number of threads, and on after a kill."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nofrost.config import DatasetSpec, EvaluationView
from nofrost.data import SPLITS, Photographs, read_manifest, read_split
from nofrost.errors import UserError
from nofrost.prepare import resolve_source, run, shard_splits
from nofrost.prepare.storing import StoredForm, stored_form
from nofrost.verify import verify
from tests.prepare.jpegs import jpeg, turned_jpeg, write

FolderBytes = Callable[[Path], dict[str, str]]
VIEW = EvaluationView(resize=24, crop=16)
IMAGES = 12  # of each of two classes
PARTIAL = ".out.nofrost-partial"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Two classes of photographs of many sizes; of the first one, one is a PNG and one is turned."""
    for row, name in enumerate(("cat", "dog")):
        for number in range(IMAGES):
            size = (20 + 3 * number, 18 + row)
            write(tmp_path / "in" / name / f"{number:02d}.jpg", jpeg(IMAGES * row + number, size))
    write(tmp_path / "in" / "cat" / "03.jpg", jpeg(3, kind="PNG"))
    write(tmp_path / "in" / "cat" / "04.jpg", turned_jpeg(4))
    return tmp_path / "in"


def config(path: Path, **options: Any) -> DatasetSpec:
    return DatasetSpec(**{"source": "folder", "path": str(path), "view": VIEW, **options})


def photographs(out: Path, split: str) -> Photographs:
    images = read_split(out, split, verify=True).images
    assert isinstance(images, Photographs)
    return images


def test_photographs_are_stored_as_they_were_published(
    tmp_path: Path, source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(config(source), tmp_path / "out")
    files = sorted(source.rglob("*.jpg"))
    rows = []
    for name in SPLITS:
        split = read_split(tmp_path / "out", name, verify=True)
        images = photographs(tmp_path / "out", name)
        assert split.labels.tolist() == [int(index >= IMAGES) for index in split.indices]
        for row, index in enumerate(split.indices):
            if index not in (3, 4):
                assert images.encoded(row) == files[index].read_bytes()
            image = images.decoded(row)
            assert images.sizes(np.array([row])).tolist() == [[image.height, image.width]]
        rows += split.indices.tolist()
    assert sorted(rows) == list(range(2 * IMAGES))
    remark = "2 photographs are stored anew, as JPEGs of quality 95: 1 PNG, 1 turned"
    assert f"prepare: {remark}" in capsys.readouterr().err
    manifest = read_manifest(tmp_path / "out")
    assert manifest.provenance["stored anew as JPEG"] == "1 PNG, 1 turned"
    assert (manifest.view, manifest.image_size, manifest.channels) == (VIEW, (16, 16), 3)
    assert {path.name for path in tmp_path.iterdir()} == {"in", "out"}


def test_training_photographs_are_mixed_so_that_a_part_of_them_has_all_classes(tmp_path: Path, source: Path) -> None:
    """Folders come one class after the other, and a training that streams shuffles a few shards at a time."""
    run(config(source), tmp_path / "out")
    train, test = (read_split(tmp_path / "out", name) for name in ("train", "test"))
    assert train.labels.tolist() != sorted(train.labels)
    assert set(train.labels[:6]) == {0, 1}
    assert test.indices.tolist() == sorted(test.indices), "which are only read in order"


def test_mean_and_deviation_are_those_of_the_view_of_the_training_photographs(tmp_path: Path, source: Path) -> None:
    run(config(source), tmp_path / "out")
    manifest, images = read_manifest(tmp_path / "out"), photographs(tmp_path / "out", "train")
    pixels = images[np.arange(len(images))].reshape(-1, 3) / 255
    assert manifest.mean == pytest.approx(pixels.mean(axis=0).tolist(), abs=1e-12)
    assert manifest.std == pytest.approx(pixels.std(axis=0).tolist(), abs=1e-12)


def test_grey_photographs_stay_grey_if_all_are(tmp_path: Path) -> None:
    for name in ("a", "b"):
        for number in range(3):
            write(tmp_path / "in" / name / f"{number}.jpg", jpeg(number, mode="L"))
    run(config(tmp_path / "in"), tmp_path / "out")
    assert photographs(tmp_path / "out", "train").shape == (2, 16, 16, 1)
    assert len(read_manifest(tmp_path / "out").mean) == 1


def test_the_bytes_do_not_depend_on_the_number_of_threads(
    tmp_path: Path, source: Path, folder_bytes: FolderBytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for threads in (1, 5):
        monkeypatch.setattr("nofrost.data.parallel.cores", lambda threads=threads: threads)
        run(config(source), tmp_path / str(threads))
        found.append(folder_bytes(tmp_path / str(threads)))
    assert found[0] == found[1]


class _KilledError(BaseException):
    pass


@pytest.mark.parametrize("kill", [0, 1, 5, 10, 17, 18, 20, 23])
@pytest.mark.parametrize("when", ["decoding", "after a shard", "after a split"])
def test_a_killed_prepare_goes_on_where_it_was(
    tmp_path: Path, source: Path, folder_bytes: FolderBytes, monkeypatch: pytest.MonkeyPatch, kill: int, when: str
) -> None:
    # a few photographs each
    monkeypatch.setattr(shard_splits, "SHARD_BYTES", 6000)
    monkeypatch.setattr("nofrost.data.parallel.cores", lambda: 1)
    run(config(source), tmp_path / "whole")
    calls: list[str] = []

    def dying(kind: str, function: Callable[..., Any], at: int) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            calls.append(kind)
            if calls.count(kind) == at + 1:
                raise _KilledError
            return function(*arguments, **options)

        return call

    with monkeypatch.context() as patch:
        if when == "decoding":
            patch.setattr(shard_splits, "stored_form", dying("form", stored_form, kill))
        elif when == "after a shard":
            patch.setattr(shard_splits.StoredCounts, "save", dying("save", shard_splits.StoredCounts.save, kill // 3))
        else:
            patch.setattr(shard_splits, "write_json", dying("json", shard_splits.write_json, kill // 8))
        with pytest.raises(_KilledError):
            run(config(source), tmp_path / "out")
    assert (tmp_path / PARTIAL).is_dir()
    shards = len(list((tmp_path / PARTIAL).rglob("*.tar.finished.npz")))
    calls.clear()
    monkeypatch.setattr(shard_splits, "stored_form", dying("form", stored_form, 10**6))
    run(config(source), tmp_path / "out")
    assert folder_bytes(tmp_path / "out") == folder_bytes(tmp_path / "whole")
    assert not (tmp_path / PARTIAL).exists()
    if when == "decoding" and shards:
        assert len(calls) < 2 * IMAGES


def test_what_another_source_left_is_not_taken_over(
    tmp_path: Path, source: Path, folder_bytes: FolderBytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shard_splits, "SHARD_BYTES", 6000)

    def damaged(*arguments: Any, **options: Any) -> StoredForm:
        form = stored_form(*arguments, **options)
        if form.size[1] == 53:
            raise UserError("damaged")
        return form

    with monkeypatch.context() as patch:
        patch.setattr(shard_splits, "stored_form", damaged)
        with pytest.raises(UserError, match="damaged"):
            run(config(source), tmp_path / "out")
    write(source / "cat" / "00.jpg", jpeg(99, size=(40, 30)))
    run(config(source), tmp_path / "out")
    run(config(source), tmp_path / "whole")
    assert folder_bytes(tmp_path / "out") == folder_bytes(tmp_path / "whole")


def test_chosen_classes_keep_their_photographs(tmp_path: Path, source: Path) -> None:
    for number in range(4):
        write(source / "ape" / f"{number}.jpg", jpeg(90 + number))
    run(config(source, classes=("dog", "cat")), tmp_path / "out")
    files = sorted(source.rglob("*.jpg"))
    split, images = read_split(tmp_path / "out", "train"), photographs(tmp_path / "out", "train")
    for row, (label, index) in enumerate(zip(split.labels, split.indices, strict=True)):
        assert files[index].parent.name == ("dog", "cat")[label]
        assert files[index].name in ("03.jpg", "04.jpg") or images.encoded(row) == files[index].read_bytes()


def test_without_a_selection_split_all_photographs_train(tmp_path: Path, source: Path) -> None:
    run(config(source, selection_share=0), tmp_path / "out")
    assert [len(photographs(tmp_path / "out", name)) for name in SPLITS] == [20, 0, 4]
    assert verify(tmp_path / "out").lines == []


def test_a_cut_off_photograph_is_named(tmp_path: Path, source: Path) -> None:
    file = source / "dog" / "07.jpg"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"dog/07\.jpg cannot be decoded \(OSError: image file is truncated"):
        run(config(source), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "view"),
    [
        ({"source": "folder"}, None),
        ({"source": "folder", "image_size": 16}, None),
        ({"source": "folder", "view": VIEW}, VIEW),
        ({"source": "folder", "storage": "shards"}, EvaluationView()),
        ({"source": "folder", "shorter_side": 300}, EvaluationView()),
        ({"source": "imagenet"}, EvaluationView()),
        ({"source": "imagenet", "view": VIEW}, VIEW),
        ({"source": "imagenet", "image_size": 64}, None),
        ({"source": "webdataset", "storage": "array"}, None),
        ({"source": "digits"}, None),
        ({"source": "digits", "storage": "array"}, None),
    ],
)
def test_photographs_become_shards_if_they_have_a_view_or_the_source_says_so(
    options: dict[str, Any], view: EvaluationView | None
) -> None:
    assert resolve_source(DatasetSpec.model_validate(options)).shard_view() == view


@pytest.mark.parametrize("options", [{"view": VIEW}, {"storage": "shards"}, {"shorter_side": 300}])
def test_sources_of_arrays_refuse_what_is_for_photographs(tmp_path: Path, options: dict[str, Any]) -> None:
    key = next(iter(options))
    with pytest.raises(UserError, match=rf"dataset\.{key} is for photographs \(folder, .*\), and the images of"):
        run(DatasetSpec(source="digits", **options), tmp_path / "out")


@pytest.mark.parametrize("view", [None, {"resize": 256}])
def test_photographs_are_not_stored_smaller_than_their_view_even_if_it_is_the_default(view: Any) -> None:
    with pytest.raises(ValueError, match=r"shorter_side 255 is smaller than view\.resize 256"):
        DatasetSpec.model_validate({"source": "folder", "view": view, "shorter_side": 255})


def test_photographs_of_many_sizes_need_a_view_or_a_size(tmp_path: Path, source: Path) -> None:
    with pytest.raises(UserError, match=r"set dataset\.image_size to make .*, or dataset\.view to keep"):
        run(config(source, view=None), tmp_path / "out")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # it leaves the tars open
def test_the_webdataset_package_reads_the_shards(tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    webdataset = pytest.importorskip("webdataset", reason="needs the package webdataset")
    monkeypatch.setattr(shard_splits, "SHARD_BYTES", 6000)
    run(config(source), tmp_path / "out")
    tars = sorted(map(str, (tmp_path / "out" / "train").glob("*.tar")))
    assert len(tars) > 2
    read = list(webdataset.WebDataset(tars, shardshuffle=False))
    images, labels = photographs(tmp_path / "out", "train"), read_split(tmp_path / "out", "train").labels
    assert [record["__key__"] for record in read] == [f"{row:09d}" for row in range(len(images))]
    assert [record["jpg"] for record in read] == [images.encoded(row) for row in range(len(images))]
    assert [int(record["cls"]) for record in read] == labels.tolist()
    gc.collect()


def test_shards_of_ours_are_a_source_again(tmp_path: Path, source: Path) -> None:
    run(config(source), tmp_path / "out")
    again = {"source": "webdataset", "path": str(tmp_path / "out"), "view": VIEW, "selection_share": 0.2}
    run(DatasetSpec.model_validate(again), tmp_path / "again")
    one, other = photographs(tmp_path / "out", "test"), photographs(tmp_path / "again", "test")
    assert [one.encoded(row) for row in range(len(one))] == [other.encoded(row) for row in range(len(other))]
    record = json.loads((tmp_path / "again" / "record.json").read_text())
    assert list(record["inputs"]) == ["keys, labels and sizes of all records"]
