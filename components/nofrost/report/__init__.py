"""Stage report: tables, figures and example images of a study's runs, as one HTML file, Markdown and numbers."""

from nofrost.report.stage import run

__all__ = ["run"]
