"""Settings out of range, and models and attacks that an objective cannot use: one sentence each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from nofrost.config import AttackSpec
from nofrost.errors import UserError
from nofrost.models import Classifier
from nofrost.train.objectives import create_objective, list_objectives

MAKES_ITS_OWN_ATTACK = ("trades", "fat", "trades-fat", "fast", "free")


@pytest.mark.parametrize(
    ("name", "settings", "sentence"),
    [
        ("stt", {}, r"unknown objective 'stt': .*mbnat"),
        ("st", {"beta": 1.0}, r"objective 'st': unknown setting 'beta': .*label_smoothing"),
        ("st", {"label_smoothing": 1.0}, r"label_smoothing: input should be less than 1, got 1\.0"),
        ("st", {"label_smoothing": -0.1}, r"label_smoothing: .* greater than or equal to 0, got -0\.1"),
        ("sat", {"adversarial_weight": 1.5}, r"adversarial_weight: .* less than or equal to 1, got 1\.5"),
        ("sat", {"batching": "both"}, r"batching: input should be 'joint' or 'separate', got 'both'"),
        ("sat", {"clean_share": 2}, r"clean_share: input should be less than or equal to 1, got 2"),
        ("sat", {"adversarial_weight": 0, "clean_share": 0}, r"leave no image to train on: raise one of them"),
        ("mbnat", {"clean_share": 0}, r"'mbnat' trains a branch for each view: .* clean_share above 0"),
        ("mbnat", {"adversarial_weight": 1}, r"'mbnat' trains a branch for each view"),
        ("mbnat", {"adversarial_weight": 0}, r"'mbnat' trains a branch for each view"),
        ("alp", {"clean_share": 0.5}, r"ALP without clean images has no pairs: leave clean_share at 1"),
        ("alp", {"adversarial_weight": 1}, r"adversarial_weight 1 leaves out one view: set it between 0 and 1"),
        ("alp", {"adversarial_weight": 0}, r"adversarial_weight 0 leaves out one view"),
        ("alp", {"pairing_weight": -1}, r"pairing_weight: .* greater than or equal to 0, got -1"),
        ("trades", {"beta": float("inf")}, r"beta: input should be a finite number, got inf"),
        ("trades", {"batching": "none"}, r"batching: .* 'joint' or 'separate', got 'none'"),
        ("fat", {"tau": -1}, r"tau: input should be greater than or equal to 0, got -1"),
        ("fat", {"tau": 0.5}, r"tau: input should be a valid integer, got 0\.5"),
        ("fat", {"tau_milestones": (90, 50)}, r"tau_milestones: \[90.0, 50.0\] are not increasing: write epochs"),
        ("trades-fat", {"tau_milestones": (50, 50)}, r"tau_milestones: \[50.0, 50.0\]"),
        ("trades-fat", {"step_noise": -0.1}, r"step_noise: .* greater than or equal to 0, got -0\.1"),
        ("trades-fat", {"beta": -1}, r"beta: .*, got -1"),
        ("augmix", {"consistency_weight": -1}, r"consistency_weight: .* greater than or equal to 0, got -1"),
        ("free", {"replays": 0}, r"replays: input should be greater than 0, got 0"),
        ("multi-view", {"views": ()}, r"views: \[\]: list at least one"),
        ("multi-view", {"views": ("clean", "clean")}, r"views: \['clean', 'clean'\]: .* each once"),
    ],
)  # fmt: skip
def test_a_setting_out_of_range_is_one_sentence(name: str, settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence) as caught:
        create_objective(name, **settings)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", MAKES_ITS_OWN_ATTACK)
@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"name": "apgd-ce"}, r"makes its own attack with settings of pgd: set attack\.name to pgd"),
        ({"restarts": 2}, r"has no attack\.restarts 2: set it to 1"),
        ({"keep": "best"}, r"has no attack\.keep best: set it to last"),
    ],
)
def test_attack_settings_that_would_be_ignored_are_refused(
    name: str, settings: dict[str, Any], sentence: str, small: Callable[..., Classifier]
) -> None:
    with pytest.raises(UserError, match=rf"objective '{name}' .*{sentence}"):
        create_objective(name).check(small("bn"), AttackSpec(**settings))


@pytest.mark.parametrize("settings", [{"steps": 10}, {"eot": 2}])
@pytest.mark.parametrize("name", ["fast", "free"])
def test_fast_and_free_take_one_step_only(
    name: str, settings: dict[str, Any], small: Callable[..., Classifier]
) -> None:
    (setting,) = settings
    with pytest.raises(UserError, match=rf"objective '{name}' .*has no attack\.{setting} .*: set it to 1"):
        create_objective(name).check(small("bn"), AttackSpec(name="pgd", **settings))


@pytest.mark.parametrize("name", [name for name in list_objectives() if name != "nearest-centroid"])
def test_a_matching_model_and_attack_are_accepted(name: str, small: Callable[..., Classifier]) -> None:
    spec = AttackSpec(name="pgd", steps=1, restarts=1, keep="last")
    create_objective(name).check(small("mbn" if name == "mbnat" else "bn"), spec)
    if name not in MAKES_ITS_OWN_ATTACK:
        create_objective(name).check(small("mbn" if name == "mbnat" else "bn"), AttackSpec(name="apgd-ce", restarts=2))


def test_mixture_batch_norm_is_the_only_normaliser_for_mbnat(small: Callable[..., Classifier]) -> None:
    with pytest.raises(UserError, match=r"set model\.normaliser to mbn"):
        create_objective("mbnat").check(small("bn"), AttackSpec())


@pytest.mark.parametrize("name", sorted(set(list_objectives()) - {"mbnat", "alp"}))
def test_mixture_batch_norm_is_for_objectives_that_train_its_branches(
    name: str, small: Callable[..., Classifier]
) -> None:
    with pytest.raises(UserError, match=rf"objective '{name}' cannot train mixture batch norm: use .* mbnat or alp"):
        create_objective(name).check(small("mbn"), AttackSpec())
