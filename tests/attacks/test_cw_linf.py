"""CW in the infinity norm: projected gradient descent on the margin."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from nofrost.attacks import create_attack
from nofrost.attacks.gradient import CwLinf
from nofrost.attacks.norms import LinfBall
from nofrost.attacks.random import Noise

Batch = tuple[Tensor, Tensor]


def test_the_loss_is_minus_the_hinge_of_the_papers_up_to_a_constant() -> None:
    logits = torch.tensor([[60.0, 0.0, 5.0], [0.0, 60.0, 5.0], [0.0, 1.0, 15.0]], requires_grad=True)
    attack = create_attack("cw-linf", eps=0.1, confidence=20)
    assert isinstance(attack, CwLinf)
    loss = attack.loss(logits, torch.tensor([0, 0, 0]))
    hinge = torch.tensor([55.0, -60.0, -15.0]) + 20
    torch.testing.assert_close(loss.detach() - 20, -hinge.clamp(min=0))
    (gradient,) = torch.autograd.grad(loss.sum(), logits)
    # and none once the lead is longer
    assert gradient.tolist() == [[-1, 0, 1], [0, 0, 0], [-1, 0, 1]]


def test_the_last_point_is_that_of_plain_iteration(smooth_model: nn.Module, smooth_batch: Batch) -> None:
    images, labels = smooth_batch
    noise = Noise.of(0, torch.arange(len(images))).stream(0)
    points = LinfBall(images, 0.1).random_inside(noise)
    for _ in range(8):
        points = points.detach().requires_grad_()
        logits = smooth_model(points)
        own = logits.gather(1, labels[:, None])[:, 0]
        other = logits.scatter(1, labels[:, None], -torch.inf).amax(1)
        hinge = (own - other + 50).clamp(min=0).sum()
        points = points - 0.02 * torch.autograd.grad(hinge, points)[0].sign()
        points = torch.clamp(points, images - 0.1, images + 0.1).clamp(0, 1)
    settings: dict[str, Any] = {"eps": 0.1, "steps": 8, "step_size": 0.02, "keep": "last"}
    torch.testing.assert_close(create_attack("cw-linf", **settings)(smooth_model, images, labels), points.detach())
