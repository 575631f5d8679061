"""`nofrost train`: what it hands to the stage, and what it prints."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from nofrost.cli import cli
from nofrost.data import read_manifest
from nofrost.errors import UserError
from nofrost.files import read_json
from nofrost.models import create_model, save_checkpoint
from nofrost.ranks import Node
from nofrost.store import open_store, pull, push
from tests.photographs_on_disk import write_dataset

SMALL = ("model.arch=resnet8", "schedule.epochs=1", "schedule.batch_size=100", "model.normaliser=bn")


def train(dataset: Path, out: Path, *options: str, **overrides: str) -> Result:
    settings = (*SMALL, *(f"model.{key}={value}" for key, value in overrides.items()))
    given = ["--dataset", str(dataset), "--out", str(out), *options]
    return CliRunner().invoke(
        cli, ["train", "--study", "digits", "--recipe", "st", *given, *(f"--set={text}" for text in settings)]
    )


@pytest.fixture(scope="module")
def weights(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of the model that is trained here."""
    manifest = read_manifest(digits)
    model = create_model(
        "resnet8", normaliser="bn", num_classes=10, image_size=manifest.image_size, channels=1,
        mean=manifest.mean, std=manifest.std, classes=manifest.classes,
    )  # fmt: skip
    path = tmp_path_factory.mktemp("weights") / "mine.safetensors"
    save_checkpoint(path, model, {})
    return path


def test_accuracies_are_printed_as_text_and_as_json(digits: Path, tmp_path: Path) -> None:
    done = train(digits, tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith(f"{tmp_path / 'out'}: best epoch 1, on the selection split ")
    assert json.loads(train(digits, tmp_path / "out", "--json").stdout)["epochs"] == 1


def test_weights_by_path_and_by_ref_train_the_same_model(
    digits: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(weights.parent)
    url = str(tmp_path / "store")
    ref = push(weights, open_store(url))
    done = [
        train(digits, tmp_path / "by-path", weights=weights.name),
        train(digits, tmp_path / "by-ref", "--store", url, weights=str(ref)),
        train(digits, tmp_path / "random"),
    ]
    assert [result.exit_code for result in done] == [0, 0, 0], [result.output for result in done]
    by_path, by_ref, random = (
        (tmp_path / name / "last.safetensors").read_bytes() for name in ("by-path", "by-ref", "random")
    )
    assert by_path == by_ref != random
    recorded = [json.loads((tmp_path / name / "record.json").read_text())["inputs"] for name in ("by-path", "by-ref")]
    assert recorded[0] == recorded[1]
    assert "weights" in recorded[0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["by-path", "by-ref", "random", "store"]


def test_ranks_above_zero_print_nothing(digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    launcher = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
    for name, value in launcher.items():
        monkeypatch.setenv(name, value)
    done = train(digits, tmp_path / "out", normaliser="nonsense")
    assert done.exit_code == 2
    assert done.output == ""


def test_several_gpus_are_given_to_processes_with_the_same_options(monkeypatch: pytest.MonkeyPatch) -> None:
    started = []
    monkeypatch.setattr("nofrost.models.require_gpus", lambda count: None)
    monkeypatch.setattr("nofrost.tasks.starter.start", lambda *given: started.append(given))
    given = ["--recipe=st", "--dataset=d", "--out=o", "--seed=0", "--json", "--set=a=1", "--set=b=[2, 3]"]
    done = CliRunner().invoke(cli, ["train", "--gpus", "4", *given])
    assert done.exit_code == 0, done.output
    ((arguments, gpus, node),) = started
    assert (arguments[0], sorted(arguments[1:]), gpus, node) == ("train", sorted([*given, "--data=local"]), 4, Node())


@pytest.mark.parametrize("gpus", ["1", "2"])
def test_gpus_that_are_not_there_and_processes_of_torchrun_are_refused(
    gpus: str, digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    done = train(digits, tmp_path / "out", "--gpus", gpus)
    assert isinstance(done.exception, UserError)
    assert f"{gpus} GPUs were asked for and 0 can be seen" in str(done.exception)
    for name, value in {"RANK": "0", "WORLD_SIZE": "1"}.items():
        monkeypatch.setenv(name, value)
    done = train(digits, tmp_path / "out", "--gpus", gpus)
    assert isinstance(done.exception, UserError)
    assert "--gpus starts the processes itself" in str(done.exception)
    assert not (tmp_path / "out").exists()


def test_a_stream_is_read_from_the_store_and_its_options_reach_the_cache(tmp_path: Path) -> None:
    dataset, store = write_dataset(tmp_path / "dataset", train=100), open_store(str(tmp_path / "store"))
    pull(push(dataset, store), tmp_path / "without", store, shards=False)
    options = ("--data", "stream", "--store", store.url, "--data-cache", str(tmp_path / "cache"))
    small = train(tmp_path / "without", tmp_path / "out", *options, "--cache-size", "20kB", "--window", "2")
    assert "two windows of 2 shards" in str(small.exception)
    done = train(tmp_path / "without", tmp_path / "out", *options, "--cache-size", "200kB", "--window", "2")
    assert done.exit_code == 0, done.output
    assert read_json(tmp_path / "out" / "record.json")["window"] == 2
    assert 0 < sum(path.stat().st_size for path in (tmp_path / "cache").iterdir()) <= 200_000


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--cache-size", "1GiB"), "--cache-size is for --data stream"),
        (("--data-cache", "cache"), "--data-cache is for --data stream"),
        (("--data", "stream", "--store", "store", "--data-cache", "dataset/cache"), "lies in"),
    ],
)
def test_options_of_a_cache_that_would_do_nothing_or_harm_are_refused(
    options: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_dataset(tmp_path / "dataset", train=100)
    done = train(Path("dataset"), Path("out"), *options)
    assert isinstance(done.exception, UserError)
    assert message in str(done.exception)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dataset"]


def test_a_dataset_without_its_shards_needs_a_stream(tmp_path: Path) -> None:
    dataset, store = write_dataset(tmp_path / "dataset", train=100), open_store(str(tmp_path / "store"))
    pull(push(dataset, store), tmp_path / "without", store, shards=False)
    done = train(tmp_path / "without", tmp_path / "out")
    assert done.exit_code != 0
    assert "is missing" in str(done.exception)
