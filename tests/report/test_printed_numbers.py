"""The printed numbers beside what was measured: inside or outside, differences, and verdicts on claims."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml

from nofrost.config import PrintedColumn, PrintedRow, Value, load_study, parse_printed
from nofrost.files import read_json
from nofrost.report.measurement import NotMeasuredError, measurement, study_suite
from nofrost.report.printed_numbers import PrintedComparison
from nofrost.results import Proportion
from tests.report.study_on_disk import Tree

COLUMNS = {
    "clean": {"title": "Clean", "suite": "adversarial-wang2022", "condition": "clean"},
    "pgd": {"title": "PGD", "suite": "adversarial-wang2022", "condition": "pgd-20"},
    "weights": {"title": "Weights", "unit": "count", "measure": "trained-parameters"},
    "loss": {"title": "Loss", "unit": "nats", "not_measured": "no suite has it"},
}
ROWS = {
    "st": {"label": "ST", "recipe": "st", "values": {"clean": 80.0, "pgd": 1.0, "weights": 100, "loss": 1.5}},
    "sat": {"label": "SAT", "recipe": "sat", "values": {"clean": 60, "pgd": [38, 44]}, "spread": {"clean": 5}},
    "ratio": {"label": "SAT over ST", "ratio_of": ["sat", "st"], "unit": "ratio", "values": {"clean": 0.75}},
    "less": {"label": "SAT less ST", "difference_of": ["sat", "st"], "values": {"clean": -20}},
    "relative": {
        "label": "fat",
        "recipe": "fat",
        "relative_to": "sat",
        "values": {"clean": 1},
        "derived": {"clean": 61},
    },
    "caption": {"label": "of the caption", "values": {"clean": 12}},
}


def run(clean: int, pgd: int, total: int = 100, kept: bool = False) -> Any:
    """A run that is right on the first images of a hundred, of which flags are kept or not."""
    accuracy = {"clean": Proportion.of(clean, total), "pgd-20": Proportion.of(pgd, total)}
    mixture = {"clean": Proportion.of(clean, total), "pgd-20": Proportion.of(20, total)}
    mixtures = [SimpleNamespace(inference="logits", weight=0.9, accuracy=mixture)]
    adversarial = SimpleNamespace(
        mixtures=mixtures,
        accuracy=accuracy,
        branches={"clean": accuracy},
        properties={},
        cross_entropy={},
        top_5={},
        training=None,
    )
    train = SimpleNamespace(trained_parameters=100)
    flags = {"wang2022": {"clean": np.arange(total) < clean, "pgd-20": np.arange(total) < pgd} if kept else {}}
    return SimpleNamespace(
        train=train, adversarial={"wang2022": adversarial}, ood={}, adversarial_flags=flags, ood_flags={}
    )


def compared(claims: list[dict[str, Any]] | None = None, size: Any = "small", **runs: Any) -> PrintedComparison:
    values = {"id": "t", "paper": "wang2022", "kind": "table", "number": 1, "title": "t", "unit": "percent"}
    table = parse_printed(values | {"columns": COLUMNS, "rows": ROWS, "claims": claims or []}, "t")
    return PrintedComparison(table, runs, size, {})


ONE = {"st": [run(80, 10)], "sat": [run(70, 40)]}
THREE = {
    "st": [run(80, 0), run(82, 1), run(84, 2)],
    "sat": [run(70, 0), run(71, 0), run(72, 0)],
    "relative": [run(72, 0)] * 3,
}


def test_one_training_has_the_interval_over_images_in_the_unit_of_the_table() -> None:
    entry = compared(**ONE).entries[Value("st", "clean")]
    assert entry.ours is not None
    assert entry.ours.value == pytest.approx(80)
    assert entry.ours.interval == pytest.approx(tuple(100 * end for end in Proportion.of(80, 100).interval))
    assert (entry.difference, entry.inside) == (pytest.approx(0), True)


def test_several_trainings_have_mean_deviation_and_standard_error() -> None:
    ours = compared(**THREE).entries[Value("st", "clean")].ours
    assert ours is not None
    assert (ours.value, ours.deviation, ours.trainings) == (pytest.approx(82), pytest.approx(2), 3)
    assert ours.standard_error == pytest.approx(2 / math.sqrt(3))
    assert ours.interval is None


@pytest.mark.parametrize(
    ("value", "inside", "difference"),
    [
        (Value("st", "clean"), True, 2),  # 82 ± 2 and 80
        (Value("sat", "clean"), False, 11),  # 71 ± 1 and 60 ± 5
        (Value("st", "weights"), True, 0),
        (Value("st", "pgd"), True, 0),
        (Value("sat", "pgd"), False, -41),  # 0 and 38 to 44
        (Value("less", "clean"), False, 9),  # -11 ± sqrt(5) and -20
        (Value("ratio", "clean"), False, 71 / 82 - 0.75),
        (Value("relative", "clean"), True, 0),  # 72 less 71
    ],
)
def test_a_printed_number_is_inside_where_the_ranges_meet(value: Value, inside: bool, difference: float) -> None:
    entry = compared(**THREE).entries[value]
    assert entry.inside is inside
    assert entry.difference == pytest.approx(difference)


def test_a_ratio_of_two_rows_has_an_interval_or_errors_of_its_own() -> None:
    one, three = (compared(**runs).entries[Value("ratio", "clean")].ours for runs in (ONE, THREE))
    assert one is not None
    assert three is not None
    assert one.value == pytest.approx(70 / 80)
    assert one.interval is not None
    assert one.interval[0] < 70 / 80 < one.interval[1]
    relative = math.hypot(1 / 71, 2 / 82)
    assert three.deviation == pytest.approx(71 / 82 * relative)
    assert three.standard_error == pytest.approx(71 / 82 * relative / math.sqrt(3))
    none = compared(st=[run(0, 0)], sat=[run(70, 0)]).entries[Value("ratio", "clean")]
    assert none.reason == "one of the two numbers is 0 and has no ratio"


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (Value("relative", "clean"), "not run"),
        (Value("st", "loss"), "no suite has it"),
        (Value("caption", "clean"), "no recipe trains it"),
    ],
)
def test_what_has_no_number_of_ours_says_why(value: Value, reason: str) -> None:
    assert compared(**ONE).entries[value].reason == reason


@pytest.mark.parametrize(
    ("lines", "size", "verdict", "in_noise"),
    [
        (["st.pgd < sat.pgd"], "small", "holds", False),
        (["sat.pgd < st.pgd"], "small", "does not hold", False),
        (["st.clean > sat.clean"], "small", "holds", True),
        (["st.clean > 78"], "small", "holds", True),
        (["st.clean > 20", "sat.clean > st.clean"], "small", "does not hold", True),
        (["st.clean > sat.clean"], "tiny", "not expected at this size", True),
        (["relative.clean > st.clean"], "small", "not measured", False),
        (["st.loss > 1"], "small", "not measured", False),
    ],
)
def test_a_claim_has_a_verdict(lines: list[str], size: str, verdict: str, in_noise: bool) -> None:
    claim = {"text": "t", "all": lines, "expected_at": ["small", "paper"]}
    (decided,) = compared([claim], size, **ONE).decisions
    assert (decided.verdict, decided.in_noise) == (verdict, in_noise)


@pytest.mark.parametrize(
    ("lines", "runs", "in_noise"),
    [
        # Of the same images ten change, in one direction: no noise. Of independent ones it would be.
        (["st.clean > sat.clean"], {"st": [run(80, 0, kept=True)], "sat": [run(70, 0, kept=True)]}, False),
        (["st.clean - st.pgd > 5"], {"st": [run(80, 70, kept=True)]}, True),
        # That no image changes proves little of a hundred.
        (["st.clean - st.pgd < 1"], {"st": [run(80, 80, kept=True)]}, True),
        (["st.clean - st.pgd < 5"], {"st": [run(80, 80, kept=True)]}, False),
        (["st.pgd > sat.pgd"], {"st": [run(0, 0, kept=True)], "sat": [run(0, 0, kept=True)]}, True),
        # Seeds differ by ten, and in the same way: the difference of two numbers of one training hardly.
        (["st.clean - st.pgd > 15"], {"st": [run(60 + n, 40 + n, kept=True) for n in (0, 10, 21)]}, True),
        (["st.clean - st.pgd > 5"], {"st": [run(60 + n, 40 + n, kept=True) for n in (0, 10, 21)]}, False),
        # Two seeds are far too few for a difference of twice their error.
        (["st.clean > sat.clean"], {"st": [run(80, 0), run(88, 0)], "sat": [run(70, 0), run(72, 0)]}, True),
        # Seeds that change nothing leave the noise of the images.
        (["st.clean > sat.clean"], {"st": [run(72, 0)] * 3, "sat": [run(70, 0)] * 3}, True),
        (["ratio.clean > 0.7"], {"st": [run(80, 0, kept=True)], "sat": [run(72, 0, kept=True)]}, False),
        (["ratio.clean > 0.85"], {"st": [run(80, 0, kept=True)], "sat": [run(72, 0, kept=True)]}, True),
        (["st.weights > 99"], {"st": [run(1, 0)]}, False),
    ],
)
def test_a_margin_is_within_the_noise_of_seeds_and_images(lines: list[str], runs: Any, in_noise: bool) -> None:
    (decided,) = compared([{"text": "t", "all": lines}], **runs).decisions
    assert decided.in_noise == in_noise


def test_a_claim_that_no_number_decides_keeps_its_reason() -> None:
    (decided,) = compared([{"text": "t", "undecided": "look"}], **ONE).decisions
    assert (decided.verdict, decided.reason) == ("not decided by numbers", "look")


@pytest.mark.parametrize(
    ("names", "shipped", "expected"),
    [
        (["wang2022", "other"], "adversarial-wang2022", "wang2022"),
        (["adversarial-wang2022", "wang2022"], "adversarial-wang2022", "adversarial-wang2022"),
        (["quick"], "adversarial-wang2022", "quick"),
        (["quick", "other"], "adversarial-wang2022", None),
        ([], "ood-imagenet", None),
        (["quick"], "ood-imagenet", "quick"),
        (["galloway2019"], "adversarial-galloway2019", "galloway2019"),
        (["galloway2019"], "adversarial-galloway2019-l2", None),
        (["quick"], "adversarial-galloway2019", None),
    ],
)
def test_a_suite_is_found_by_its_name_or_as_the_only_one_where_the_table_names_one(
    names: list[str], shipped: str, expected: str | None
) -> None:
    two = ["adversarial-galloway2019", "adversarial-galloway2019-l2"]
    of_table = two if shipped in two else ["adversarial-wang2022", "ood-imagenet"]
    assert study_suite(names, shipped, of_table) == expected


@pytest.mark.parametrize(
    ("column", "row", "reason"),
    [
        ({"measure": "property", "condition": "decision_margin"}, {}, "asks for no decision_margin"),
        ({"measure": "cross-entropy", "condition": "clean"}, {}, "asks for no losses of clean"),
        ({"measure": "gap"}, {}, "asks for no training images"),
        ({"measure": "top-5", "condition": "clean"}, {}, "top-5 accuracy of clean is not measured"),
        ({"condition": "fgsm"}, {}, "the suite has no fgsm"),
        ({"condition": "clean"}, {"branch": "adversarial"}, "the model has no adversarial branch"),
        ({"condition": "clean"}, {"mixture_weight": 0.5}, "the suite asks for no mixture of weight 0.5"),
        ({"condition": "fgsm"}, {"mixture_weight": 0.9}, "fgsm is not run on mixtures"),
        ({"measure": "gap"}, {"branch": "clean"}, "asks for no training images"),
        ({"condition": "clean", "suite": "ood-quick"}, {}, "the study has no suite ood-quick"),
    ],
)
def test_a_run_that_did_not_measure_a_column_says_what_is_missing(
    column: dict[str, Any], row: dict[str, Any], reason: str
) -> None:
    shown = PrintedColumn(title="t", **{"suite": "adversarial-wang2022", **column})
    with pytest.raises(NotMeasuredError, match=reason):
        measurement(run(50, 50), shown, PrintedRow(label="t", **row), [shown.suite or ""])


def test_a_branch_and_a_mixture_have_accuracies_of_their_own() -> None:
    column = PrintedColumn(title="t", suite="adversarial-wang2022", condition="pgd-20")
    suites = ["adversarial-wang2022"]
    assert measurement(run(50, 30), column, PrintedRow(label="t", branch="clean"), suites).value == 0.3
    assert measurement(run(50, 30), column, PrintedRow(label="t", mixture_weight=0.9), suites).value == 0.2


def test_a_row_is_measured_by_its_own_suite_where_it_names_one() -> None:
    column = PrintedColumn(title="t", suite="adversarial-wang2022", condition="clean")
    row = PrintedRow(label="t", suites={"adversarial-wang2022": "adversarial-other"})
    both = run(50, 30)
    both.adversarial["other"], both.adversarial_flags["other"] = run(70, 30).adversarial["wang2022"], {}
    suites = ["adversarial-wang2022", "adversarial-other"]
    assert measurement(both, column, PrintedRow(label="t"), suites).value == 0.5
    assert measurement(both, column, row, suites).value == 0.7


@pytest.mark.parametrize(("condition", "mean"), [("corruptions", 0.3), ("cifar10-c", 0.6)])
def test_a_column_may_be_the_mean_over_some_corruptions(condition: str, mean: float) -> None:
    def corruption(accuracy: float) -> Any:
        return SimpleNamespace(mean_accuracy=accuracy, mean_low=accuracy - 0.1, mean_high=accuracy + 0.05)

    made = {"fog": corruption(0.9), "shot_noise": corruption(0.2), "gaussian_noise": corruption(0.4)}
    published = {name: corruption(0.6) for name in made}
    sets = {"cifar10-c": SimpleNamespace(corruptions=published)}
    ours = run(50, 50)
    ours.ood["quick"] = SimpleNamespace(mean=corruption(0.5), corruptions=made, corrupted_sets=sets, test_sets={})
    column = PrintedColumn(
        title="t", suite="ood-quick", condition=condition, corruptions=("gaussian_noise", "shot_noise")
    )
    measured = measurement(ours, column, PrintedRow(label="t"), ["ood-quick"])
    assert measured.value == pytest.approx(mean)
    assert measured.interval == pytest.approx((mean - 0.1, mean + 0.05))
    with pytest.raises(NotMeasuredError, match="the suite has no corruption snow"):
        measurement(ours, column.model_copy(update={"corruptions": ("snow",)}), PrintedRow(label="t"), ["ood-quick"])
    absent = column.model_copy(update={"condition": "cifar10.1", "corruptions": ()})
    with pytest.raises(NotMeasuredError, match=r"test set cifar10\.1 is not available"):
        measurement(ours, absent, PrintedRow(label="t"), ["ood-quick"])


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("printed")
    study = folder / "study.yaml"
    values = {
        "base": "digits",
        "name": "mine",
        "printed": "wang2022-table-3",
        "sizes": {"small": {"note": "A small one."}},
        "runs": {"recipe": ["sat", "nofrost"]},
        "suites": {"ood": {"quick": {"base": "ood-quick", "corruptions": ["contrast"]}}},
    }
    study.write_text(yaml.safe_dump(values), encoding="utf-8")
    return Tree(folder, load_study(study, size="small")).report()


def test_the_report_has_the_table_the_claims_and_what_is_missing(report: Path) -> None:
    text = (report / "report.md").read_text(encoding="utf-8")
    section = text.partition("## Beside the printed numbers")[2].partition("\n## ")[0]
    assert (
        "### Wang et al. 2022, Table 3: SAT with batch norm, SAT with instance norm and NoFrost, ResNet-26" in section
    )
    assert "Ours (size small): digits, 1,293 training images, 360 test images, resnet8, ℓ∞ ≤ 32/255, seed 0." in section
    assert "numbers are not expected to match" in section
    assert "printed 70.13; +25.1 ✕ outside" in section
    assert "- **Not run**: SAT, IN" in section
    assert "**Attacks that differ**: PGD has ℓ∞ ≤ 32/255 instead of ℓ∞ ≤ 8/255, keep its default" in section
    assert "not measured" in section
    assert '<section id="printed"' in (report / "report.html").read_text(encoding="utf-8")


def test_the_metrics_hold_the_same_numbers(report: Path) -> None:
    numbers = read_json(report / "metrics.json")
    table = numbers["printed"]["wang2022-table-3"]
    assert set(table["rows"]) == {"sat", "nofrost"}
    clean = table["rows"]["nofrost"]["clean"]
    assert clean["ours"] == pytest.approx(100 * numbers["runs"]["nofrost"]["seed-0"]["clean"])
    assert (clean["printed"], clean["inside"]) == (70.13, False)
    assert [claim["verdict"] for claim in table["claims"]] == ["not measured", "not measured"]


def test_a_study_without_printed_numbers_has_no_such_section(whole: tuple[Tree, Path]) -> None:
    _, folder = whole
    assert "Beside the printed" not in (folder / "report.md").read_text(encoding="utf-8")
    assert "printed" not in read_json(folder / "metrics.json")
