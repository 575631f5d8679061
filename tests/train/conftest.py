"""What tests of the trainer share: a trainer of a tiny model on digits, at the start of its first phase."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nofrost.config import Recipe
from nofrost.data import read_split
from nofrost.models import create_model
from nofrost.processes import ProcessGroup
from nofrost.train.batches import TrainingImages
from nofrost.train.objectives import create_objective
from nofrost.train.setup import Phase
from nofrost.train.trainer import Trainer

BATCH, ATTACK_STEPS = 20, 3


@pytest.fixture
def make_trainer(digits: Path) -> Callable[..., Trainer]:
    """Make a trainer of a new ResNet-8 with an objective and a normaliser; other keys of the recipe may be changed."""

    def make(
        objective: Mapping[str, Any], normaliser: str = "bn", statistics: str | int = "process", **changes: Any
    ) -> Trainer:
        recipe = Recipe.model_validate(
            {
                "title": "Tiny",
                "citation": "own",
                "model": {"arch": "resnet8", "normaliser": normaliser, "batch_statistics": statistics},
                "objective": objective,
                "attack": {"name": "pgd", "steps": ATTACK_STEPS, "keep": "last"},
                "schedule": {"epochs": 1, "batch_size": BATCH},
                **changes,
            }
        )
        loss = create_objective(recipe.objective.name, **recipe.objective.settings())
        split = read_split(digits, "train")
        sets = {name: np.array(split.images[::-1]) for name in recipe.views.augmentation_sets}
        images = TrainingImages(
            split,
            sets,
            loss.augmented_views,
            recipe.views,
            BATCH,
            accumulation=recipe.schedule.accumulation,
            batch_statistics=recipe.model.batch_statistics,
        )
        torch.manual_seed(0)
        model = create_model("resnet8", normaliser=normaliser, num_classes=10, image_size=16, channels=1)
        phase = Phase("train", recipe, images, loss)
        trainer = Trainer(model, [phase], 0, read_split(digits, "selection"), ProcessGroup())
        trainer.start_phase()
        return trainer

    return make
