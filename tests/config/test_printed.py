"""The shipped recipes have the hyper-parameters that the papers print, where they print them."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

from nofrost.config import PixelFraction, Recipe, load_papers, load_recipe, paper_of, shipped_names

# wang2022 §4.1 and §2.1
WANG2022 = {
    "schedule.epochs": 90,
    "schedule.batch_size": 256,
    "schedule.shape": "cosine",
    "optimiser.lr": 0.1,
    "optimiser.momentum": 0.9,
    "optimiser.weight_decay": 5e-5,
}
PGD_10 = {"threat.norm": "linf", "threat.eps": Fraction(8, 255), "attack.name": "pgd", "attack.steps": 10}
EQUATION_1 = WANG2022 | PGD_10 | {"objective.adversarial_weight": 0.5}
CODE_1 = {
    "objective.label_smoothing": 0.1,
    "model.dropout": 0.25,
    "model.drop_path": 0.1,
    "optimiser.nesterov": True,
    "schedule.per": "epoch",
}
# zeise2025 Appendix A
ZEISE2025 = {
    "model.arch": "cifar-resnet18",
    "schedule.epochs": 80,
    "schedule.batch_size": 128,
    "optimiser.lr": 0.1,
    "optimiser.momentum": 0.9,
    "optimiser.weight_decay": 2e-4,
    "schedule.milestones": (75,),
    "schedule.decay": 0.1,
}
ZEISE2025_ADVERSARIAL = PGD_10 | {"attack.step_size": Fraction(2, 255)}
# xie2020 §3
XIE2020 = {
    "model.arch": "resnet152",
    "schedule.epochs": 110,
    "schedule.batch_size": 4096,
    "schedule.milestones": (35, 70, 95),
    "optimiser.lr": 0.1,
    "threat.eps": Fraction(16, 255),
    "attack.name": "pgd-targeted",
    "attack.steps": 30,
    "attack.step_size": Fraction(1, 255),
    "attack.clean_start": 0.2,
}
MIXED = XIE2020 | {"objective.adversarial_weight": 0.5, "objective.batching": "joint"}
IN_CODE = {
    "optimiser.lr_per": 256,
    "optimiser.nesterov": True,
    "schedule.lr_warmup_epochs": 5,
    "objective.label_smoothing": 0.1,
}
AT_THE_END = {"schedule.running_statistics_epochs": 10}
# galloway2019: learning rate, epochs and milestones of its text
SMALL_RATE = {"optimiser.lr": 0.01, "schedule.epochs": 150, "schedule.shape": "constant"}
LARGE_RATE = {"optimiser.lr": 0.1, "schedule.epochs": 350, "schedule.milestones": (150, 250), "schedule.decay": 0.1}
PER_IMAGE = {"optimiser.lr": 1e-5, "optimiser.lr_per": 1}
LINEAR = {
    "schedule.batch_size": "all",
    "optimiser.lr": 0.1,
    "schedule.epochs": 50,
    "optimiser.momentum": 0.0,
    "schedule.shape": "constant",
}

PRINTED: dict[str, dict[str, Any]] = {
    "st": WANG2022 | {"objective.name": "st"},
    "st-nf": WANG2022 | {"model.normaliser": "nf"},
    "st-code": CODE_1,
    "sat": EQUATION_1,
    "sat-code": EQUATION_1 | CODE_1,
    "sat-in": EQUATION_1 | {"model.normaliser": "in", "model.arch": "resnet26"},
    "pgdat": WANG2022 | PGD_10,
    "mbnat": EQUATION_1 | {"model.normaliser": "mbn"},
    "nofrost": EQUATION_1 | {"model.normaliser": "nf"},
    "nofrost-code": EQUATION_1 | CODE_1 | {"model.normaliser": "nf"},
    "nofrost-star": WANG2022 | PGD_10 | {"objective.views": ("clean", "augmented", "adversarial")},
    "nofrost-star-code": CODE_1 | {"schedule.epochs": 30, "schedule.batch_size": 85, "attack.steps": 20},
    "combine": WANG2022 | PGD_10 | {"model.normaliser": "bn"},
    "deepaugment": WANG2022 | {"objective.views": ("clean", "deepaugment")},
    "tda": WANG2022 | {"objective.views": ("texture-debiased",), "views.texture_debiased.random_resized_crop": 0.64},
    "trades": WANG2022 | PGD_10 | {"objective.beta": 1.0},
    "trades-cifar": {
        "objective.beta": 6.0,
        "threat.eps": Fraction(31, 1000),
        "attack.step_size": Fraction(7, 1000),
        "schedule.epochs": 76,
        "schedule.milestones": (75,),
        "optimiser.weight_decay": 2e-4,
    },
    "fat": WANG2022 | PGD_10 | {"objective.tau": 1},
    "fat-cifar": {
        "objective.tau": 0,
        "objective.tau_milestones": (50, 90),
        "objective.step_noise": 0.001,
        "threat.eps": Fraction(31, 1000),
        "attack.steps": 10,
        "attack.step_size": Fraction(7, 1000),
        "schedule.epochs": 120,
        "optimiser.weight_decay": 2e-4,
    },
    "trades-fat": WANG2022 | PGD_10 | {"objective.beta": 1.0, "objective.tau": 1},
    "trades-fat-cifar": {
        "objective.beta": 6.0,
        "objective.tau_milestones": (30, 50, 70),
        "schedule.epochs": 85,
        "schedule.milestones": (75,),
    },
    "fast": {"threat.eps": Fraction(2, 255), "attack.steps": 1, "optimiser.lr": 0.4, "optimiser.weight_decay": 1e-4},
    "fast-cifar": {
        "threat.eps": Fraction(8, 255),
        "attack.step_size": Fraction(10, 255),
        "schedule.epochs": 15,
        "optimiser.lr": 0.2,
        "optimiser.weight_decay": 5e-4,
        "selection.guard": 0.2,
        "selection.attack.steps": 5,
    },
    "free": {"threat.eps": Fraction(2, 255), "objective.replays": 4, "schedule.epochs": 23, "optimiser.lr": 0.1},
    "free-cifar": {"threat.eps": Fraction(8, 255), "objective.replays": 8, "optimiser.weight_decay": 2e-4},
    "zeise2025-all-n": ZEISE2025 | {"objective.name": "st"},
    "zeise2025-all-a": ZEISE2025 | ZEISE2025_ADVERSARIAL,
    **{
        f"zeise2025-{first}-{second}": ZEISE2025 | ZEISE2025_ADVERSARIAL
        for first, second in (
            ("all-n", "bn-a"),
            ("all-a", "bn-n"),
            ("all-n", "rest-a"),
            ("all-a", "rest-n"),
            ("all-n", "bn-not-first-a"),
            ("all-n", "bn-not-last-a"),
            ("all-n", "two-random-a"),
            ("all-n", "layer"),
            ("all-n", "bn-a-statistics"),
            ("all-n", "bn-a-fine-tuned"),
        )
    },
    "galloway2019-vgg8": SMALL_RATE | {"model.normaliser": "none"},
    "galloway2019-vgg8-bn": SMALL_RATE | {"model.normaliser": "bn"},
    "galloway2019-vgg8-bn-c": SMALL_RATE,
    "galloway2019-svhn-vgg8": {"optimiser.lr": 0.01, "views.crop_padding": 0, "views.horizontal_flip": False},
    "galloway2019-svhn-vgg8-bn": {"optimiser.lr": 0.01, "model.normaliser": "bn"},
    "galloway2019-vgg-large-lr": LARGE_RATE | {"model.normaliser": "none"},
    "galloway2019-vgg-large-lr-bn": LARGE_RATE | {"model.normaliser": "bn"},
    "galloway2019-wrn-bn": SMALL_RATE | {"model.arch": "wrn-28-10", "model.normaliser": "bn"},
    "galloway2019-wrn-fixup": SMALL_RATE | {"model.normaliser": "fixup", "optimiser.scalar_lr": 0.1},
    "galloway2019-resnet110-bn": {"optimiser.lr": 0.1, "schedule.epochs": 200, "schedule.milestones": (100, 150)},
    "galloway2019-resnet110-fixup": {"model.normaliser": "fixup", "optimiser.scalar_lr": 0.1, "schedule.epochs": 200},
    "galloway2019-linear": LINEAR | {"optimiser.weight_decay": 0.0},
    "galloway2019-linear-wd": LINEAR | {"optimiser.weight_decay": 0.1},
    "galloway2019-linear-bn": LINEAR | {"model.affine": False, "model.normaliser": "bn"},
    "galloway2019-linear-bn-affine": LINEAR | {"model.affine": True, "model.normaliser": "bn"},
    "galloway2019-linear-bn-c": LINEAR | {"model.normaliser": "bn"},
    "galloway2019-published": {"optimiser.weight_decay": 0.0, "schedule.points": ((0, 0), (1, 0))},
    "galloway2019-published-bn": {"schedule.epochs": 1, "schedule.running_statistics_epochs": 1},
    "galloway2019-nearest-centroid": {"model.arch": "nearest-centroid", "optimiser.lr": 1.0, "schedule.epochs": 1},
    "galloway2019-toy-gd": {"model.normaliser": "none", "schedule.epochs": 1000},
    "galloway2019-toy-bn": {"model.normaliser": "bn", "optimiser.lr": 0.1, "schedule.epochs": 1000},
    "galloway2019-mlp": {"model.arch": "mlp-2-half", "model.normaliser": "none"},
    "galloway2019-mlp-bn": {"model.arch": "mlp-2-half-bn1", "model.normaliser": "bn"},
    "galloway2019-mlp-wd": {"model.normaliser": "none", "optimiser.weight_decay": 0.01},
    "galloway2019-mlp-bn-wd": {"model.normaliser": "bn", "optimiser.weight_decay": 0.01},
    "galloway2019-mlp-deep": PER_IMAGE | {"schedule.epochs": 40, "optimiser.momentum": 0.0},
    "galloway2019-mlp-deep-bn": PER_IMAGE | {"schedule.epochs": 10, "model.normaliser_eps": 1e-3},
    # Hendrycks et al. 2020 §3; Cubuk et al. 2020, whose scale ends at 10; Zhong et al. 2020 §3
    "augmix": WANG2022 | {"objective.consistency_weight": 12, "views.augmix.width": 3, "views.augmix.severity": 3},
    "randaugment": WANG2022 | {"views.randaugment.operations": 2, "views.randaugment.magnitude": 9 * 30 / 10},
    "random-erasing": WANG2022 | {"views.random_erasing.probability": 0.5, "views.random_erasing.area": (0.02, 0.4)},
    "corruptions": WANG2022 | {"objective.views": ("clean", "corruptions")},
    "xie2020-adv": XIE2020,
    "xie2020-adv-code": XIE2020 | IN_CODE,
    "xie2020-clean-code": XIE2020 | IN_CODE | {"objective.name": "st"},
    "xie2020-mixed-code": MIXED | IN_CODE,
    "xie2020-gn-code": MIXED | IN_CODE | {"model.normaliser": "gn"},
    "xie2020-alp-rmsprop": {
        "model.arch": "resnet101",
        "optimiser.lr": 0.045,
        "schedule.epochs": 220,
        "schedule.decay": 0.94,
        "schedule.milestones": tuple(range(2, 220, 2)),
        "attack.steps": 10,
        "attack.clean_start": 0.0,
    },
    "xie2020-alp-code": MIXED | IN_CODE | {"objective.name": "alp"},
    "xie2020-mbn-code": MIXED | IN_CODE | {"objective.name": "mbnat", "model.normaliser": "mbn"},
    "xie2020-mbn-alp-code": MIXED | IN_CODE | {"objective.name": "alp", "model.normaliser": "mbn"},
    "xie2020-adv-running-code": XIE2020 | IN_CODE | AT_THE_END,
    "xie2020-mbn-running-code": MIXED | IN_CODE | AT_THE_END | {"objective.name": "mbnat"},
    "xie2020-mbn-alp-running-code": MIXED | IN_CODE | AT_THE_END | {"objective.name": "alp"},
    "xie2020-adv-running": XIE2020 | AT_THE_END,
    "xie2020-clean": XIE2020 | {"objective.name": "st"},
    "xie2020-mixed": MIXED,
    **{f"xie2020-mixed-{share}": MIXED | {"objective.clean_share": share / 100} for share in (80, 60, 40, 20, 0)},
    "xie2020-gn": MIXED | {"model.normaliser": "gn"},
    "xie2020-alp": MIXED | {"objective.name": "alp"},
    "xie2020-mbn": MIXED | {"model.normaliser": "mbn", "model.mixture_weight": 1.0},
    "xie2020-mbn-running": MIXED | AT_THE_END | {"model.normaliser": "mbn"},
    "xie2020-mbn-alp": MIXED | {"objective.name": "alp", "model.normaliser": "mbn"},
    "xie2020-mbn-alp-running": MIXED | AT_THE_END | {"objective.name": "alp", "model.normaliser": "mbn"},
    "xie2020-bn-clean": XIE2020,
    "xie2020-bn-adv": XIE2020,
    **{f"xie2020-r{depth}": XIE2020 | AT_THE_END | {"model.arch": f"resnet{depth}"} for depth in (200, 338, 518, 638)},
}  # fmt: skip
# What the papers that next-bn cites have in common.
AS_OF_2024 = PGD_10 | {
    "attack.step_size": Fraction(2, 255),
    "model.activation": "silu",
    "objective.name": "trades",
    "objective.beta": 6.0,
    "optimiser.weight_decay": 5e-4,
}
PRINTED |= {f"next-{normaliser}": AS_OF_2024 | {"model.normaliser": normaliser} for normaliser in ("bn", "gn", "nf")}
# Published weights, which a rate of zero leaves as they are.
PRINTED |= {f"galloway2019-published{bn}": {"schedule.points": ((0, 0), (1, 0))} for bn in ("", "-bn")}
LEARNT_AGAIN = {
    "zeise2025-all-n-bn-a": ("st", "pgdat", "bn", "all"),
    "zeise2025-all-a-bn-n": ("pgdat", "st", "bn", "all"),
    "zeise2025-all-n-rest-a": ("st", "pgdat", "rest", "all"),
    "zeise2025-all-a-rest-n": ("pgdat", "st", "rest", "all"),
    "zeise2025-all-n-two-random-a": ("st", "pgdat", "two-per-channel", "all"),
    "zeise2025-all-n-bn-not-first-a": ("st", "pgdat", "bn-not-first", "all"),
    "zeise2025-all-n-bn-not-last-a": ("st", "pgdat", "bn-not-last", "all"),
    "zeise2025-all-n-bn-a-statistics": ("st", "pgdat", "bn", "statistics"),
    "zeise2025-all-n-bn-a-fine-tuned": ("st", "pgdat", "bn", "none"),
    "zeise2025-all-n-layer": ("st", "pgdat", "layer:layer2.0.bn2", "all"),
    "xie2020-bn-clean": ("pgdat", "st", "bn", "none"),
    "xie2020-bn-adv": ("st", "pgdat", "bn", "none"),
}


def value(recipe: Recipe, key: str) -> Any:
    current: Any = recipe
    for name in key.split("."):
        current = getattr(current, name)
    if key.endswith(("attack.step_size", "threat.eps")):
        return PixelFraction(str(current)).value
    return current


def test_every_shipped_recipe_is_compared_with_its_paper() -> None:
    assert set(PRINTED) == set(shipped_names("recipe"))


@pytest.mark.parametrize("name", PRINTED)
def test_a_recipe_has_the_printed_hyper_parameters(name: str) -> None:
    recipe = load_recipe(name)
    assert {key: value(recipe, key) for key in PRINTED[name]} == PRINTED[name] | {
        key: pytest.approx(wanted) for key, wanted in PRINTED[name].items() if isinstance(wanted, float)
    }


@pytest.mark.parametrize("name", LEARNT_AGAIN)
def test_a_recipe_in_two_phases_trains_all_and_then_a_part(name: str) -> None:
    first, second, trainable, reset = LEARNT_AGAIN[name]
    begin, again = load_recipe(name).in_phases().values()
    assert (begin.objective.name, begin.trainable, begin.reset) == (first, "all", "none")
    assert (again.objective.name, again.trainable, again.reset) == (second, trainable, reset)
    if name.startswith("zeise2025"):
        assert again.optimiser == begin.optimiser, "zeise2025 §4: the same optimiser settings"
        assert again.schedule == begin.schedule


def test_fast_grows_its_images_while_its_rate_falls_from_phase_to_phase() -> None:
    phases = load_recipe("fast").in_phases().values()
    assert [phase.views.image_size for phase in phases] == [128, 224, 288]
    assert [(phase.schedule.epochs, phase.schedule.batch_size) for phase in phases] == [(6, 512), (6, 224), (3, 128)]
    rates = [[phase.optimiser.lr * share for _, share in phase.schedule.points] for phase in phases]
    assert rates == [pytest.approx(course) for course in ([0, 0.4, 0.04], [0.04, 0.004], [0.004, 0.0004])]


def test_only_the_recipes_of_wang2022_and_those_for_comparison_have_plain_names() -> None:
    for name in shipped_names("recipe"):
        paper, prefix = paper_of(load_recipe(name).citation), name.split("-")[0]
        assert prefix == paper or (paper in ("wang2022", None) and prefix not in load_papers())
