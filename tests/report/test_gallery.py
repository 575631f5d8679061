"""The gallery of finished studies: one page that works alone, and pages of Markdown that a repository can hold."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml
from click.testing import CliRunner

from nofrost.cli import cli
from nofrost.config import load_study
from nofrost.errors import UserError
from nofrost.files import read_json, write_json
from nofrost.report.document import Figure
from nofrost.report.gallery import find_studies, gallery_page, write_result_pages
from nofrost.report.gallery.reported import JudgedClaim
from nofrost.report.highlights import HIGHLIGHTS, read_highlights
from nofrost.results import StudyRecord, write_result
from nofrost.study_state import RUNNING
from tests.report.study_on_disk import Tree

STUDIES = {
    "b-study": ("wang2022-table-3", ["sat", "nofrost"]),
    "a-study": ("xie2020-table-1", ["adv", "clean"]),
    "digits": ("", ["sat"]),
}
RECORD = StudyRecord(
    study="b-study",
    size="small",
    finished="2026-11-30",
    wall_minutes=12.3,
    processor_minutes=8.1,
    trained=("sat-0",),
    trainings=2,
    killed=1,
    device="cpu",
    seeds=(0,),
    nofrost="0.2.0",
    libraries={"torch": "2.8"},
)


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two studies of papers and one of none, each in a folder as `nofrost study run` leaves it; not to be changed."""
    folder = tmp_path_factory.mktemp("papers")
    printed = {"sat": "sat", "nofrost": "nofrost", "adv": "sat", "clean": "st"}
    for name, (table, rows) in STUDIES.items():
        values = {
            "base": "digits",
            "name": name,
            "title": f"Rows of <{table}>",
            "printed": [table] if table else [],
            "sizes": {"small": {"note": "A small one."}},
            "recipes": {row: printed[row] for row in rows},
            "runs": {"recipe": rows},
            "suites": {
                "adversarial": {"quick": {"base": "adversarial-quick", "steps_curve": None, "properties": None}},
                "ood": {"quick": None},
            },
        }
        (folder / name).mkdir()
        path = folder / name / "study.yaml"
        path.write_text(yaml.safe_dump(values), encoding="utf-8")
        Tree(folder / name, load_study(path, size="small")).report()
    write_result(folder / "b-study" / "record.json", RECORD)
    return folder


@pytest.fixture(scope="module")
def page(papers: Path) -> str:
    return gallery_page(find_studies([papers]), papers)


def test_studies_stand_in_the_order_of_the_papers_and_those_of_none_last(papers: Path) -> None:
    assert [study.name for study in find_studies([papers])] == ["b-study", "a-study", "digits"]
    assert [study.name for study in find_studies([papers / "digits", papers / "a-study" / "report"])] == [
        "a-study",
        "digits",
    ]


def test_the_page_loads_nothing_and_links_to_the_reports_alone(page: str, papers: Path) -> None:
    assert re.findall(r"<(?:script|link|iframe|object|embed|base|form)\b", page) == []
    assert re.findall(r"url\((?!#)|@import|https?://", page) == []
    links = re.findall(r'href="(?!#)([^"]*)"', page)
    assert links == [f"{name}/report/report.html" for name in ("b-study", "a-study", "digits")]
    assert all((papers / link).is_file() for link in links)


def test_the_page_has_a_filter_for_each_paper_and_every_reference_has_its_target(page: str) -> None:
    ids = re.findall(r'\sid="([^"]*)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:href="#|url\(#|labelledby="|for=")([^")]*)', page)) <= set(ids)
    assert '<a href="#b-study">Table 3</a>' in page
    shown = re.findall(r'<input type="radio" name="paper" id="show-([a-z0-9]+)"', page)
    assert shown == ["all", "wang2022", "xie2020", "other"]
    assert [key for key in shown[1:] if f"body:has(#show-{key}:checked)" not in page] == []


