"""The stage report: everything a study measured, as one page to read and numbers to go on with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nofrost.config import Study
from nofrost.files import write_json, write_text
from nofrost.report.collect import collect
from nofrost.report.html import to_html
from nofrost.report.markdown import to_markdown
from nofrost.report.metrics import metrics, write_plots
from nofrost.report.sections import build
from nofrost.stage import record, stage_output
from nofrost.telemetry import progress

LIBRARIES = ("jinja2", "matplotlib", "numpy", "pillow", "scipy")


def run(dataset: Path, augmentation: Path | None, runs: Path, study: Study, out: Path) -> dict[str, Any]:
    """Make the report of a study in the folder `out`.

    ``report.html`` is one file that needs no network; ``report.md`` holds the same tables; ``metrics.json`` the
    accuracies for ``dvc metrics``; ``plots/*.csv`` the curves for ``dvc plots``; ``record.json`` how it was made.
    The same inputs give the same bytes.

    Args:
        dataset: output of the prepare stage.
        augmentation: output of the augment stage; None leaves its section out.
        runs: folder that holds ``<recipe>/seed-<seed>/{train,evaluate-adversarial,evaluate-ood}`` for every run.
        study: the study that was run.
        out: the folder to make; an earlier one is replaced when the new one is whole.

    Returns:
        What ``metrics.json`` holds.

    Raises:
        UserError: a run is missing, a file is damaged, or a run was made with another study.
    """
    collected = collect(dataset, augmentation, runs, study)
    found = metrics(collected)
    with stage_output(out, fingerprint={"study": study.as_json(), "inputs": collected.inputs}) as folder:
        with progress("report", total=4) as bar:
            document = build(collected)
            bar.advance(note="figures and tables")
            write_text(folder / "report.html", to_html(document))
            bar.advance(note="report.html")
            write_text(folder / "report.md", to_markdown(document))
            bar.advance(note="report.md")
            write_plots(folder / "plots", collected)
            write_json(folder / "metrics.json", found)
            bar.advance(note="numbers")
        made = record("report", config=study.as_json(), inputs=collected.inputs, seeds={}, libraries=LIBRARIES)
        write_json(folder / "record.json", made)
    return found
