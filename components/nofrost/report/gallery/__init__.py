"""The gallery: finished studies joined into one page, and into pages of Markdown."""

from nofrost.report.gallery.finished import FinishedStudy, find_studies
from nofrost.report.gallery.page import gallery_page
from nofrost.report.gallery.result_pages import write_result_pages

__all__ = ["FinishedStudy", "find_studies", "gallery_page", "write_result_pages"]