def test_the_page_names_verdicts_what_it_took_and_shows_pictures(page: str) -> None:
    assert "8.1 processor minutes" in page
    assert "1 of 2 trainings were there already, of other studies" in page
    assert "1 attempt was killed, whose time is not counted" in page
    assert "Rows of &lt;wang2022-table-3&gt;" in page
    assert page.count('<article class="exhibit"') == 3
    assert page.count("not measured") > 2
    assert re.findall(r'<img src="data:image/png;base64,[^"]+" alt="[^"]+">', page)
    levels = [int(level) for level in re.findall(r"<h([1-6])\b", page)]
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_highlights_are_read_as_they_were_written(papers: Path) -> None:
    shown = read_highlights(papers / "a-study" / "report" / HIGHLIGHTS)
    assert {"table", "figure", "facts", "paragraph"} == {block.kind for block in shown.numbers}
    assert [block.kind for block in shown.pictures] == ["pictures"]
    alone = read_highlights(papers / "digits" / "report" / HIGHLIGHTS)
    assert [block.kind for block in (*alone.numbers, *alone.figures)] == ["key_points", "figure"]


def test_pages_of_markdown_are_the_same_each_time_and_wrapped(papers: Path, tmp_path: Path) -> None:
    studies = find_studies([papers])
    pages = write_result_pages(studies, tmp_path / "first")
    write_result_pages(studies, tmp_path / "second")
    names = sorted(path.relative_to(tmp_path / "first") for path in (tmp_path / "first").rglob("*.*"))
    assert [path.name for path in pages] == ["README.md", "b-study.md", "a-study.md", "digits.md"]
    for name in names:
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()
    for path in pages:
        text = path.read_text(encoding="utf-8")
        assert [line for line in text.splitlines() if len(line) > 120 and line[0] not in "|!"] == []
        for target in re.findall(r"\]\(([^)#]+)\)", text):
            assert (path.parent / target).is_file()


def test_the_page_of_claims_has_every_claim_and_names_what_was_not_run(papers: Path, tmp_path: Path) -> None:
    write_result_pages(find_studies([papers]), tmp_path)
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    for study in find_studies([papers]):
        assert text.count(f"({study.name}.md) |") == len(study.judged)
    assert "[Xie & Yuille 2020](#xie--yuille-2020)" in text
    assert "Not run: Figure 1" in text
    assert "Table 3" not in re.findall(r"Not run: ([^.]*)\.", text)[0]


def test_drawings_of_pages_are_files_with_colours_and_a_legend(papers: Path, tmp_path: Path) -> None:
    write_result_pages(find_studies([papers]), tmp_path)
    drawings = sorted((tmp_path / "figures").iterdir())
    assert drawings
    for path in drawings:
        text = path.read_text(encoding="utf-8")
        ElementTree.fromstring(text)
        assert "var(--" not in text
        assert len(text) < 100_000
    assert "nofrost</text>" in (tmp_path / "figures" / "b-study-figure-1.svg").read_text(encoding="utf-8")


def test_pages_that_are_no_longer_there_are_deleted_and_those_of_others_stay(papers: Path, tmp_path: Path) -> None:
    write_result_pages(find_studies([papers]), tmp_path)
    (tmp_path / "mine.md").write_text("# mine\n", encoding="utf-8")
    write_result_pages(find_studies([papers / "digits"]), tmp_path)
    assert {path.name for path in tmp_path.glob("*.md")} == {"README.md", "digits.md", "mine.md"}
    assert [path.name for path in (tmp_path / "figures").iterdir()] == ["digits-figure-1.svg"]
    (tmp_path / "README.md").write_text("# mine\n", encoding="utf-8")
    with pytest.raises(UserError, match="was not written by `nofrost gallery`"):
        write_result_pages(find_studies([papers]), tmp_path)


