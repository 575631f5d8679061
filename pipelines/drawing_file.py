"""A drawing of the graph as a file, in the format that its name says."""

from pathlib import Path
from typing import Any

from nofrost.errors import UserError
from nofrost.files import write_text
from nofrost.system_errors import explain_write_errors
from pipelines.drawing import as_mermaid, drawing_of
from pipelines.svg import as_svg

FORMATS = {".svg": as_svg, ".mmd": as_mermaid}


def draw(spec: dict[str, Any], out: Path) -> None:
    """Write a drawing of a compiled pipeline; the ending of the file says which: .svg, or .mmd for Mermaid.

    Args:
        spec: the first document of its package.

    Raises:
        UserError: another ending, or the file cannot be written.
    """
    if out.suffix not in FORMATS:
        raise UserError(f"--out {out}: the name must end with .svg, or with .mmd for Mermaid")
    with explain_write_errors(out):
        write_text(out, FORMATS[out.suffix](drawing_of(spec)))
