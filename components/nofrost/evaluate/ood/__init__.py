"""Evaluation with an ood suite: corrupted test images, further test sets, published corrupted sets, outliers."""

from nofrost.evaluate.ood.ood_evaluation import OodEvaluation

__all__ = ["OodEvaluation"]
