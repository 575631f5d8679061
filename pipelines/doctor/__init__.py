"""What a cluster and a store have of what the pipeline needs: `python -m pipelines doctor`."""

from pipelines.doctor.examination import Subject, examine
from pipelines.doctor.finding import Finding

__all__ = ["Finding", "Subject", "examine"]
