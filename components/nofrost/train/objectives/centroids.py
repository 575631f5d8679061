"""The nearest-centroid classifier is set, not trained: its centroids become the means of the classes."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from nofrost.config import AttackSpec
from nofrost.errors import UserError
from nofrost.models import Classifier
from nofrost.models.architectures.nearest_centroid import NearestCentroid
from nofrost.registry import configurable
from nofrost.train.objectives.base import Adversary, Batch, Losses, Objective, register


@register("nearest-centroid")
@configurable
class NearestCentroidObjective(Objective):
    """Half the squared distance of each centroid to the mean of its class over all batches so far (galloway2019 §3).

    At a learning rate of 1, without momentum and weight decay, each update sets the centroids to these means: after one
    epoch they are those of all images in full batches. Processes, and micro-batches, have the mean of their means.
    """

    robust_weight = 0.0
    arch = "nearest-centroid"

    def check(self, model: nn.Module, attack: AttackSpec) -> None:
        super().check(model, attack)
        if not isinstance(getattr(model, "network", None), NearestCentroid):
            raise UserError(f"objective {self.name!r} sets centroids: set model.arch to {self.arch}")

    def loss(self, model: nn.Module, batch: Batch, adversary: Adversary) -> Losses:
        return next(self.updates(model, batch, adversary, {}))

    def updates(
        self, model: nn.Module, batch: Batch, adversary: Adversary, memory: dict[str, Tensor]
    ) -> Iterator[Losses]:
        assert isinstance(model, Classifier)
        assert isinstance(model.network, NearestCentroid)
        centroids = model.network.fc.weight
        features = ((batch.images - model.mean) / model.std).flatten(1).double()
        sums = memory.get("sums", torch.zeros_like(centroids, dtype=torch.float64))
        counts = memory.get("counts", torch.zeros(len(centroids), dtype=torch.float64, device=features.device))
        memory["sums"] = sums.index_add(0, batch.labels, features)
        memory["counts"] = counts + batch.labels.bincount(minlength=len(centroids))
        means = memory["sums"] / memory["counts"].clamp(min=1)[:, None]
        # A class that has had no image yet keeps its centroid.
        distance = (centroids - means.to(centroids.dtype)).square().sum(1) * (memory["counts"] > 0)
        with torch.no_grad():
            logits = model(batch.images)
        yield Losses.of(distance.sum() / 2, {"clean": logits}, batch.labels)
