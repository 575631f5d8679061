"""The page works alone: offline, escaped, the same bytes each time, readable by machines and on a phone."""

from __future__ import annotations

import re
import shutil
import subprocess
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from nofrost.report.figures import fault_of_svg
from nofrost.report.render import to_html


def html_of(folder: Path) -> str:
    return (folder / "report.html").read_text(encoding="utf-8")


def test_the_page_loads_no_other_resource(whole: Any) -> None:
    html = html_of(whole[1])
    assert re.findall(r"<(?:script|link|iframe|object|embed|base|form)\b", html) == []
    assert (
        re.findall(r"""(?:src|href|action|srcset|poster)\s*=\s*["'](?!#|data:image/(?:png|jpeg);base64,)""", html) == []
    )
    assert re.findall(r"url\((?!#)|@import|https?://", html) == []


def test_names_from_users_are_escaped(whole: Any) -> None:
    html = html_of(whole[1])
    assert "<zero>" not in html
    assert "&lt;zero&gt; &amp; co" in html


def test_the_title_and_note_of_a_study_cannot_inject_markup(tree: Any) -> None:
    attack = "</title><script>alert(1)</script> & \" ' <img src=x onerror=alert(1)>"
    tree.study = tree.study.model_copy(update={"title": attack, "note": attack})
    tree.change(
        "st/seed-0/evaluate-adversarial/quick/metrics.json",
        lambda metrics: {**metrics, "alarms": [{"name": attack, "status": "warn", "reason": attack}]},
    )
    html = html_of(tree.report())
    assert "<script" not in html
    assert "<img src=x" not in html
    assert html.count("&lt;script&gt;") >= 4


def test_ids_are_unique_and_every_reference_has_its_target(whole: Any) -> None:
    html = html_of(whole[1])
    ids = re.findall(r'\sid="([^"]*)"', html)
    assert len(ids) == len(set(ids))
    references = re.findall(r'(?:href="#|url\(#|labelledby=")([^")]*)', html)
    assert references
    assert set(references) <= set(ids)


def test_headings_descend_by_one_level(whole: Any) -> None:
    levels = [int(level) for level in re.findall(r"<h([1-6])\b", html_of(whole[1]))]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_header_cells_have_a_scope_and_drawings_a_description(whole: Any) -> None:
    html = html_of(whole[1])
    assert all("scope=" in cell for cell in re.findall(r"<th\b[^>]*>", html))
    plots = re.findall(r'<div class="plot"[^>]*>', html)
    # trade-off, steps, budget; families and corruptions; reliability, trainings
    assert len(plots) == 3 + 4 + 6 + 4 + 4
    assert all(re.search(r'role="img" aria-label="[^"]{20,}"', plot) for plot in plots)


def test_drawings_take_their_colours_from_the_page(whole: Any) -> None:
    html = html_of(whole[1])
    drawings = re.findall(r"<svg\b.*?</svg>", html, flags=re.DOTALL)
    assert len(drawings) > 13
    # A gallery reads them again, as markup.
    assert [drawing for drawing in drawings if "viewBox" in drawing[:14] and fault_of_svg(drawing)] == []
    assert all(re.findall(r"#[0-9a-f]{6}\b", drawing) == [] for drawing in drawings)
    style = html.split("</style>")[0]
    used = set(re.findall(r"var\((--[a-z0-9-]+)\)", " ".join(drawings)))
    assert used
    assert all(style.count(f"{variable}:") == 2 for variable in used)  # one for light, one for dark


def luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(first: str, second: str) -> float:
    light, dark = sorted((luminance(first), luminance(second)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_colours_have_enough_contrast(whole: Any, theme: int) -> None:
    style = html_of(whole[1]).split("</style>")[0]
    variables = re.findall(r":root \{.*?\}", style, re.DOTALL)[theme]
    colours = dict(re.findall(r"(--[a-z0-9-]+): (#[0-9a-f]{6});", variables))
    for text in ("--ink", "--muted", "--accent"):
        assert contrast(colours[text], colours["--page"]) >= 4.5
        assert contrast(colours[text], colours["--panel"]) >= 4.5
    for status in ("--pass", "--warn", "--fail"):
        assert contrast(colours[status], colours[f"{status}-back"]) >= 4.5
    for position in range(8):
        assert contrast(colours[f"--series-{position}"], colours["--page"]) >= 3


def test_the_same_inputs_give_the_same_bytes(tree: Any) -> None:
    first, second = tree.report("first"), tree.report("second")
    names = sorted(path.relative_to(first) for path in first.rglob("*") if path.is_file())
    assert len(names) == 10
    for name in names:
        assert (first / name).read_bytes() == (second / name).read_bytes(), name


def test_an_empty_document_renders() -> None:
    from nofrost.report.document import Document

    assert to_html(Document("a < b", "none", [])).count("a &lt; b") == 2


CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine to lay the page out")
@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_is_no_wider_than_the_screen(whole: Any, tmp_path: Path, width: int) -> None:
    # The page alone has no script; this copy measures itself in a frame of the wanted width, open details included.
    page = html_of(whole[1]).replace("<details", "<details open")
    (tmp_path / "page.html").write_text(page, encoding="utf-8")
    probe = (
        f'<iframe id="f" src="page.html" style="width:{width}px;height:900px;border:0"></iframe><p id="o"></p><script>'
        "onload=()=>{const d=document.getElementById('f').contentDocument.documentElement;"
        "document.getElementById('o').textContent='width '+d.scrollWidth+' of '+d.clientWidth}</script>"
    )
    (tmp_path / "probe.html").write_text(probe, encoding="utf-8")
    flags = (
        "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
        "--disable-component-update --disable-sync --hide-scrollbars "
        "--allow-file-access-from-files --virtual-time-budget=10000 "
        f"--window-size={width + 200},900 --user-data-dir={tmp_path / 'profile'} --dump-dom file://{tmp_path}/probe.html"
    )
    done = subprocess.run([str(CHROMIUM), *flags.split()], capture_output=True, text=True, timeout=120)
    found = re.search(r"width (\d+) of (\d+)", done.stdout)
    assert found, done.stdout[-500:] + done.stderr[-500:]
    assert int(found[1]) == int(found[2]) == width
