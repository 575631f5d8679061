"""Which settings of a study differ from those of the printed numbers beside it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from nofrost.config import load_printed, load_study, shipped_names
from nofrost.report.sections.printed_settings import changed_attacks, changed_trainings, has_printed_settings


@pytest.mark.parametrize(
    ("study", "lines"),
    [
        (
            "zeise2025-table-5",
            [
                "every training: model.arch cifar-resnet18-w8 instead of cifar-resnet18",
                "all-n-bn-a-batch-32: phases.bn-a.schedule.batch_size 8 instead of 32",
            ],
        ),
        ("xie2020-figure-7", ["adv-running-r638 and clean-r638: model.arch resnet44 instead of resnet638"]),
        (
            "xie2020-table-7",
            [
                "every training but adv-running-r200, adv-running-r338, adv-running-r518 and adv-running-r638: "
                "model.arch resnet8 instead of resnet152",
                "alp-pgd-5, mixed-pgd-5,",
            ],
        ),
        (
            "xie2020-table-3",
            ["alp-rmsprop: schedule.epochs 6 instead of 220 and schedule.milestones [1.036, 1.091, 1.145, ..."],
        ),
        # Of a sweep what is alike at all of its places; the depth and the batch size are the places.
        ("galloway2019-figure-2", ["every training: optimiser.lr 0.0001 instead of 1e-05"]),
    ],
)
def test_trainings_of_a_small_size_say_what_differs(study: str, lines: list[str]) -> None:
    told = list(changed_trainings(load_printed(study), load_study(study, size="small")))
    for line in lines:
        assert any(each.startswith(line) for each in told), told


@pytest.mark.parametrize("study", [name for name in shipped_names("study") if load_study(name).printed])
def test_at_the_size_of_the_paper_nothing_differs_but_what_a_column_says(study: str) -> None:
    loaded = load_study(study)
    told = [
        line
        for name in loaded.printed
        for line in (*changed_trainings(load_printed(name), loaded), *changed_attacks(load_printed(name), loaded))
    ]
    assert [line for line in told if "before_resize" not in line] == []


def test_attacks_say_what_differs() -> None:
    told = list(changed_attacks(load_printed("xie2020-table-1"), load_study("xie2020-table-1", size="small")))
    assert any("steps 80 instead of 2000" in each for each in told)


@pytest.mark.parametrize(
    ("study", "size", "expected"),
    [
        ("galloway2019-table-1", "small", True),  # its seeds alone are fewer
        ("galloway2019-table-1", "paper", True),
        ("zeise2025-table-5", "small", False),
    ],
)
def test_a_size_of_other_seeds_alone_has_the_settings_of_the_paper(study: str, size: str, expected: bool) -> None:
    assert has_printed_settings(load_study(study, size=size)) == expected


def test_an_own_study_has_settings_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({"base": "galloway2019-table-1", "name": "mine"}), encoding="utf-8")
    assert not has_printed_settings(load_study(path, size="small"))
