"""Photographs written as shards and read again by row."""

import io
import os
import tarfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nofrost.config import EvaluationView
from nofrost.data.jpeg import encode_jpeg
from nofrost.data.photographs import Photographs
from nofrost.data.shards.access import LocalFiles
from nofrost.data.shards.index import read_index
from nofrost.data.shards.writer import Photograph, ShardWriter
from nofrost.errors import UserError

VIEW = EvaluationView(resize=32, crop=28)


def photographs(count=12):
    random = np.random.default_rng(0)
    for row in range(count):
        height, width = random.integers(20, 80, 2)
        pixels = random.integers(0, 255, (height // 4 + 1, width // 4 + 1, 3), dtype=np.uint8)
        image = Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)
        yield Photograph(encode_jpeg(image), row % 3, (height, width))


def written(folder, records, shard_bytes=8_000):
    writer = ShardWriter(folder, "train", shard_bytes=shard_bytes)
    for _ in writer.write(records):
        pass
    return writer.finish()


def opened(folder, shards, count=12):
    files = LocalFiles(folder, [shard.name for shard in shards])
    return Photographs(read_index(folder, shards, count), files, VIEW, 3)


def test_every_row_gives_its_bytes_and_size_back(tmp_path):
    _, shards = written(tmp_path, photographs())
    images = opened(tmp_path, shards)
    assert len(shards) > 2
    for row, photograph in enumerate(photographs()):
        assert images.encoded(row) == photograph.content
        assert tuple(images.sizes(np.array([row]))[0]) == photograph.size
        assert images.decoded(row).size == photograph.size[::-1]


def test_tarfile_reads_what_was_written(tmp_path):
    _, shards = written(tmp_path, photographs())
    members = {}
    for shard in shards:
        assert (tmp_path / shard.name).stat().st_size == shard.size
        with tarfile.open(tmp_path / shard.name) as archive:
            members |= {member.name: archive.extractfile(member).read() for member in archive}
    for row, photograph in enumerate(photographs()):
        assert members[f"{row:09d}.jpg"] == photograph.content
        assert members[f"{row:09d}.cls"] == str(photograph.label).encode()


def test_a_writer_goes_on_after_the_last_finished_shard(tmp_path):
    whole = written(tmp_path / "whole", photographs())
    writer = ShardWriter(tmp_path / "parts", "train", shard_bytes=8_000)
    finished = writer.write(photographs())
    next(finished)
    next(finished)
    (tmp_path / "parts" / "train-000002.tar").write_bytes(b"cut off")
    writer = ShardWriter(tmp_path / "parts", "train", shard_bytes=8_000)
    assert 0 < writer.count < 12
    for _ in writer.write(list(photographs())[writer.count :]):
        pass
    assert writer.finish()[1] == whole[1]
    assert {path.name: path.read_bytes() for path in (tmp_path / "parts").iterdir()} == {
        path.name: path.read_bytes() for path in (tmp_path / "whole").iterdir()
    }


def test_a_finished_shard_that_was_damaged_meanwhile_is_written_again(tmp_path):
    whole = written(tmp_path / "whole", photographs())
    finished = ShardWriter(tmp_path / "parts", "train", shard_bytes=8_000).write(photographs())
    next(finished)
    shard = tmp_path / "parts" / "train-000000.tar"
    content = bytearray(shard.read_bytes())
    content[700] ^= 1
    shard.write_bytes(content)
    assert ShardWriter(tmp_path / "parts", "train", shard_bytes=8_000).count == 0
    assert written(tmp_path / "parts", photographs())[1] == whole[1]


def test_a_finished_shard_that_lost_its_end_is_written_again(tmp_path):
    whole = written(tmp_path / "whole", photographs())
    writer = ShardWriter(tmp_path / "parts", "train", shard_bytes=8_000)
    finished = writer.write(photographs())
    first = next(finished)
    next(finished)
    shard = tmp_path / "parts" / "train-000001.tar"
    shard.write_bytes(shard.read_bytes()[:1024])
    writer = ShardWriter(tmp_path / "parts", "train", shard_bytes=8_000)
    assert writer.count == first
    for _ in writer.write(list(photographs())[first:]):
        pass
    assert writer.finish()[1] == whole[1]


def test_indexing_gives_the_evaluation_view(tmp_path):
    transforms = pytest.importorskip("torchvision.transforms")
    _, shards = written(tmp_path, photographs())
    images = opened(tmp_path, shards)
    assert images.shape == (12, 28, 28, 3)
    expected = transforms.Compose([transforms.Resize(32), transforms.CenterCrop(28)])
    rows = np.array([7, 0, 11])
    for row, image in zip(rows, images[rows], strict=True):
        content = list(photographs())[row].content
        assert np.array_equal(image, np.asarray(expected(Image.open(io.BytesIO(content)))))
    assert np.array_equal(images[3:5], images[np.array([3, 4])])
    assert images[np.empty(0, np.int64)].shape == (0, 28, 28, 3)


def open_files(folder):
    """How many files of a folder this process has open; what other tests left open may be closed at any time."""
    descriptors = Path("/proc/self/fd")
    with_names = [os.path.realpath(descriptor) for descriptor in descriptors.iterdir()]
    return sum(name.startswith(f"{folder}/") for name in with_names)


def test_of_many_shards_few_are_open_and_threads_still_read_rightly(tmp_path):
    names = [f"{number}.tar" for number in range(200)]
    for number, name in enumerate(names):
        (tmp_path / name).write_bytes(b"%03d" % number * 3)
    files = LocalFiles(tmp_path, names)
    order = np.random.default_rng(0).integers(0, 200, 3000).tolist()
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda shard: files.read(shard, 3, 3), order)) == [b"%03d" % shard for shard in order]
    assert 0 < open_files(tmp_path) <= 64
    files.close()
    assert open_files(tmp_path) == 0


def test_threads_may_read_at_once(tmp_path):
    _, shards = written(tmp_path, photographs())
    images, wrong = opened(tmp_path, shards), []
    expected = [photograph.content for photograph in photographs()]

    def read():
        wrong.extend(row for row in range(12) if images.encoded(row) != expected[row])

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda path: path.unlink(), "train-000000.tar is missing: make the images again"),
        (lambda path: path.write_bytes(path.read_bytes()[:600]), "train-000000.tar is cut off or damaged at record 0"),
        (
            lambda path: path.write_bytes(path.read_bytes()[:700] + b"x" + path.read_bytes()[701:]),
            "train-000000.tar is cut off or damaged at record 0",
        ),
    ],
)
def test_a_damaged_shard_is_named(tmp_path, harm, message):
    _, shards = written(tmp_path, photographs())
    harm(tmp_path / "train-000000.tar")
    with pytest.raises(UserError, match=message):
        opened(tmp_path, shards)[np.array([0])]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("shard", 99, "disagree on which shard"),
        ("offset", 10**9, "beyond the end"),
        ("offset", 2**64 - 10, "beyond the end"),
        ("height", 0, "without pixels"),
    ],
)
def test_an_index_that_does_not_fit_is_refused(tmp_path, key, value, message):
    index, shards = written(tmp_path, photographs())
    index[key][5] = value
    np.save(tmp_path / "index.npy", index)
    with pytest.raises(UserError, match=message):
        opened(tmp_path, shards)
