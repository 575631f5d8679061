"""Cascades of attacks: AutoAttack's versions, the worst case over given attacks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torchattacks
from torch import Tensor, nn
from torch.nn import functional

from nofrost.attacks import Attack, WorstCase, create_attack
from nofrost.attacks.autoattack import Cascade
from nofrost.attacks.model import NoGradientError
from nofrost.errors import UserError

Batch = tuple[Tensor, Tensor]
NORMS = {"linf": "Linf", "l2": "L2"}


def members(name: str, classes: int = 10, **settings: Any) -> list[tuple[str, dict[str, Any]]]:
    """Return name and settings, as far as they are no defaults of every attack, of each member."""
    attack = create_attack(name, eps=0.1, **settings)
    assert isinstance(attack, Cascade)
    shown = ("steps", "restarts", "targets", "queries", "eot")
    result = []
    for member in attack.members(classes):
        assert (member.norm, member.eps, member.seed) == (attack.norm, attack.eps, attack.seed)
        values = {setting: getattr(member, setting) for setting in shown if hasattr(member, setting)}
        result.append((type(member).__name__, {key: value for key, value in values.items() if value != 1}))
    return result


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
        ({"version": "fast"}, "version: input should be 'standard', 'plus' or 'rand', got 'fast'"),
        ({"steps": 0}, "steps: input should be greater than 0"),
        ({"queries": 0}, "queries: .*, got 0"),
        ({"targets": 0}, "targets: .*, got 0"),
        ({"restarts": 5}, "attack 'autoattack': unknown setting 'restarts'"),
    ],
)
def test_a_setting_that_is_wrong_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        create_attack("autoattack", eps=0.1, **settings)


Quick = Callable[..., Attack]
each_norm = pytest.mark.parametrize("norm", ["linf", "l2"])


def survivors(model: Callable[[Tensor], Tensor], images: Tensor, labels: Tensor) -> Tensor:
    with torch.no_grad():
        return model(images).argmax(1) == labels


class Counted(nn.Module):
    """Counts the images that it is asked about, with and without a gradient to follow."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.asked: list[int] = []
        self.differentiated = 0

    def forward(self, images: Tensor) -> Tensor:
        self.asked.append(len(images))
        self.differentiated += len(images) * images.requires_grad
        logits: Tensor = self.model(images)
        return logits


