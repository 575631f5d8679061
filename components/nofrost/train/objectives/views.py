"""Passing several kinds of images through a model, each where it belongs."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from nofrost.models import Branch, Joint, branch

BATCHINGS = ("joint", "separate")


def logits_of(model: nn.Module, images: Mapping[str, Tensor], batching: str) -> dict[str, Tensor]:
    """Return the logits of each kind of images.

    With `batching` ``joint`` all share one forward pass and so one set of batch statistics (xie2020 §4.2); with
    ``separate`` each has its own pass (wang2022's code). Mixture batch norms see ``adversarial`` images in their adversarial
    branch and all others in the clean one, either way.

    Args:
        images: [N, C, H, W] by kind, the number may differ by kind; ``adversarial``, if there, comes last.
    """
    if batching == "separate":
        logits = {}
        for kind, part in images.items():
            with branch(model, _branch(kind)):
                logits[kind] = model(part)
        return logits
    sizes = [len(part) for part in images.values()]
    adversarial = len(images["adversarial"]) if "adversarial" in images else 0
    with branch(model, Joint(sum(sizes) - adversarial)):
        parts = model(torch.cat(list(images.values()))).split(sizes)
    return dict(zip(images, parts, strict=True))


def _branch(kind: str) -> Branch:
    return "adversarial" if kind == "adversarial" else "clean"
