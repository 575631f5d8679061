"""Sets made in shards, after a kill, and of photographs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from nofrost.augment import merge, run, sets
from nofrost.augment.sets import SetWork
from nofrost.cli import cli
from nofrost.config import AugmentationSpec
from nofrost.data import Photographs, checksum, read_augmentation_set, read_split
from nofrost.data.shards import writer
from nofrost.errors import UserError
from nofrost.files import read_checked_json, write_checked_json
from nofrost.shard import TaskShard

FolderBytes = Callable[[Path], dict[str, str]]
NETWORK = {"width": 4, "steps": 2, "batch_size": 2, "patch": 16, "lr": 0.004}
SPECS = {
    "array": AugmentationSpec.model_validate(
        {
            "methods": ["deepaugment", "deepaugment-edsr", "tda", "corruptions"],
            "deepaugment": {"width": 8, "epochs": 6, "batch_size": 16, "lr": 0.01},
            "deepaugment-edsr": NETWORK,
        }
    ),
    "photographs": AugmentationSpec.model_validate(
        {"methods": ["tda", "deepaugment-edsr"], "deepaugment-edsr": NETWORK}
    ),
}


@pytest.fixture(autouse=True, scope="module")
def small_blocks() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nofrost.augment.originals._BLOCK", 16)
        patch.setattr("nofrost.augment.originals._PHOTOGRAPHS", 4)
        patch.setattr(writer.ShardWriter.__init__, "__kwdefaults__", {"shard_bytes": 8_000})
        # Networks of a few steps are enough here.
        patch.setattr("nofrost.augment.deepaugment.paper_networks.MOST_UNEXPLAINED", float("inf"))
        yield


@pytest.fixture(scope="module")
def datasets(
    tmp_path_factory: pytest.TempPathFactory, make_dataset: Callable[..., Path], make_photographs: Callable[..., Path]
) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("datasets")
    return {"array": make_dataset(folder / "array", 40, channels=3), "photographs": make_photographs(folder / "photos")}


@pytest.fixture(scope="module")
def wholes(datasets: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    outs = {kind: tmp_path_factory.mktemp("whole") / kind for kind in datasets}
    for kind, out in outs.items():
        run(datasets[kind], SPECS[kind], out)
    return outs


KINDS = pytest.mark.parametrize("kind", ["array", "photographs"])


@KINDS
@pytest.mark.parametrize("count", [3])
def test_merged_shards_equal_the_whole_byte_for_byte(
    kind: str,
    count: int,
    datasets: dict[str, Path],
    wholes: dict[str, Path],
    tmp_path: Path,
    folder_bytes: FolderBytes,
) -> None:
    parts = [tmp_path / f"part-{index}" for index in range(count)]
    images = [
        run(datasets[kind], SPECS[kind], part, TaskShard(index, count)).images for index, part in enumerate(parts)
    ]
    assert sum(images) == len(read_split(datasets[kind], "train"))
    merge(datasets[kind], SPECS[kind], parts[::-1], tmp_path / "merged")
    assert folder_bytes(tmp_path / "merged") == folder_bytes(wholes[kind])


@KINDS
def test_more_shards_than_blocks_leave_some_empty(
    kind: str, datasets: dict[str, Path], tmp_path: Path, folder_bytes: FolderBytes, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = AugmentationSpec(methods=("tda",))
    parts = [tmp_path / f"part-{index}" for index in range(10)]
    for index, part in enumerate(parts):
        run(datasets[kind], spec, part, TaskShard(index, len(parts)))
    assert "shard 0/10 has no image of tda to make" in capsys.readouterr().err
    merge(datasets[kind], spec, parts, tmp_path / "merged")
    run(datasets[kind], spec, tmp_path / "whole")
    assert folder_bytes(tmp_path / "merged") == folder_bytes(tmp_path / "whole")


@KINDS
@pytest.mark.parametrize("survived", [1, 2])
def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(
    kind: str,
    survived: int,
    datasets: dict[str, Path],
    wholes: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    folder_bytes: FolderBytes,
) -> None:
    monkeypatch.setattr(sets, "save_interval_s", lambda: 0.0)
    made, blocks = SetWork._made, []

    def killed(work: SetWork, *arguments: Any) -> Any:
        for number, each in enumerate(made(work, *arguments)):
            if work.method == "deepaugment-edsr" and number == survived:
                raise KeyboardInterrupt
            yield each

    with monkeypatch.context() as patch:
        patch.setattr(SetWork, "_made", killed)
        with pytest.raises(KeyboardInterrupt):
            run(datasets[kind], SPECS[kind], tmp_path / "out")
    assert not (tmp_path / "out").exists()

    def counted(work: SetWork, slices: list[slice], first: int) -> Any:
        blocks.append((work.method, first))
        return made(work, slices, first)

    monkeypatch.setattr(SetWork, "_made", counted)
    run(datasets[kind], SPECS[kind], tmp_path / "out")
    assert folder_bytes(tmp_path / "out") == folder_bytes(wholes[kind])
    firsts = dict(blocks)
    first_set = SPECS[kind].methods[0]
    assert first_set not in firsts, "the first set was complete and is not made again"
    assert firsts["deepaugment-edsr"] == survived if kind == "array" else firsts["deepaugment-edsr"] <= survived


@pytest.fixture(scope="module")
def two_parts(datasets: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    folder, spec = tmp_path_factory.mktemp("parts"), AugmentationSpec(methods=("tda",))
    parts = {}
    for kind in datasets:
        parts[kind] = [folder / f"{kind}-{index}" for index in range(2)]
        for index, part in enumerate(parts[kind]):
            run(datasets[kind], spec, part, TaskShard(index, 2))
    return parts


def cut(part: Path) -> None:
    path = next(
        path for path in (part / "tda").iterdir() if path.suffix in (".tar", ".npy") and path.name != "index.npy"
    )
    path.write_bytes(path.read_bytes()[:-3000])


def edit(part: Path) -> None:
    path = next(
        path for path in (part / "tda").iterdir() if path.suffix in (".tar", ".npy") and path.name != "index.npy"
    )
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    content[700] ^= 1
    path.write_bytes(content)


def remove(part: Path) -> None:
    next((part / "tda").glob("i*.npy")).unlink()


def rewrite(part: Path) -> None:
    path = part / "shard.json"
    path.write_text(path.read_text().replace('"correlation": 1', '"correlation": 2').replace("0/2", "1/2"))


def other_seed(part: Path) -> None:
    path = part / "shard.json"
    content = read_checked_json(path)
    write_checked_json(path, {**content, "config": {**content["config"], "seed": 1}})


def other_dataset(part: Path) -> None:
    write_checked_json(part / "shard.json", {**read_checked_json(part / "shard.json"), "dataset": "0" * 64})


def no_part(part: Path) -> None:
    (part / "shard.json").unlink()


FAULTS = {
    cut: r"damaged|cut off",
    edit: "damaged",
    remove: r"npy is missing: make this shard again",
    rewrite: r"shard\.json is damaged",
    other_seed: "shard of another configuration",
    other_dataset: "shard of another dataset",
    no_part: "holds no shard of augmentation sets",
}


@KINDS
@pytest.mark.parametrize("fault", FAULTS, ids=lambda each: each.__name__)
def test_a_cut_or_edited_shard_is_refused_by_name(
    kind: str,
    fault: Callable[[Path], None],
    datasets: dict[str, Path],
    two_parts: dict[str, list[Path]],
    tmp_path: Path,
) -> None:
    copies = [shutil.copytree(part, tmp_path / part.name) for part in two_parts[kind]]
    fault(copies[0])
    with pytest.raises(UserError, match=FAULTS[fault]) as error:
        merge(datasets[kind], AugmentationSpec(methods=("tda",)), copies, tmp_path / "out")
    assert str(copies[0]) in str(error.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("chosen", "message"),
    [([], "no shards to merge"), ([0], "shard 1/2 is not among"), ([0, 0], "no shards|once|both")],
)
def test_missing_and_double_shards_are_refused(
    chosen: list[int], message: str, datasets: dict[str, Path], two_parts: dict[str, list[Path]], tmp_path: Path
) -> None:
    parts = [two_parts["array"][index] for index in chosen]
    if chosen == [0, 0]:
        parts[1] = shutil.copytree(parts[0], tmp_path / "copy")
    with pytest.raises(UserError, match=message):
        merge(datasets["array"], AugmentationSpec(methods=("tda",)), parts, tmp_path / "out")


def test_shards_of_different_networks_are_refused(datasets: dict[str, Path], tmp_path: Path) -> None:
    specs = [
        AugmentationSpec.model_validate({"methods": ["deepaugment-edsr"], "deepaugment-edsr": NETWORK, "seed": seed})
        for seed in (0, 1)
    ]
    parts = [tmp_path / f"part-{index}" for index in range(2)]
    for index, (part, spec) in enumerate(zip(parts, specs, strict=True)):
        run(datasets["array"], spec, part, TaskShard(index, 2))
    content = read_checked_json(parts[1] / "shard.json")
    write_checked_json(
        parts[1] / "shard.json", {**content, "config": read_checked_json(parts[0] / "shard.json")["config"]}
    )
    with pytest.raises(UserError, match="made by different networks of deepaugment-edsr"):
        merge(datasets["array"], specs[0], parts, tmp_path / "out")


@pytest.mark.parametrize("channels", [1, 3])
def test_sets_of_photographs_have_their_rows_sizes_and_classes(
    channels: int, make_photographs: Callable[..., Path], tmp_path: Path
) -> None:
    dataset = make_photographs(tmp_path / "dataset", channels)
    spec = AugmentationSpec.model_validate(
        {
            "methods": ["deepaugment", "tda"],
            "deepaugment": {"networks": ["edsr", "cae"], "edsr": NETWORK, "cae": NETWORK},
            "tda": {"horizontal_flip": False},
        }
    )
    metrics = run(dataset, spec, tmp_path / "out")
    measured = json.loads((tmp_path / "out/metrics.json").read_text())["deepaugment"]
    assert measured.keys() == {"edsr_psnr_db", "cae_psnr_db", "mean_correlation", "unlike_images"}
    assert metrics.images == 34
    train = read_split(dataset, "train")
    originals = train.images
    assert isinstance(originals, Photographs)
    for method in ("deepaugment", "tda"):
        images = read_augmentation_set(tmp_path / "out", method, dataset=checksum(dataset), verify=True)
        assert isinstance(images, Photographs)
        assert images.shape == originals.shape == (34, 20, 20, channels)
        sizes = originals.sizes(np.arange(34))
        expected = [
            [24 if side == min(pair) else int(24 * side / min(pair)) for side in pair] for pair in sizes.tolist()
        ]
        assert images.sizes(np.arange(34)).tolist() == expected
    tda = read_augmentation_set(tmp_path / "out", "tda", dataset=checksum(dataset))
    pairs = [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(tda[:], originals[:], strict=True)]
    others = [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(tda[:], originals[::-1], strict=True)]
    assert np.mean(pairs) > np.mean(others) + 0.2


def test_photographs_are_resized_as_a_method_asks(datasets: dict[str, Path], tmp_path: Path) -> None:
    values = {"methods": ["deepaugment-edsr"], "deepaugment-edsr": {**NETWORK, "shorter_side": 32}}
    run(datasets["photographs"], AugmentationSpec.model_validate(values), tmp_path / "out")
    images = read_augmentation_set(tmp_path / "out", "deepaugment-edsr", dataset=checksum(datasets["photographs"]))
    assert isinstance(images, Photographs)
    assert set(images.sizes(np.arange(34)).min(axis=1).tolist()) == {32}
    with pytest.raises(UserError, match=r"deepaugment-edsr\.shorter_side is for photographs"):
        run(datasets["array"], AugmentationSpec.model_validate(values), tmp_path / "other")


def test_the_command_makes_shards_and_merges_them(
    datasets: dict[str, Path], tmp_path: Path, folder_bytes: FolderBytes
) -> None:
    def augment(*arguments: str) -> Result:
        command = ["augment", "--dataset", str(datasets["photographs"]), "--set", "methods=[tda]", *arguments]
        return CliRunner().invoke(cli, command)

    parts = [str(tmp_path / f"part-{index}") for index in range(2)]
    outputs = [augment("--shard", f"{index}/2", "--out", part).stdout for index, part in enumerate(parts)]
    assert "shard 0/2, to be merged with the others: tda of 16 training images" in outputs[0]
    assert "tda of 18 training images" in outputs[1]
    assert augment("--merge", parts[0], "--merge", parts[1], "--out", str(tmp_path / "merged")).exit_code == 0
    assert augment("--out", str(tmp_path / "whole")).exit_code == 0
    assert folder_bytes(tmp_path / "merged") == folder_bytes(tmp_path / "whole")
    for wrong, message in (
        (("--shard", "0/2", "--merge", parts[0]), "give one of the two"),
        (("--shard", "2/2"), "there is no shard 2/2"),
        (("--shard", "first"), "is not of the form index/count"),
        (("--merge", str(datasets["photographs"])), "holds no shard of augmentation sets"),
    ):
        assert message in str(augment(*wrong, "--out", str(tmp_path / "out")).exception)
