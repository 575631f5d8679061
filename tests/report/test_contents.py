"""The report shows what was measured, on what, and how sure it is."""

from __future__ import annotations

import csv
import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest


class Page(HTMLParser):
    """Text, tables and tags of an HTML page; fails on tags that are not closed in order."""

    VOID = frozenset({"meta", "img", "br", "line", "polygon", "path", "use", "rect"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.tables: list[list[list[str]]] = []
        self.badges: list[tuple[str, str]] = []
        self.text = ""
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)
        elif not self.get_starttag_text().endswith("/>"):
            assert tag in {"meta", "img", "br"}
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in {"td", "th"}:
            self.tables[-1][-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" in self.open:
            return
        self.text += data
        if {"td", "th"} & set(self.open) and self.tables:
            self.tables[-1][-1][-1] += data

    def rows(self, number: int) -> dict[str, list[str]]:
        """Return the rows of a table by their first words, white space made single."""
        return {" ".join(row[0].split()): [" ".join(cell.split()) for cell in row[1:]] for row in self.tables[number]}


def page(folder: Path) -> Page:
    return Page((folder / "report.html").read_text(encoding="utf-8"))


def measured(tree: Any, recipe: str, seed: int = 0, stage: str = "evaluate-adversarial") -> dict[str, Any]:
    return json.loads(
        (tree.runs / recipe / f"seed-{seed}" / stage / "quick" / "metrics.json").read_text(encoding="utf-8")
    )


def test_the_main_table_shows_every_measured_accuracy_with_its_interval(whole: Any) -> None:
    tree, folder = whole
    rows = page(folder).rows(0)
    for recipe in tree.study.runs.recipe:
        cells = next(cells for name, cells in rows.items() if name.split()[:1] == [recipe])
        attacked, ood = measured(tree, recipe), measured(tree, recipe, stage="evaluate-ood")
        conditions = ["clean", *tree.study.suites.adversarial["quick"].attacks, "worst-case"]
        for cell, condition in zip(cells, conditions, strict=False):
            share = attacked["accuracy"][condition]
            assert cell.split()[0].rstrip("★") == f"{100 * share['accuracy']:.1f}"
            assert f"{100 * share['low']:.1f}–{100 * share['high']:.1f}" in cell
        mean = cells[len(conditions)]
        assert mean.startswith(f"{100 * ood['mean_accuracy']:.1f}")
        assert f"{100 * ood['mean_low']:.1f}–{100 * ood['mean_high']:.1f}" in mean


def test_exact_counts_are_in_tooltips_and_in_the_table_of_runs(whole: Any) -> None:
    tree, folder = whole
    found = page(folder)
    share = measured(tree, "sat")["accuracy"]["worst-case"]
    titles = [attributes.get("title") for tag, attributes in found.tags if tag == "td"]
    assert f"{share['correct']} of {share['total']} images" in titles
    assert f"{share['correct']}/{share['total']}" in found.rows(1)["sat seed 0"][-2]


def test_several_seeds_are_shown_as_mean_and_sample_deviation_and_one_by_one(seeded: Any) -> None:
    tree, folder = seeded
    found = page(folder)
    shares = [measured(tree, "nofrost", seed)["accuracy"]["pgd-20"]["accuracy"] for seed in (0, 1, 2)]
    assert len(set(shares)) > 1
    cell = next(cells for name, cells in found.rows(0).items() if name.startswith("nofrost"))[2]
    assert cell == f"{100 * np.mean(shares):.1f} ± {100 * np.std(shares, ddof=1):.1f} (n = 3)"
    runs = found.rows(1)
    for seed, share in enumerate(shares):
        assert runs[f"nofrost seed {seed}"][2].startswith(f"{100 * share:.1f}")


def test_the_overview_names_dataset_suites_and_seeds(whole: Any) -> None:
    tree, folder = whole
    text = " ".join(page(folder).text.split())
    for fact in (
        tree.study.title,
        "1,293 training, 144 selection and 360 test images",
        "16 × 16 pixels, grey levels",
        "CC BY 4.0",
        "scikit-learn load_digits (Alpaydin & Kaynak 1998)",
        f"SHA-256 of source digits {'ab' * 32}",
        "ℓ∞ ≤ 32/255",
        "protocol quick",
        "cpu (2 threads)",
        tree.study.note,
        "With 360 test images a 95 % interval reaches up to ±5.1 points",
        "Each recipe was trained once",
    ):
        assert fact in text, fact


def test_alarms_are_named_with_status_in_words_and_reason(whole: Any) -> None:
    _, folder = whole
    found = page(folder)
    html = (folder / "report.html").read_text(encoding="utf-8")
    text = " ".join(found.text.split())
    assert "fail steps converged Accuracy still falls by 3.1 points from 50 to 100 steps." in text
    assert "warn attack agreement APGD-CE finds 2.2 points more than PGD at like steps." in text
    assert 'class="badge fail"' in html
    assert "Alarms were raised for st (1 warn) and mbnat (1 fail)" in text


def table_headed(found: Page, title: str) -> dict[str, list[str]]:
    """Return the rows of the first table whose headers hold this title."""
    return found.rows(next(i for i, rows in enumerate(found.tables) if any(title in row for row in rows[:2])))


def test_a_table_lists_the_status_of_every_check_by_recipe(whole: Any) -> None:
    _, folder = whole
    rows = table_headed(page(folder), "flag of AutoAttack")
    assert rows["steps converged"] == ["✓ pass", "✓ pass", "✕ fail", "✓ pass", ""]
    assert rows["attack agreement"][0] == "! warn"


def test_an_attack_that_has_not_converged_has_a_badge(whole: Any) -> None:
    _, folder = whole
    rows = table_headed(page(folder), "verdict")
    assert rows["mbnat"][0] == "! not converged"
    assert rows["sat"][0] == "✓ converged"
    assert rows["mbnat"][-1] == "falls by 3.1 points from 50 to 100 steps"


def test_every_number_that_more_steps_would_lower_has_a_badge(whole: Any) -> None:
    tree, folder = whole
    conditions = ["clean", *tree.study.suites.adversarial["quick"].attacks, "worst-case"]
    found = page(folder)
    for number in (0, 1):
        for name, cells in found.rows(number).items():
            marked = {
                condition for condition, cell in zip(conditions, cells, strict=False) if "! not converged" in cell
            }
            assert marked == ({"apgd-ce-100", "worst-case"} if name.startswith("mbnat") else set()), name
    assert "more attack steps were seen to lower it" in found.text
    assert "! not converged" in (folder / "report.md").read_text(encoding="utf-8")


def test_numbers_of_a_cascade_are_labelled_cumulative(make_tree: Any) -> None:
    tree = make_tree(
        "runs.recipe=[st, sat]", "suites.adversarial.quick.cascade=true", "suites.ood.quick.severities=[1]"
    )
    found = page(tree.report(augmentation=False))
    first, *later = tree.study.suites.adversarial["quick"].attacks
    heads = [" ".join(cell.split()) for cell in found.tables[0][1]]
    assert heads[2 : 4 + len(later)] == [first, *(f"+ {name}" for name in later), "worst-case"]
    text = " ".join(found.text.split())
    assert (
        f"The accuracies under {', '.join(f'+ {name}' for name in later[:-1])} and + {later[-1]} are cumulative" in text
    )
    assert any(name.startswith(f"+ {later[-1]}") for name in table_headed(found, "attack"))


def test_without_a_cascade_nothing_is_labelled_cumulative(whole: Any) -> None:
    _, folder = whole
    assert "are cumulative" not in page(folder).text


def test_the_recipes_are_compared_under_every_attack(whole: Any) -> None:
    tree, folder = whole
    found = page(folder)
    number = next(i for i, rows in enumerate(found.tables) if rows[1][0].strip() == "attack")
    attacks = [" ".join(row[0].split()) for row in found.tables[number][2:]]
    assert attacks == [name for name in tree.study.suites.adversarial["quick"].attacks for _ in range(6)]


def test_a_protocol_setting_that_all_runs_share_is_listed_once(make_tree: Any) -> None:
    tree = make_tree("runs.recipe=[st, sat]", "suites.ood.quick.corruptions=[contrast]")

    def elsewhere(record: dict[str, Any]) -> dict[str, Any]:
        change = {"devices": ["Another processor"], "reduced_batch_sizes": {"clean": 32}}
        return {**record, "protocol": {**record["protocol"], **change}}

    tree.change("sat/seed-0/evaluate-adversarial/quick/record.json", elsewhere)
    rows = table_headed(page(tree.report(augmentation=False)), "protocol")
    assert rows["numbers"] == ["float32, TF32 off, autocast off"]
    assert rows["batch size"] == ["256 (st/seed-0); 256, reduced because memory ran out to 32 for clean (sat/seed-0)"]
    assert rows["devices"] == ["A processor (st/seed-0); Another processor (sat/seed-0)"]
    assert rows["images"] == ["360 (indices 000000000000)"]


def test_branches_of_mixture_batch_norm_are_listed_with_the_deployed_mixture(whole: Any) -> None:
    tree, folder = whole
    found = page(folder)
    table = next(i for i, rows in enumerate(found.tables) if rows[0][0].strip() == "recipe and branch")
    rows = found.rows(table)
    deployed = measured(tree, "mbnat")["accuracy"]["pgd-20"]["accuracy"]
    assert rows["mbnat clean branch"][1].startswith("20.0")
    assert rows["mbnat adversarial branch"][1].startswith("60.0")
    assert rows["mbnat deployed mixture (of logits, adversarial weight 0.5)"][1].startswith(f"{100 * deployed:.1f}")


def test_pictures_show_label_prediction_and_magnification(whole: Any) -> None:
    _, folder = whole
    found = page(folder)
    images = [attributes for tag, attributes in found.tags if tag == "img"]
    assert images
    assert all(image["alt"] and image["src"].startswith("data:image/png;base64,") for image in images)
    assert "perturbation ×\N{NO-BREAK SPACE}4" in found.text
    assert any(image["alt"].startswith("adversarial image of class one, answered") for image in images)


def test_every_caption_names_the_dataset_or_split(whole: Any) -> None:
    _, folder = whole
    html = (folder / "report.html").read_text(encoding="utf-8")
    captions = [part.split("</figcaption>")[0] for part in html.split("<figcaption")[1:]]
    assert len(captions) == html.count("<figure")
    assert all("<b>Table " in caption or "<b>Figure " in caption for caption in captions)
    shown = [caption for caption in captions if "Accuracy" in caption]
    assert all("images" in caption and ("seed" in caption or "run" in caption) for caption in shown)


@pytest.mark.parametrize("fixture", ["whole", "seeded"])
def test_markdown_has_the_numbers_of_the_html_tables(fixture: str, request: pytest.FixtureRequest) -> None:
    _, folder = request.getfixturevalue(fixture)
    found = page(folder)
    markdown = (folder / "report.md").read_text(encoding="utf-8")
    html = (folder / "report.html").read_text(encoding="utf-8")
    assert markdown.count("\n| :-") == html.count('<figure class="table">') > 5
    for recipe, cells in found.rows(0).items():
        for cell in cells[:-1]:
            if recipe and cell and cell[0].isdigit():
                assert cell.split()[0].rstrip("★") in markdown


def test_metrics_list_every_run_by_name(whole: Any) -> None:
    tree, folder = whole
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["study"] == "digits"
    assert metrics["samples"] == 360
    assert list(metrics["runs"]) == ["st", "sat", "mbnat", "nofrost"]
    run = metrics["runs"]["mbnat"]["seed-0"]
    accuracy = measured(tree, "mbnat")["accuracy"]
    assert {name: run[name] for name in accuracy} == {name: share["accuracy"] for name, share in accuracy.items()}
    assert run["ood"] == measured(tree, "mbnat", stage="evaluate-ood")["mean_accuracy"]
    assert run["alarms"] == {"warn": 0, "fail": 1}


def test_plot_files_leave_fields_empty_that_were_not_measured(whole: Any) -> None:
    tree, folder = whole
    with (folder / "plots" / "curves.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["run"] == "st/seed-0"]
    curves = json.loads((tree.runs / "st" / "seed-0" / "train" / "curves.json").read_text(encoding="utf-8"))
    assert [float(row["loss"]) for row in rows] == [epoch["loss"] for epoch in curves]
    assert {row["selection_attacked"] for row in rows} == {""}
    with (folder / "plots" / "steps.csv").open(newline="") as file:
        steps = [row for row in csv.DictReader(file) if row["run"] == "sat/seed-0"]
    points = measured(tree, "sat")["steps_curve"]["points"]
    assert [(int(row["steps"]), float(row["accuracy"])) for row in steps] == [
        (point["steps"], point["accuracy"]) for point in points
    ]
    with (folder / "plots" / "budget.csv").open(newline="") as file:
        assert {row["eps"] for row in csv.DictReader(file)} == {"8/255", "16/255", "32/255", "48/255", "64/255", "1"}
    with (folder / "plots" / "corruptions.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 4 * 6 * 5


def test_the_record_names_inputs_and_configuration(whole: Any) -> None:
    tree, folder = whole
    record = json.loads((folder / "record.json").read_text(encoding="utf-8"))
    assert record["stage"] == "report"
    assert record["config"] == tree.study.as_json()
    assert set(record["inputs"]) == {"dataset", "augmentation", *(f"runs/{r}/seed-0" for r in tree.study.runs.recipe)}
    assert str(tree.root) not in json.dumps(record)
