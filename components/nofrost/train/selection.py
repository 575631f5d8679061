"""How good a model is on the selection split: clean and attacked accuracy, never on the test set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from nofrost.attacks import create_attack
from nofrost.config import Recipe
from nofrost.data import Split
from nofrost.models import Classifier
from nofrost.statistics import Proportion

BATCH_SIZE = 512


@dataclass(frozen=True)
class Selection:
    """Accuracy on the selection split; `attacked` is None for recipes that are trained on clean images alone."""

    clean: Proportion
    attacked: Proportion | None
    score: float

    def as_json(self) -> dict[str, Any]:
        """Return the form that metrics files hold."""
        attacked = self.attacked.as_json() if self.attacked else None
        return {"clean": self.clean.as_json(), "attacked": attacked, "score": self.score}


def select(model: Classifier, split: Split, recipe: Recipe, robust_weight: float, device: torch.device) -> Selection:
    """Return the accuracies of `model` in evaluation mode. A mixture-BN model answers as deployed.

    The score averages clean and attacked accuracy with the λ of the objective, so that the best checkpoint is best at
    what the recipe trains for.
    """
    spec = recipe.selection.attack
    attack = create_attack(spec.name, norm=recipe.threat.norm, eps=recipe.threat.eps, seed=0, **spec.settings())
    clean = attacked = 0
    model.eval()
    for start in range(0, len(split), BATCH_SIZE):
        images, labels, indices = (part.to(device) for part in split.batch(slice(start, start + BATCH_SIZE)))
        right = _correct(model, images, labels)
        clean += int(right.sum())
        if robust_weight > 0 and bool(right.any()):
            adversarial = attack(model, images[right], labels[right], indices=indices[right])
            attacked += int(_correct(model, adversarial, labels[right]).sum())
    total = len(split)
    if robust_weight == 0:
        return Selection(Proportion(clean, total), None, clean / total)
    score = (1 - robust_weight) * clean / total + robust_weight * attacked / total
    return Selection(Proportion(clean, total), Proportion(attacked, total), score)


@torch.inference_mode()
def _correct(model: Classifier, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    right: torch.Tensor = model(images).argmax(1) == labels
    return right
