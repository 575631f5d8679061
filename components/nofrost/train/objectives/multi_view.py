"""The loss over several views of each image: NoFrost* and the baselines beside it (wang2022 §3.2)."""

import torch
from pydantic import field_validator
from torch import Tensor, nn

from nofrost.errors import UserError
from nofrost.registry import configurable
from nofrost.train.objectives.base import Adversary, Batch, Batching, Losses, Objective, logits_of, register


@register("multi-view")
@configurable
class MultiView(Objective):
    """The mean of the losses on the views.

    Args:
        views: ``clean``, ``adversarial``, ``texture-debiased``, ``augmix``, the name of one of the recipe's
            augmentation sets, or ``augmented`` (one of these sets or ``texture-debiased``, drawn per image). wang2022
            Eq. 2 has (clean, augmented, adversarial); its code has four, with DeepAugment and texture-debiased images
            apart.
        batching: ``joint`` or ``separate``, as in standard adversarial training.

    Raises:
        UserError: a view is listed twice, there is none, or `batching` is unknown.
    """

    views: tuple[str, ...] = ("clean", "augmented", "adversarial")
    batching: Batching = "separate"

    @field_validator("views")
    @classmethod
    def _views_differ(cls, views: tuple[str, ...]) -> tuple[str, ...]:
        if not views or len(set(views)) < len(views):
            raise ValueError(f"{list(views)}: list at least one, and each once")
        return views

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
        logits = logits_of(model, images, self.batching, batch.groups)
        losses = [self.cross_entropy(scores, batch.labels) for scores in logits.values()]
        return Losses.of(torch.stack(losses).mean(), logits, batch.labels)
