"""Whether a drawing that was read from a file is one of this package: a page takes it as markup."""

from __future__ import annotations

import re
from xml.etree import ElementTree

# As `to_svg` begins every drawing, which `standalone_svg` relies on.
_ROOT = re.compile(r'<svg viewBox="(?:\d{1,6}(?:\.\d{1,9})? ){3}\d{1,6}(?:\.\d{1,9})?" ')
# None of them shows HTML, loads or runs anything.
_ELEMENTS = ("g", "defs", "clipPath", "path", "rect", "line", "polyline", "polygon", "circle", "ellipse", "use", "text")
# In CSS every address is a text in quotes, or in url(), and a backslash may hide either.
_ADDRESS = re.compile(r"""url\((?!#)|["'\\]""", re.IGNORECASE)


def fault_of_svg(svg: str) -> str:
    """Return why a page cannot show a drawing; empty for one of :func:`~nofrost.report.figures.style.to_svg`.

    Refused are scripts, events, HTML, comments, and whatever refers to something outside of the drawing.
    """
    if not _ROOT.match(svg):
        return "it does not begin with <svg viewBox=...> and four numbers"
    # Also entities, which could make it as large as they like.
    if "<!" in svg or "<?" in svg:
        return "it has a declaration or a comment"
    try:
        root = ElementTree.fromstring(svg)
    except (ElementTree.ParseError, UnicodeError) as error:
        return f"it is not XML ({error})"
    for element in root.iter():
        if element is not root and element.tag not in _ELEMENTS:
            return f"it has an element {element.tag[:80]!a}"
        for key, value in element.attrib.items():
            name = key.lower()
            if name.startswith(("on", "{")):
                return f"it has an attribute {key[:80]!a}"
            if not value.startswith("#") if name == "href" else _ADDRESS.search(value):
                return f"its attribute {key[:80]!a} refers to something outside"
    return ""
