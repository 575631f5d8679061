"""AutoAttack: its members, their order and settings, and the result beside an independent implementation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torchattacks
from torch import Tensor, nn

from nofrost.attacks import create_attack
from nofrost.attacks.autoattack import Cascade
from nofrost.errors import UserError

Batch = tuple[Tensor, Tensor]
NORMS = {"linf": "Linf", "l2": "L2"}


def members(name: str, classes: int = 10, **settings: Any) -> list[tuple[str, dict[str, Any]]]:
    """Return name and settings, as far as they are no defaults of every attack, of each member."""
    attack = create_attack(name, eps=0.1, **settings)
    assert isinstance(attack, Cascade)
    shown = ("steps", "restarts", "targets", "queries", "eot")
    found = []
    for member in attack.members(classes):
        assert (member.norm, member.eps, member.seed) == (attack.norm, attack.eps, attack.seed)
        values = {setting: getattr(member, setting) for setting in shown if hasattr(member, setting)}
        found.append((type(member).__name__, {key: value for key, value in values.items() if value != 1}))
    return found


STANDARD = [
    ("ApgdCe", {"steps": 100}),
    ("ApgdT", {"steps": 100, "targets": 9}),
    ("FabT", {"steps": 100, "targets": 9}),
    ("Square", {"queries": 5000}),
]


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("standard", STANDARD),
        (
            "plus",
            [
                ("ApgdCe", {"steps": 100, "restarts": 5}),
                ("ApgdDlr", {"steps": 100, "restarts": 5}),
                ("Fab", {"steps": 100, "restarts": 5}),
                ("Square", {"queries": 5000}),
                ("ApgdT", {"steps": 100, "targets": 9}),
                ("FabT", {"steps": 100, "targets": 9}),
            ],
        ),
        ("rand", [("ApgdCe", {"steps": 100, "eot": 20}), ("ApgdDlr", {"steps": 100, "eot": 20})]),
    ],
)
def test_each_version_has_the_members_of_autoattack(version: str, expected: list[Any]) -> None:
    assert members("autoattack", version=version) == expected


def test_the_standard_version_is_the_default_and_one_of_the_paper_is_shorter() -> None:
    assert members("autoattack") == STANDARD
    assert members("autoattack-paper") == [("ApgdCe", {"steps": 20}), ("ApgdDlr", {"steps": 20})]


def test_a_smaller_one_hands_its_settings_to_the_members() -> None:
    small = members("autoattack", steps=7, queries=30, targets=2)
    assert [values for _, values in small] == [
        {"steps": 7},
        {"steps": 7, "targets": 2},
        {"steps": 7, "targets": 2},
        {"queries": 30},
    ]


@pytest.mark.parametrize(
    ("name", "classes", "expected"),
    [
        ("autoattack", 4, ["ApgdCe", "ApgdT", "FabT", "Square"]),
        ("autoattack", 3, ["ApgdCe", "ApgdTMargin", "FabT", "Square"]),
        ("autoattack", 2, ["ApgdCe", "ApgdTMargin", "FabT", "Square"]),
        ("autoattack-paper", 3, ["ApgdCe", "ApgdDlr"]),
        ("autoattack-paper", 2, ["ApgdCe", "ApgdMargin"]),
    ],
)
def test_with_too_few_classes_for_the_ratio_the_margin_takes_its_place(
    name: str, classes: int, expected: list[str]
) -> None:
    assert [kind for kind, _ in members(name, classes)] == expected


@pytest.mark.parametrize("version", ["standard", "plus", "rand"])
@pytest.mark.parametrize("classes", [2, 3])
def test_a_linear_model_of_few_classes_is_broken_exactly_where_it_can_be(version: str, classes: int) -> None:
    """For a linear model in linf the nearest boundary is known: |margin| / the L1 norm of the weights' difference."""
    generator = torch.Generator().manual_seed(classes)
    images = 0.4 + 0.2 * torch.rand(40, 1, 4, 4, generator=generator, dtype=torch.float64)  # the box is out of reach
    weight = torch.randn(classes, 16, generator=generator, dtype=torch.float64)

    def model(images: Tensor) -> Tensor:
        return images.flatten(1) @ weight.T

    logits = model(images)
    labels, eps = logits.argmax(1), 0.05
    lead = logits.gather(1, labels[:, None]) - logits
    reach = (weight[labels][:, None] - weight[None]).abs().sum(2)
    can_be_fooled = ((lead < eps * reach) & (lead > 0)).any(1)
    attack = create_attack("autoattack", eps=eps, version=version, steps=20, queries=20)
    fooled = model(attack(model, images, labels)).argmax(1) != labels
    assert 0 < can_be_fooled.sum() < 40
    assert fooled.tolist() == can_be_fooled.tolist()


@pytest.mark.parametrize(("trained", "norm", "eps"), [("natural", "linf", 0.1), ("robust", "l2", 0.8)])
def test_it_leaves_no_more_images_right_than_torchattacks_members_one_after_the_other(
    trained: str, norm: str, eps: float, request: pytest.FixtureRequest, digits: tuple[Batch, Batch]
) -> None:
    """torchattacks' own AutoAttack takes other numbers of steps, so its members stand here at equal settings."""
    model: nn.Module = request.getfixturevalue(f"{trained}_model")
    images, labels = digits[1][0][:40], digits[1][1][:40]
    kind: dict[str, Any] = {"norm": NORMS[norm], "eps": eps, "n_restarts": 1}
    peers: list[Callable[[Tensor, Tensor], Tensor]] = [
        torchattacks.APGD(model, steps=8, **kind),
        torchattacks.APGDT(model, steps=8, n_classes=10, **kind),
        torchattacks.FAB(model, steps=8, n_classes=10, multi_targeted=True, **kind),
        torchattacks.Square(model, n_queries=50, **kind),
    ]
    left = model(images).argmax(1) == labels
    clean = int(left.sum())
    for peer in peers:
        rows = left.nonzero().squeeze(1)
        left[rows] &= model(peer(images[rows], labels[rows])).argmax(1) == labels[rows]
    ours = create_attack("autoattack", norm=norm, eps=eps, steps=8, queries=50)(model, images, labels)
    right = model(ours).argmax(1) == labels
    assert 5 < right.sum() < clean - 5
    assert right.sum() <= left.sum() + 1  # random numbers are others


def test_random_answers_are_averaged_by_the_version_for_them(natural_model: nn.Module, batch: Batch) -> None:
    passes: list[int] = []

    def model(images: Tensor) -> Tensor:
        passes.append(len(images))
        logits: Tensor = natural_model(images)
        return logits + 0.5 * torch.randn(logits.shape, dtype=logits.dtype)

    adversarial = create_attack("autoattack", eps=0.1, version="rand", steps=2)(model, *batch)
    assert len(passes) >= 2 * 2 * 20
    clean = (natural_model(batch[0]).argmax(1) == batch[1]).sum()
    assert (natural_model(adversarial).argmax(1) == batch[1]).sum() < clean - 5


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"version": "fast"}, "unknown version of attack 'autoattack' 'fast': .*plus, rand, standard"),
        ({"steps": 0}, "steps is 0: it must be a whole number of at least 1"),
        ({"queries": 0}, "queries is 0"),
        ({"targets": 0}, "targets is 0"),
        ({"restarts": 5}, "unknown setting of attack 'autoattack' 'restarts'"),
    ],
)
def test_a_setting_that_is_wrong_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        create_attack("autoattack", eps=0.1, **settings)
