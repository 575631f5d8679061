"""What a run of the pipeline leaves for dvc.lock, and how a person with a checkout merges it.

A pod has neither git nor DVC: it writes a candidate to the store (:func:`write_candidate`). In a checkout,
:func:`plan_promotion` shows how the candidate differs from dvc.lock, and :meth:`Promotion.write` merges it.
"""

from nofrost.promotion.candidate import Candidate, list_candidates, read_candidate, write_candidate
from nofrost.promotion.promotion import Change, Promotion, plan_promotion

__all__ = ["Candidate", "Change", "Promotion", "list_candidates", "plan_promotion", "read_candidate", "write_candidate"]
