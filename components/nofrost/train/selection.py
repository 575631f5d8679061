"""Validation: clean and attacked accuracy on the selection split, by which the best checkpoint is chosen."""

import torch
from torch import Tensor

from nofrost.attacks import create_attack
from nofrost.config import Recipe
from nofrost.data import Split
from nofrost.models import Classifier
from nofrost.processes import ProcessGroup
from nofrost.results import Proportion, Selection
from nofrost.telemetry.metrics.exposition import still_working


def select(
    model: Classifier, split: Split, recipe: Recipe, robust_weight: float, batch_size: int, group: ProcessGroup
) -> Selection:
    """Return clean and attacked accuracy of `model` (a mixture as it is deployed) in evaluation mode and float32.

    The score averages the two with the weight `robust_weight` (λ of the objective) for attacked accuracy, so that the
    best checkpoint is the best at what the recipe trains for; with weight 0 there is no attack. Each process of `group`
    measures every n-th image, `batch_size` at once; all return the same. Of an empty split nothing is known.
    """
    if not len(split):
        return Selection(clean=None, attacked=None, score=0.0)
    spec = recipe.selection.attack
    attack = create_attack(spec.name, norm=recipe.threat.norm, eps=recipe.threat.eps, seed=0, **spec.settings())
    device = model.mean.device
    counts = {name: torch.zeros((), dtype=torch.int64, device=device) for name in ("clean", "attacked")}
    model.eval()
    for first in range(group.rank, len(split), batch_size * group.size):
        rows = slice(first, first + batch_size * group.size, group.size)
        images, labels, indices = (tensor.to(device) for tensor in split.batch(rows))
        # On a large split this takes as long as many steps.
        still_working()
        correct = _correct(model, images, labels)
        counts["clean"] += correct.sum()
        # An image that is wrong when clean counts as wrong under attack: attack only the others.
        if robust_weight > 0 and bool(correct.any()):
            adversarial = attack(model, images[correct], labels[correct], indices=indices[correct])
            counts["attacked"] += _correct(model, adversarial, labels[correct]).sum()
    totals = group.total(counts)
    clean, attacked = (Proportion.of(int(totals[name]), len(split)) for name in ("clean", "attacked"))
    if robust_weight == 0:
        return Selection(clean=clean, attacked=None, score=clean.accuracy)
    score = (1 - robust_weight) * clean.accuracy + robust_weight * attacked.accuracy
    return Selection(clean=clean, attacked=attacked, score=score)


@torch.inference_mode()
def _correct(model: Classifier, images: Tensor, labels: Tensor) -> Tensor:
    correct: Tensor = model(images).argmax(1) == labels
    return correct
