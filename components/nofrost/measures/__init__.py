"""Measures of a classifier out of distribution (calibration, detection of outliers, errors beside a baseline's), and of
how deep one can be trained."""

from nofrost.measures.calibration import Reliability
from nofrost.measures.corruption_error import BASELINES, corruption_errors
from nofrost.measures.detection import auroc, auroc_interval, false_positive_rate
from nofrost.measures.effective_robustness import effective_robustness
from nofrost.measures.trainable_depth import gradient_growth, largest_trainable_depth

__all__ = [
    "BASELINES",
    "Reliability",
    "auroc",
    "auroc_interval",
    "corruption_errors",
    "effective_robustness",
    "false_positive_rate",
    "gradient_growth",
    "largest_trainable_depth",
]
