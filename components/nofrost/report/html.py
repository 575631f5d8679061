"""The report as one HTML file: style and drawings inside, no script, nothing to load."""

from __future__ import annotations

from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from nofrost.report import figures
from nofrost.report.cells import ICONS
from nofrost.report.document import Document


def to_html(document: Document) -> str:
    """Return the page. Every text of the document is escaped; only drawings made by this package are markup."""
    environment = Environment(
        loader=PackageLoader("nofrost.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    style = (files("nofrost.report") / "templates" / "style.css").read_text(encoding="utf-8")
    environment.globals.update(
        icons=ICONS,
        style=Markup(style),
        swatch=lambda position: Markup(figures.swatch(position)),
        drawing=Markup,
    )
    return environment.get_template("report.html.j2").render(document=document)