class Rounded(nn.Module):
    """A model without a gradient: it rounds what it sees."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.model(images.detach())
        return logits


@each_norm
def test_an_image_survives_exactly_if_it_survives_every_member_alone(
    norm: str, natural_model: nn.Module, digits: tuple[Batch, Batch], quick: Quick
) -> None:
    images, labels = digits[1][0][:150], digits[1][1][:150]
    members = [quick(name, norm) for name in ("fgsm", "square", "apgd-dlr")]
    alone = [survivors(natural_model, member(natural_model, images, labels), labels) for member in members]
    assert len({int(each.sum()) for each in alone}) == 3, "the members differ"
    expected = survivors(natural_model, images, labels)
    for each in alone:
        expected &= each
    worst = WorstCase.of(*members)(natural_model, images, labels)
    assert survivors(natural_model, worst, labels).tolist() == expected.tolist()
    again = WorstCase.of(*reversed(members))(natural_model, images, labels)
    assert survivors(natural_model, again, labels).tolist() == expected.tolist(), "in any order"


@each_norm
def test_an_image_comes_back_as_the_first_member_left_it_that_fooled_it(
    norm: str, natural_model: nn.Module, batch: Batch, quick: Quick
) -> None:
    first, second = quick("square", norm, queries=20), quick("pgd", norm, steps=20)
    worst = WorstCase.of(first, second)(natural_model, *batch)
    clean = survivors(natural_model, *batch)
    after_first = clean & survivors(natural_model, first(natural_model, *batch), batch[1])
    assert 0 < after_first.sum() < clean.sum()
    assert torch.equal(worst[~clean], batch[0][~clean]), "what is wrong when clean is not touched"
    torch.testing.assert_close(worst[clean & ~after_first], first(natural_model, *batch)[clean & ~after_first])
    fooled_by_second = after_first & ~survivors(natural_model, worst, batch[1])
    assert fooled_by_second.any()
    torch.testing.assert_close(worst[fooled_by_second], second(natural_model, *batch)[fooled_by_second])


def test_what_no_member_fools_comes_back_as_the_point_with_the_highest_loss(
    robust_model: nn.Module, batch: Batch
) -> None:
    weak, strong = (create_attack("pgd", eps=0.02, steps=steps) for steps in (1, 10))
    worst = WorstCase.of(strong, weak)(robust_model, *batch)
    right = survivors(robust_model, worst, batch[1])
    assert right.any()
    # By the loss and not by the pixels: beside other images in a batch, a gradient of nearly zero may change its sign.
    losses, highest = (
        functional.cross_entropy(robust_model(images), batch[1], reduction="none")[right]
        for images in (worst, strong(robust_model, *batch))
    )
    torch.testing.assert_close(losses, highest, rtol=1e-4, atol=1e-5)
    assert (losses > functional.cross_entropy(robust_model(batch[0]), batch[1], reduction="none")[right]).all()


def test_gradients_are_spent_on_images_that_are_still_right_alone(natural_model: nn.Module, batch: Batch) -> None:
    counted = Counted(natural_model)
    fgsm, more = create_attack("fgsm", eps=0.1), create_attack("bim", eps=0.1, steps=1, keep="last")
    WorstCase.of(fgsm, more)(counted, *batch)
    clean = int(survivors(natural_model, *batch).sum())
    left = int(survivors(natural_model, fgsm(natural_model, *batch), batch[1]).sum())
    assert clean < len(batch[0])
    assert counted.differentiated == clean + left


def test_nothing_is_asked_once_every_image_is_fooled(natural_model: nn.Module, batch: Batch) -> None:
    counted = Counted(natural_model)
    WorstCase.of(create_attack("apgd-ce", eps=1), create_attack("square", eps=1))(counted, *batch)
    assert len(counted.asked) < 200


def test_members_that_need_a_gradient_are_passed_over_where_there_is_none(
    natural_model: nn.Module, batch: Batch, quick: Quick
) -> None:
    model = Rounded(natural_model)
    square = quick("square", "linf", queries=100)
    worst = WorstCase.of(quick("apgd-ce", "linf"), square)(model, *batch)
    alone = survivors(model, square(model, *batch), batch[1])
    assert survivors(model, worst, batch[1]).tolist() == alone.tolist()
    assert alone.sum() < survivors(model, *batch).sum()
    with pytest.raises(NoGradientError, match="have no gradient"):
        WorstCase.of(quick("apgd-ce", "linf"), quick("pgd", "linf"))(model, *batch)


def test_a_worst_case_can_stand_in_another(natural_model: nn.Module, batch: Batch, quick: Quick) -> None:
    inner = WorstCase.of(quick("fgsm", "linf"), quick("bim", "linf"))
    nested = WorstCase.of(inner, quick("pgd", "linf"))(natural_model, *batch)
    flat = WorstCase.of(*inner.attacks, quick("pgd", "linf"))(natural_model, *batch)
    assert torch.equal(survivors(natural_model, nested, batch[1]), survivors(natural_model, flat, batch[1]))


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ([{"eps": 0.2}], r"attack 'pgd' has eps 0\.2, but the worst case has 0\.1: give all attacks"),
        ([{"norm": "l2"}], "attack 'pgd' has norm 'l2', but the worst case has 'linf'"),
        ([{}, {"seed": 1}], "attack 'pgd' has seed 1, but the worst case has 0"),
    ],
)
def test_members_with_another_threat_or_seed_are_refused(others: list[dict[str, Any]], message: str) -> None:
    attacks = [create_attack("pgd", **{"eps": 0.1, **other}) for other in ({}, *others)]
    with pytest.raises(UserError, match=message):
        WorstCase.of(*attacks)


def test_a_worst_case_over_nothing_is_refused() -> None:
    with pytest.raises(UserError, match="a worst case needs at least one attack"):
        WorstCase.of()
