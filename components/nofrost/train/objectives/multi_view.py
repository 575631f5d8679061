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

_TERMS = ("clean", "augmented", "adversarial", *AugmentationSpec().methods)


@register("multi-view")
@configurable
class MultiView(Objective):
    """The mean of the losses on the views.

    Args:
        terms: ``clean``, ``adversarial``, ``augmented`` (one of the recipe's augmentation sets, drawn per image) or the
            name of a set. wang2022 Eq. 2 has (clean, augmented, adversarial); its code a fourth term, one for each set.
        batching: ``joint`` or ``separate``, as in standard adversarial training.

    Raises:
        UserError: a term is unknown or named twice, there is none, or `batching` is unknown.
    """

    terms: tuple[str, ...] = ("clean", "augmented", "adversarial")
    batching: str = "separate"

    def __post_init__(self) -> None:
        super().__post_init__()
        settings.choice("batching", self.batching, BATCHINGS)
        for term in self.terms:
            settings.choice("term of objective 'multi-view'", term, _TERMS)
        if not self.terms or len(set(self.terms)) < len(self.terms):
            raise UserError(f"terms are {list(self.terms)}: name at least one kind of image, and each once")

    @property
    def robust_weight(self) -> float:
        return 0.5 if "adversarial" in self.terms else 0.0

    @property
    def augmented_views(self) -> tuple[str, ...]:
        return tuple(term for term in self.terms if term not in ("clean", "adversarial"))

    def loss(self, model: nn.Module, batch: Batch, adversary: Adversary) -> Losses:
        images: dict[str, Tensor] = {}
        for term in self.augmented_views:
            if term not in batch.augmented:
                raise UserError(f"objective 'multi-view' needs the view {term!r}: name it in views.augmentation_sets")
            images[term] = batch.augmented[term]
        if "clean" in self.terms:
            images["clean"] = batch.images
        if "adversarial" in self.terms:
            images["adversarial"] = adversary.craft(model, batch)
        logits = logits_of(model, images, self.batching)
        losses = [self.cross_entropy(part, batch.labels) for part in logits.values()]
        correct = {kind: count_correct(part, batch.labels) for kind, part in logits.items()}
        return Losses(torch.stack(losses).mean(), correct)
