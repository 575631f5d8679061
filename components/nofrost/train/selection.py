"""How good a model is on the selection split: clean and attacked accuracy, never on the test set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nofrost.attacks import create_attack
from nofrost.config import Recipe
from nofrost.data import Split
from nofrost.models import Classifier
from nofrost.processes import ProcessGroup
from nofrost.results import Proportion


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


def select(
    model: Classifier, split: Split, recipe: Recipe, robust_weight: float, batch_size: int, group: ProcessGroup
) -> Selection:
    """Return the accuracies of `model` in evaluation mode and float32. A mixture-BN model answers as deployed.

    The score averages clean and attacked accuracy with the λ of the objective, so that the best checkpoint is best at
    what the recipe trains for. Each process of `group` measures every n-th image, `batch_size` at once; all return the
    same.
    """
    spec = recipe.selection.attack
    attack = create_attack(spec.name, norm=recipe.threat.norm, eps=recipe.threat.eps, seed=0, **spec.settings())
    device = model.mean.device
    counts = {name: torch.zeros((), dtype=torch.int64, device=device) for name in ("clean", "attacked")}
    model.eval()
    for first in range(group.rank, len(split), batch_size * group.size):
        rows = slice(first, first + batch_size * group.size, group.size)
        images, labels, indices = (part.to(device) for part in split.batch(rows))
        right = _correct(model, images, labels)
        counts["clean"] += right.sum()
        if robust_weight > 0 and bool(right.any()):
            adversarial = attack(model, images[right], labels[right], indices=indices[right])
            counts["attacked"] += _correct(model, adversarial, labels[right]).sum()
    found = {name: Proportion.of(int(count), len(split)) for name, count in group.total(counts).items()}
    if robust_weight == 0:
        return Selection(found["clean"], None, found["clean"].accuracy)
    score = (1 - robust_weight) * found["clean"].accuracy + robust_weight * found["attacked"].accuracy
    return Selection(found["clean"], found["attacked"], score)


@torch.inference_mode()
def _correct(model: Classifier, images: Tensor, labels: Tensor) -> Tensor:
    right: Tensor = model(images).argmax(1) == labels
    return right
