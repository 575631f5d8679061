"""A BagNet sees patches of the width in its name and nothing beyond."""

from __future__ import annotations

import pytest
import torch

from nofrost.models import create_model


@pytest.mark.parametrize("patch", [9, 17, 33])
def test_the_gradient_of_one_place_covers_one_patch(patch: int) -> None:
    torch.manual_seed(0)
    network = create_model(f"bagnet{patch}-w8", num_classes=3, image_size=64).network.double().eval()
    images = torch.rand(1, 3, 64, 64, dtype=torch.float64, requires_grad=True)
    features = network.forward_patches(images)  # type: ignore[operator]
    features[0, :, 1, 2].sum().backward()
    assert images.grad is not None
    rows, columns = (images.grad[0].abs().sum((0, dim)).nonzero().flatten() for dim in (2, 1))
    assert (rows.max() - rows.min() + 1, columns.max() - columns.min() + 1) == (patch, patch)
    assert (rows.min(), columns.min()) == (8, 16)  # patches lie 8 pixels apart


def test_the_logits_are_the_mean_over_patches() -> None:
    torch.manual_seed(0)
    network = create_model("bagnet9-w8", num_classes=3, image_size=40).network.eval()
    images = torch.rand(2, 3, 40, 40)
    with torch.no_grad():
        patches = network.forward_patches(images).flatten(2).movedim(1, 2)  # type: ignore[operator]
        assert torch.allclose(network(images), network.get_classifier()(patches).mean(1), atol=1e-6)  # type: ignore[operator]
