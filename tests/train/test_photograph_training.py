"""A training on photographs in shards, from the first step to the record."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from nofrost import train
from nofrost.config import Recipe
from nofrost.errors import StoppedError, UserError
from nofrost.train import decoding, trainer
from tests.photographs_on_disk import write_augmentation, write_dataset
from tests.train.test_stage import fingerprints

RECIPE = Recipe.model_validate(
    {
        "title": "NoFrost*, tiny",
        "citation": "own",
        "model": {"arch": "resnet8", "normaliser": "nf"},
        "objective": {"name": "multi-view", "views": ["clean", "augmented", "texture-debiased", "adversarial"]},
        "attack": {"name": "pgd", "steps": 1},
        "selection": {"attack": {"name": "pgd", "steps": 1}},
        "views": {
            "random_resized_crop": 0.08,
            "horizontal_flip": True,
            "augmentation_sets": ["deepaugment"],
            "texture_debiased": {},
        },
        "optimiser": {"lr": 0.01},
        "schedule": {"epochs": 1, "batch_size": 8},
        "phases": {"small": {"views": {"image_size": 12}}, "large": {"views": {"image_size": 20}}},
    }
)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("photographs")
    dataset = write_dataset(folder / "dataset", train=26, others=6)
    return dataset, write_augmentation(folder / "augmentation", dataset)


def test_a_training_has_phases_of_image_sizes_and_records_what_decoded(
    inputs: tuple[Path, Path], tmp_path: Path
) -> None:
    metrics = train.run(*inputs, RECIPE, "nofrost-star", 0, tmp_path / "out")
    assert metrics.training_images == 26
    record = json.loads((tmp_path / "out" / "record.json").read_text())
    assert {name: step["image_size"] for name, step in record["steps"].items()} == {
        "small": [12, 12],
        "large": [20, 20],
    }
    assert set(decoding.decoders()) <= set(record["libraries"])
    assert record["steps"]["small"]["images"] == dict.fromkeys(RECIPE.objective.setting("views"), 8)
    timing = json.loads((tmp_path / "out" / "timing.json").read_text())
    assert 0 <= timing["data_wait"] < 1
    row = json.loads((tmp_path / "out" / "curves.json").read_text())[0]
    assert 0 <= row["train_texture-debiased"] <= 1


def test_a_training_stopped_in_mid_epoch_ends_with_the_same_bits(
    inputs: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train.run(*inputs, RECIPE, "nofrost-star", 0, tmp_path / "undisturbed")

    class Stop:
        left = 2

        def is_set(self) -> bool:
            self.left -= 1
            return self.left <= 0

    @contextmanager
    def stop_requested() -> Iterator[Stop]:
        yield Stop()

    with monkeypatch.context() as patched:
        patched.setattr(trainer, "stop_requested", stop_requested)
        with pytest.raises(StoppedError, match="stopped in epoch 1"):
            train.run(*inputs, RECIPE, "nofrost-star", 0, tmp_path / "out")
    train.run(*inputs, RECIPE, "nofrost-star", 0, tmp_path / "out")
    assert fingerprints(tmp_path / "out") == fingerprints(tmp_path / "undisturbed")


def test_a_damaged_photograph_ends_the_training_in_one_sentence(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "dataset", train=12, others=6)
    shard = dataset / "train" / "train-000000.tar"
    content = bytearray(shard.read_bytes())
    content[700] ^= 1
    shard.write_bytes(content)
    recipe = RECIPE.model_copy(update={"phases": {}, "objective": RECIPE.objective.with_settings(views=("clean",))})
    plain = recipe.model_copy(
        update={"views": recipe.views.model_copy(update={"augmentation_sets": (), "texture_debiased": None})}
    )
    with pytest.raises(UserError, match=r"train-000000\.tar is cut off or damaged at record 0"):
        train.run(dataset, None, plain, "st", 0, tmp_path / "out")
