"""A study from its images to its report, by DVC, in a folder of its own."""

from nofrost.study_run.dvc_repro import Attempt, dvc_repro
from nofrost.study_run.image_links import image_places, sources_of
from nofrost.study_run.study_folder import StudyFolder, check_project

__all__ = ["Attempt", "StudyFolder", "check_project", "dvc_repro", "image_places", "sources_of"]
