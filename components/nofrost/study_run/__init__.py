"""A study from its images to its report, by DVC, in a folder of its own."""

from nofrost.study_run.dvc_repro import Attempt, dvc_repro
from nofrost.study_run.study_folder import StudyFolder, datasets_of

__all__ = ["Attempt", "StudyFolder", "datasets_of", "dvc_repro"]
