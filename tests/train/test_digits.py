"""What the small networks reach on the digits study, trained as it says."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import nofrost
from nofrost import prepare, train
from nofrost.config import dataset_of, recipe_of
from nofrost.data import read_split


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_without_a_normaliser_standard_training_is_within_two_points_of_batch_norm(tmp_path: Path) -> None:
    prepare.run(dataset_of("digits"), tmp_path / "dataset")
    images, labels, _ = read_split(tmp_path / "dataset", "test").batch(slice(None))
    free = recipe_of("digits", "nofrost")
    accuracy = {}
    for normaliser, optimiser in (("bn", None), ("nf", free.optimiser)):
        recipe = recipe_of("digits", "st", [f"model.normaliser={normaliser}"])
        if optimiser:
            recipe = recipe.model_copy(update={"optimiser": optimiser, "schedule": free.schedule})
        total = 0.0
        for seed in range(3):
            train.run(tmp_path / "dataset", None, recipe, "st", seed, tmp_path / f"{normaliser}-{seed}")
            model = nofrost.load_model(tmp_path / f"{normaliser}-{seed}")
            with torch.inference_mode():
                total += (model(images).argmax(1) == labels).float().mean().item() / 3
        accuracy[normaliser] = total
    assert accuracy["bn"] > 0.97
    assert accuracy["nf"] > accuracy["bn"] - 0.02, accuracy
