"""Drawings of the graph: what is in them, that they are well-formed, and that the README's is current."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from nofrost.config import load_study
from nofrost.errors import UserError
from pipelines.cluster_settings import Cluster
from pipelines.drawing import Drawing, as_mermaid, drawing_of
from pipelines.drawing_file import draw
from pipelines.graph import make_pipeline
from pipelines.graph_settings import GraphSettings
from pipelines.package import canonical
from pipelines.study_plan import RunPlan, plan_study
from pipelines.svg import as_svg, layout
from tests.pipelines.conftest import Program

ROOT = Path(__file__).parents[2]
SVG = "{http://www.w3.org/2000/svg}"


@cache
def spec_of(runs: int = 4, shards: int = 1, gpus: int = 0, nodes: int = 1, name: str | None = None) -> Any:
    plan = plan_study(load_study("digits"), gpus, nodes)
    chosen = [replace(plan.runs[index % 4], seed=str(index // 4)) for index in range(runs)]
    if name is not None:
        chosen = [RunPlan(name, run.seed, run.recipe) for run in chosen]
    settings = GraphSettings(Cluster(), shards=shards, gpus=gpus, nodes=nodes)
    return canonical(make_pipeline(replace(plan, runs=tuple(chosen)), settings))[0]


def names(drawing: Drawing) -> list[str]:
    return [box.name for box in drawing.boxes]


def study_in(drawing: Drawing) -> Drawing:
    inside = drawing.boxes[0].inside
    assert inside is not None
    return inside


def named_arrows(drawing: Drawing) -> set[tuple[str, str]]:
    return {(drawing.boxes[source].name, drawing.boxes[target].name) for source, target in drawing.arrows}


def test_the_picture_has_the_stages_and_no_arrow_that_follows_from_others() -> None:
    whole = drawing_of(spec_of())
    assert (names(whole), named_arrows(whole)) == (["study", "finish"], {("study", "finish")})
    assert whole.boxes[1].note == "always runs"
    study, runs = study_in(whole), ["st, seed 0", "sat, seed 0", "mbnat, seed 0", "nofrost, seed 0"]
    last = ["gate", "report", "write-candidate", "promote"]
    assert names(study) == ["resolve", "prepare", "augment", "prepare-test-sets", "champion", *runs, *last]
    around = {pair for run in runs for pair in (("augment", run), ("prepare-test-sets", run), (run, "gate"))}
    around |= {("prepare-test-sets", "champion"), ("champion", "gate")}
    around |= {("resolve", "prepare"), ("prepare", "prepare-test-sets"), ("prepare", "augment")}
    assert named_arrows(study) == {*pairwise(last), *around}
    for box in study.boxes[5:9]:
        assert box.inside is not None
        evaluations = {"evaluate-adversarial", "evaluate-ood"}
        assert {*names(box.inside)} == {"train", *evaluations}
        assert named_arrows(box.inside) == {("train", evaluation) for evaluation in evaluations}


def test_shards_are_one_box_that_says_how_many_and_on_what() -> None:
    run = study_in(drawing_of(spec_of(shards=3, gpus=1))).boxes[5].inside
    assert run is not None
    notes = {box.name: (box.note, box.copies > 1) for box in run.boxes}
    assert notes == {
        "train": ("1 GPU", False),
        "evaluate-adversarial": ("3 shards, merged, 1 GPU", True),
        "evaluate-ood": ("3 shards, merged, 1 GPU", True),
    }


@pytest.mark.parametrize(
    ("gpus", "nodes", "note"), [(8, 2, "2 nodes x 8 GPUs"), (2, 1, "1 node x 2 GPUs"), (0, 2, "2 nodes")]
)
def test_a_launcher_shows_what_its_job_has(gpus: int, nodes: int, note: str) -> None:
    run = study_in(drawing_of(spec_of(gpus=gpus, nodes=nodes))).boxes[5].inside
    assert run is not None
    evaluated = "1 GPU" if gpus else ""
    assert {box.name: box.note for box in run.boxes} == {
        "launch": note,
        "evaluate-adversarial": evaluated,
        "evaluate-ood": evaluated,
    }


def test_of_many_runs_the_first_are_drawn_and_the_others_counted() -> None:
    study = study_in(drawing_of(spec_of(runs=11)))
    assert names(study)[5:10] == ["st, seed 0", "sat, seed 0", "mbnat, seed 0", "nofrost, seed 0", "7 more runs"]
    assert {("augment", "7 more runs"), ("7 more runs", "gate")} <= named_arrows(study)
    assert len(study.boxes) == 5 + 5 + 4


@pytest.mark.parametrize("settings", [{}, {"shards": 4, "gpus": 1}, {"gpus": 8, "nodes": 2}, {"runs": 11}])
def test_the_svg_is_well_formed_and_no_box_covers_another(settings: dict[str, int]) -> None:
    drawing = drawing_of(spec_of(**settings))
    tree = ElementTree.fromstring(as_svg(drawing))
    texts = [element.text for element in tree.iter(f"{SVG}text")]
    training = "launch" if "nodes" in settings else "train"
    assert {"prepare", training, "evaluate-ood", "report", "finish"} <= set(texts)
    assert "{http://www.w3.org/1999/xlink}href" not in {name for each in tree.iter() for name in each.attrib}

    def check(inner: Drawing) -> None:
        size, areas = layout(inner)
        for index, area in enumerate(areas):
            assert 0 <= area.x <= area.x + area.width <= size.width + 0.01
            assert 0 <= area.y <= area.y + area.height <= size.height + 0.01
            for other in areas[:index]:
                apart = area.x >= other.x + other.width or area.y >= other.y + other.height
                assert apart or other.x >= area.x + area.width or other.y >= area.y + area.height
        for source, target in inner.arrows:
            assert areas[source].x + areas[source].width < areas[target].x, "arrows lead from left to right"
        for box in inner.boxes:
            if box.inside is not None:
                check(box.inside)

    check(drawing)


def test_every_name_of_mermaid_is_declared_before_an_arrow_uses_it() -> None:
    text = as_mermaid(drawing_of(spec_of(runs=11, shards=2)))
    lines = text.splitlines()
    assert lines[0] == "flowchart LR"
    declared = [match[1] for line in lines if (match := re.match(r"\s*(?:subgraph )?(n[\d_]+)\[", line))]
    arrows = [match.groups() for line in lines if (match := re.match(r"\s*(\S+) --> (\S+)$", line))]
    assert len(declared) == len(set(declared))
    assert {name for arrow in arrows for name in arrow} <= set(declared)
    assert text.count("subgraph") == text.count("    end\n") + 1
    assert len(lines) == 1 + len(declared) + len(arrows) + 2 * text.count("subgraph")


def test_names_of_recipes_cannot_break_a_drawing() -> None:
    drawing = drawing_of(spec_of(runs=1, name='a<b> & "c"'))
    texts = [element.text for element in ElementTree.fromstring(as_svg(drawing)).iter(f"{SVG}text")]
    assert 'a<b> & "c", seed 0' in texts
    assert '["a#lt;b#gt; & #quot;c#quot;, seed 0"]' in as_mermaid(drawing)


def test_the_drawing_of_the_readme_is_current(tmp_path: Path) -> None:
    draw(spec_of(shards=4, gpus=1), tmp_path / "graph.svg")
    message = "the graph changed: `python -m pipelines graph --study digits --shards 4 --gpus 1 --out docs/graph.svg`"
    assert (tmp_path / "graph.svg").read_bytes() == (ROOT / "docs" / "graph.svg").read_bytes(), message
    for page, link in (("README.md", "docs/graph.svg"), ("docs/pipeline.md", "graph.svg")):
        assert f"]({link})" in (ROOT / page).read_text(encoding="utf-8")


def test_another_ending_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"\.svg"):
        draw(spec_of(), tmp_path / "graph.png")
    assert not list(tmp_path.iterdir())


def test_the_command_prints_mermaid_and_the_size(program: Program, tmp_path: Path) -> None:
    def graph(*arguments: str) -> str:
        ended = program("graph", "--study", "digits", *arguments)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    size, mermaid = graph().split("\n", 1)
    assert size.startswith("%% 23 tasks, 53 pods")
    assert mermaid == as_mermaid(drawing_of(spec_of()))
    printed = json.loads(graph("--shards", "2", "--out", str(tmp_path / "graph.mmd"), "--json"))
    assert (printed["tasks"], printed["pods"], printed["out"]) == (43, 93, str(tmp_path / "graph.mmd"))
    assert 0 < printed["package_bytes"] < printed["workflow_bytes"]
    assert (tmp_path / "graph.mmd").read_text(encoding="utf-8") == as_mermaid(drawing_of(spec_of(shards=2)))