def test_files_of_others_among_the_drawings_are_neither_deleted_nor_replaced(papers: Path, tmp_path: Path) -> None:
    studies, figures = find_studies([papers / "digits"]), tmp_path / "figures"
    figures.mkdir()
    for name in (
        "mine.svg",
        "notes-figure-1.svg",
        "README-figure-1.svg",
        "digits-figure-new.svg",
        "digits-figure-1.svg",
    ):
        (figures / name).write_text("mine", encoding="utf-8")
    with pytest.raises(UserError, match=r"figures/digits-figure-1\.svg was not written by `nofrost gallery`"):
        write_result_pages(studies, tmp_path)
    assert list(tmp_path.iterdir()) == [figures]
    (figures / "digits-figure-1.svg").unlink()
    write_result_pages(studies, tmp_path)
    (figures / "digits-figure-2.svg").write_text("of an earlier page", encoding="utf-8")
    (tmp_path / "notes.md").write_text("# mine\n", encoding="utf-8")
    write_result_pages(studies, tmp_path)
    kept = {path.name for path in figures.iterdir() if path.read_text(encoding="utf-8") == "mine"}
    assert kept == {"mine.svg", "notes-figure-1.svg", "README-figure-1.svg", "digits-figure-new.svg"}
    assert {path.name for path in figures.iterdir()} - kept == {"digits-figure-1.svg"}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"size": "tiny", "finished": None}, r"it is of b-study, size small, seed 0, and \S+ of b-study, size tiny"),
        ({"seeds": (0, 1)}, "seeds 0 and 1: run the study again"),
        ({"study": "other"}, "of other, size small"),
        ({"finished": None}, "its study has not finished since"),
    ],
)
def test_a_report_older_than_the_last_run_of_its_study_is_left_out_with_a_reason(
    papers: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], reason: str
) -> None:
    shutil.copytree(papers / "b-study" / "report", tmp_path / "b-study" / "report")
    write_result(tmp_path / "b-study" / "record.json", RECORD.model_copy(update=changes))
    found = find_studies([papers / "digits", tmp_path, tmp_path / "b-study"])
    assert [study.name for study in found] == ["digits"]
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(f"b-study/report is left out: .*{reason}", line)
    # The report that is up to date takes its place.
    assert [study.name for study in find_studies([tmp_path, papers])] == ["b-study", "a-study", "digits"]
    with pytest.raises(UserError, match="every report is left out: finish the studies"):
        find_studies([tmp_path])


@pytest.mark.parametrize("has_record", [True, False])
def test_a_report_whose_study_is_run_again_or_was_killed_is_left_out(
    papers: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], has_record: bool
) -> None:
    folder = tmp_path / "b-study"
    shutil.copytree(papers / "b-study" / "report", folder / "report")
    if has_record:
        write_result(folder / "record.json", RECORD)
    (folder / RUNNING).parent.mkdir()
    (folder / RUNNING).touch()
    with pytest.raises(UserError, match="every report is left out"):
        find_studies([tmp_path])
    assert f"was killed, as {folder / RUNNING} says: run the study again" in capsys.readouterr().err
    (folder / RUNNING).unlink()
    assert [study.name for study in find_studies([tmp_path])] == ["b-study"]


def test_the_command_writes_either(papers: Path, tmp_path: Path) -> None:
    def call(*arguments: object) -> str:
        return CliRunner().invoke(cli, ["gallery", *map(str, arguments)], catch_exceptions=False).stdout

    assert "3 studies, b-study, a-study, digits" in call(papers, "--out", tmp_path / "page.html")
    assert (tmp_path / "page.html").is_file()
    assert "3 studies" in call(papers, "--markdown", tmp_path / "pages")
    with pytest.raises(UserError, match="give one of the two"):
        call(papers, "--markdown", tmp_path / "pages", "--out", tmp_path / "page.html")


