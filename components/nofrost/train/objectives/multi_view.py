"""The loss over several views of each image: NoFrost* and the baselines beside it (wang2022 §3.2)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nofrost.attacks import settings
from nofrost.config.study import AugmentationSpec
from nofrost.errors import UserError
from nofrost.registry import configurable
from nofrost.train.objectives.base import Adversary, Batch, Losses, Objective, count_correct
from nofrost.train.objectives.registry import register
from nofrost.train.objectives.views import BATCHINGS, logits_of

_VIEWS = ("clean", "augmented", "adversarial", *AugmentationSpec().methods)


@register("multi-view")
@configurable
class MultiView(Objective):
    """The mean of the losses on the views.

    Args:
        views: ``clean``, ``adversarial``, ``augmented`` (one of the recipe's augmentation sets, drawn per image) or the
            name of a set. wang2022 Eq. 2 has (clean, augmented, adversarial); its code a fourth one, one for each set.
        batching: ``joint`` or ``separate``, as in standard adversarial training.

    Raises:
        UserError: a view is unknown or named twice, there is none, or `batching` is unknown.
    """

    views: tuple[str, ...] = ("clean", "augmented", "adversarial")
    batching: str = "separate"

    def __post_init__(self) -> None:
        super().__post_init__()
        settings.choice("batching", self.batching, BATCHINGS)
        for view in self.views:
            settings.choice("view of objective 'multi-view'", view, _VIEWS)
        if not self.views or len(set(self.views)) < len(self.views):
            raise UserError(f"views are {list(self.views)}: list at least one, and each once")

    @property
    def robust_weight(self) -> float:
        return 0.5 if "adversarial" in self.views else 0.0

    @property
    def augmented_views(self) -> tuple[str, ...]:
        return tuple(view for view in self.views if view not in ("clean", "adversarial"))

    def loss(self, model: nn.Module, batch: Batch, adversary: Adversary) -> Losses:
        images: dict[str, Tensor] = {}
        for view in self.augmented_views:
            if view not in batch.augmented:
                raise UserError(f"objective 'multi-view' needs the view {view!r}: name it in views.augmentation_sets")
            images[view] = batch.augmented[view]
        if "clean" in self.views:
            images["clean"] = batch.images
        if "adversarial" in self.views:
            images["adversarial"] = adversary.craft(model, batch)
        logits = logits_of(model, images, self.batching)
        losses = [self.cross_entropy(part, batch.labels) for part in logits.values()]
        correct = {kind: count_correct(part, batch.labels) for kind, part in logits.items()}
        return Losses(torch.stack(losses).mean(), correct)
