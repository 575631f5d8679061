"""`nofrost gallery`: finished studies joined into one page."""

from __future__ import annotations

from pathlib import Path

import click

from nofrost.cli.options import PATH, emit, json_option


@click.command()
@click.argument("folders", type=PATH, nargs=-1, metavar="[FOLDER]...")
@click.option("--out", type=PATH, help="HTML file to write. Default: gallery.html in the first FOLDER.")
@click.option(
    "--markdown", type=PATH, help="Folder to write instead: a page of Markdown for each study, and one of all claims."
)
@json_option
def gallery(folders: tuple[Path, ...], out: Path | None, markdown: Path | None, as_json: bool) -> None:
    """Join the reports of finished studies into one page: claims with their verdicts, figures, adversarial examples.

    FOLDER holds reports, those of studies in folders of their own, or is one of these; default: papers, where
    `nofrost study run` leaves them. The page is one file that works offline and without scripts, and links to the
    reports from where it lies.

    Example: nofrost gallery papers --out papers/gallery.html
    """
    from nofrost.errors import UserError
    from nofrost.files import write_text
    from nofrost.report.gallery import find_studies, gallery_page, write_result_pages
    from nofrost.system_errors import explain_write_errors

    if out and markdown:
        raise UserError("--out writes the page and --markdown a folder of pages: give one of the two")
    folders = folders or (Path("papers"),)
    studies = find_studies(folders)
    target = markdown or out or folders[0] / "gallery.html"
    with explain_write_errors(target):
        if markdown:
            write_result_pages(studies, markdown)
        else:
            write_text(target, gallery_page(studies, target.parent))
    names = [study.name for study in studies]
    emit({"studies": names, "out": str(target)}, f"{target}: {len(names)} studies, {', '.join(names)}", as_json)