def test_wrong_folders_are_refused_in_a_sentence(papers: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is no folder"):
        find_studies([tmp_path / "nowhere"])
    with pytest.raises(UserError, match="holds no report"):
        find_studies([tmp_path])
    shutil.copytree(papers / "digits" / "report", tmp_path / "copy")
    with pytest.raises(UserError, match="both reports of digits: name one of them"):
        find_studies([papers, tmp_path])
    assert len(find_studies([papers, papers])) == 3
    shown = read_json(tmp_path / "copy" / HIGHLIGHTS)
    for damaged in ({}, {**shown, "numbers": [{"kind": "nonsense"}]}, {**shown, "figures": [{"kind": "table"}]}, []):
        write_json(tmp_path / "copy" / HIGHLIGHTS, damaged)
        with pytest.raises(UserError, match="does not hold the highlights of a report: write the report again"):
            find_studies([tmp_path])


CLAIM = ("printed", "wang2022-table-3", "claims", 0)
SVG = '<svg viewBox="0 0 9 9.5" focusable="false">{}</svg>'
TABLE = {"kind": "table", "caption": "c", "columns": [{"title": "claim", "text": True}], "rows": [[{"text": "t"}]]}


def drawing(svg: str) -> list[dict[str, Any]]:
    return [{"kind": "figure", "caption": "c", "panels": [{"title": "", "svg": svg, "alt": "a"}]}]


def image(source: str) -> list[dict[str, Any]]:
    rows = [["a row", [{"source": source, "alt": "a"}]]]
    return [{"kind": "pictures", "title": "t", "caption": "c", "rows": rows, "columns": ["c"]}]


@pytest.mark.parametrize(
    ("file", "key", "value", "message"),
    [
        ("metrics.json", (*CLAIM, "in_noise"), "maybe", r"printed\.wang2022-table-3\.claims\.0\.in_noise: "),
        ("metrics.json", (*CLAIM, "in_noise"), None, "in_noise: .*valid boolean, got None"),
        ("metrics.json", (*CLAIM, "in_noise"), [True], "in_noise: .*valid boolean"),
        ("metrics.json", (*CLAIM, "text"), 3, r"claims\.0\.text: .*valid string, got 3"),
        ("metrics.json", (*CLAIM, "text"), None, r"claims\.0\.text: .*valid string"),
        ("metrics.json", (*CLAIM, "verdict"), "hold", r"claims\.0\.verdict: .*did you mean 'holds'\?"),
        ("metrics.json", CLAIM, {}, r"key printed\.wang2022-table-3\.claims\.0\.text is missing"),
        ("metrics.json", ("printed", "wang2022-table-3"), [], "is not a mapping"),
        ("metrics.json", ("printed",), {}, r"printed has none, where \S+record\.json has wang2022-table-3"),
        ("metrics.json", (), {}, r"printed has none, where \S+record\.json has wang2022-table-3"),
        ("metrics.json", (), [], "is not a mapping"),
        ("record.json", ("config", "name"), "../../evil", r"config\.name: '\.\./\.\./evil' cannot be a name"),
        ("record.json", ("config", "name"), "a/b", r"config\.name: 'a/b' cannot be a name"),
        ("record.json", ("config", "title"), None, r"config\.title: "),
        ("record.json", ("config", "note"), 3, r"config\.note: "),
        ("record.json", ("config", "runs", "seed"), 3, r"config\.runs\.seed: .*valid list, got 3"),
        ("record.json", ("config", "runs", "seed"), [], r"config\.runs\.seed: "),
        ("record.json", ("config", "runs"), None, r"config\.runs: "),
        ("record.json", ("config", "printed"), ["no-table"], r"config\.printed: .*no printed table .*'no-table'"),
        (HIGHLIGHTS, ("numbers",), [{**TABLE, "columns": []}], r"numbers\.0: the table has no columns"),
        (HIGHLIGHTS, ("numbers",), [{**TABLE, "rows": [[]]}], r"numbers\.0: rows\.0 of the table has 0 cells for 1"),
        (HIGHLIGHTS, ("pictures",), image("https://evil/a.png"), "image in the row 'a row' is not inside the file"),
        (HIGHLIGHTS, ("figures",), drawing("<svg></svg>"), r"figures\.0: panels\.0\.svg is no drawing.* begin with"),
        (HIGHLIGHTS, ("figures",), drawing('<svg viewBox="0 0 9" />'), "does not begin with"),
        (HIGHLIGHTS, ("figures",), drawing(SVG.format("<g>")), "is not XML"),
        (HIGHLIGHTS, ("figures",), drawing(SVG.format("") + "<p/>"), "is not XML"),
        (HIGHLIGHTS, ("figures",), drawing(SVG.format("<text>\ud800</text>")), "is not XML"),
        *(
            (HIGHLIGHTS, ("figures",), drawing(SVG.format(markup)), message)
            for markup, message in {
                "<script>alert(1)</script>": "has an element 'script'",
                "<g><foreignObject><p/></foreignObject></g>": "has an element 'foreignObject'",
                '<a href="#a"/>': "has an element 'a'",
                "<style>@import 'a.css'</style>": "has an element 'style'",
                '<image href="https://evil/a.png"/>': "has an element 'image'",
                '<g xmlns="http://www.w3.org/1999/xhtml"/>': "has an element '{http",
                '<g ONload="alert(1)"/>': "has an attribute 'ONload'",
                '<use href="https://evil/a.svg#a"/>': "attribute 'href' refers to something outside",
                '<use HREF="&#104;ttp://evil"/>': "attribute 'HREF' refers",
                '<use xmlns:x="http://www.w3.org/1999/xlink" x:href="http://evil"/>': "has an attribute '{http",
                '<g style="fill: URL(https://evil)"/>': "attribute 'style' refers",
                '<g style="fill: u\\72l(https://evil)"/>': "attribute 'style' refers",
                "<g style='background: image-set(\"https://evil\" 1x)'/>": "attribute 'style' refers",
                "<!-- -->": "has a declaration or a comment",
                "<?a b?>": "has a declaration or a comment",
            }.items()
        ),
    ],
)
def test_a_damaged_report_is_refused_in_a_sentence_that_names_file_and_key(
    papers: Path, tmp_path: Path, file: str, key: tuple[Any, ...], value: Any, message: str
) -> None:
    report, target = tmp_path / "report", tmp_path / "pages"
    report.mkdir()
    for each in ("record.json", "metrics.json", HIGHLIGHTS):
        shutil.copyfile(papers / "b-study" / "report" / each, report / each)
    content = values = read_json(report / file)
    for name in key[:-1]:
        values = values[name]
    if key:
        values[key[-1]] = value
    write_json(report / file, content if key else value)
    for option in ("--markdown", "--out"):
        with pytest.raises(UserError, match=message) as error:
            CliRunner().invoke(cli, ["gallery", str(report), option, str(target)], catch_exceptions=False)
        assert str(error.value).startswith(f"{report / file}: ")
        assert str(error.value).endswith(": write the report again")
        assert list(tmp_path.iterdir()) == [report]


def test_characters_that_no_file_can_hold_are_written_in_letters(papers: Path, tmp_path: Path) -> None:
    (study,) = find_studies([papers / "digits"])
    (figure,) = (block for block in study.highlights.figures if isinstance(block, Figure))
    shown = replace(study.highlights, figures=[replace(figure, legend=[("a\ud800b\x1bc", 0)])])
    config = study.config.model_copy(update={"note": "a\ud800b\x1bc"})
    write_result_pages([replace(study, config=config, highlights=shown)], tmp_path)
    for name in ("digits.md", "figures/digits-figure-1.svg"):
        assert r"a\ud800b\x1bc" in (tmp_path / name).read_text(encoding="utf-8")


def test_a_study_whose_page_would_replace_that_of_all_claims_is_refused(papers: Path, tmp_path: Path) -> None:
    (study,) = find_studies([papers / "digits"])
    for name in ("README", "ReadMe"):
        same = replace(study, config=study.config.model_copy(update={"name": name}))
        with pytest.raises(UserError, match=f"a study named {name}, whose page would replace README.md"):
            write_result_pages([same], tmp_path / "pages")
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("verdict", "in_noise", "margins", "words"),
    [
        ("holds", False, {"a.b > 1": 2.0}, "holds"),
        ("does not hold", True, {"a.b > 1": -2.0}, "does not hold, within the noise"),
        ("not expected at this size", True, {"a.b > 1": 2.0}, "it holds here, within the noise"),
        ("not expected at this size", False, {"a.b > 1": 2.0, "a.b > 9": 0.0}, "it does not hold here"),
        ("not measured", False, {}, "not measured"),
    ],
)
def test_a_claim_that_is_not_expected_to_hold_says_whether_it_does(
    verdict: str, in_noise: bool, margins: dict[str, float], words: str
) -> None:
    claim = JudgedClaim.model_validate({"text": "t", "verdict": verdict, "in_noise": in_noise, "margins": margins})
    assert claim.words == (f"{verdict}: {words}" if words.startswith("it ") else words)
