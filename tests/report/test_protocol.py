"""What the numbers of a suite may be compared with, as it is shipped and as a study changed it."""

from __future__ import annotations

from typing import Any

import pytest

from nofrost.config import AdversarialSuite, load_suite
from nofrost.report.protocol import protocol


def suite(name: str, **changes: Any) -> AdversarialSuite:
    loaded = load_suite(name)
    assert isinstance(loaded, AdversarialSuite)
    return loaded.model_copy(update=changes)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("adversarial-quick", "quick: a short set"),
        ("adversarial-xie2020", "paper: the attacks and settings as the paper printed them"),
        ("adversarial-standard", "standard: AutoAttack as its authors define it"),
    ],
)
def test_a_shipped_suite_is_of_its_protocol(name: str, words: str) -> None:
    assert protocol(suite(name)).startswith(words)
    # On fewer images it is the same.
    assert protocol(suite(name, max_images=10)).startswith(words)
    assert protocol(suite(name), "mine").startswith(words.replace(":", " (mine):", 1))


@pytest.mark.parametrize("name", ["adversarial-xie2020", "adversarial-standard"])
def test_one_with_changed_attacks_is_comparable_with_nothing_published(name: str) -> None:
    shipped = suite(name)
    first, *others = shipped.attacks
    changed = {**shipped.attacks, first: shipped.attacks[first].model_copy(update={"max_images": 3})}
    threat = load_suite("adversarial-zeise2025").threat.model_copy(update={"eps": "1/255"})  # type: ignore[union-attr]
    words = protocol(suite(name, attacks=changed))
    assert words.startswith(f"{shipped.protocol}, but {first} differs from how it is defined; ")
    assert words.endswith("not comparable with published ones")
    assert f"but the threat and {first} differ from" in protocol(suite(name, attacks=changed, threat=threat))
    without = {key: attack for key, attack in shipped.attacks.items() if key != first}
    if others:
        assert f"but {first} differs" in protocol(suite(name, attacks=without))
