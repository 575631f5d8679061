"""Promotion: a run of the pipeline writes a candidate for dvc.lock, and a person with a checkout merges it.

A pod has neither git nor DVC: it writes a candidate to the store (:func:`write_candidate`). In a checkout,
:func:`plan_promotion` shows how the candidate differs from dvc.lock, and :meth:`Promotion.write` merges it.
"""

from nofrost.promotion.candidate import Candidate, candidate_name, list_candidates, read_candidate, write_candidate
from nofrost.promotion.promotion import Change, Promotion, plan_promotion

__all__ = [
    "Candidate",
    "Change",
    "Promotion",
    "candidate_name",
    "list_candidates",
    "plan_promotion",
    "read_candidate",
    "write_candidate",
]
