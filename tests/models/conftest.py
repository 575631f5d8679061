"""What several tests of models share."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from nofrost.models import Classifier, MixtureBatchNorm, create_model


@pytest.fixture
def mixture() -> Classifier:
    """A mixture-BN network in evaluation mode whose two branches differ, deployed with weight 0.25."""
    torch.manual_seed(0)
    built = create_model("resnet8", normaliser="mbn", num_classes=4, image_size=16, channels=1, mixture_weight=0.25)
    for module in built.modules():
        if isinstance(module, MixtureBatchNorm):
            for branch in (module.clean, module.adversarial):
                nn.init.uniform_(branch.weight, 0.5, 1.5)
                branch.running_mean.uniform_(-0.3, 0.3)
    return built.eval()
