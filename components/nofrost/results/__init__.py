"""What stages write and others read, stated once.

Stages return and write these classes; report, cards and the gate of a promotion read them.
"""

from nofrost.results.adversarial import (
    AdversarialMetrics,
    Alarm,
    AttackUse,
    BudgetCurve,
    BudgetPoint,
    EvaluationRecord,
    Protocol,
    ShardMetrics,
    ShardRecord,
    Status,
    StepsCurve,
    StepsPoint,
    TransferMetrics,
)
from nofrost.results.common import Proportion, Record, Result, read_result, read_results, write_result
from nofrost.results.dataset import AugmentationMetrics, DatasetMetrics
from nofrost.results.ood import CorruptionAccuracy, MeanAccuracy, OodMetrics, SeverityPoint
from nofrost.results.properties import (
    BatchNormStatistics,
    LayerMetrics,
    LayerNorms,
    PropertySummary,
    WeightNorms,
)
from nofrost.results.training import (
    CatastrophicOverfitting,
    Epoch,
    Overfitting,
    ParameterGroup,
    PhaseMetrics,
    RobustOverfitting,
    Selection,
    StepRecord,
    StoppedEarly,
    Timing,
    TrainMetrics,
    TrainRecord,
)

__all__ = [
    "AdversarialMetrics",
    "Alarm",
    "AttackUse",
    "AugmentationMetrics",
    "BatchNormStatistics",
    "BudgetCurve",
    "BudgetPoint",
    "CatastrophicOverfitting",
    "CorruptionAccuracy",
    "DatasetMetrics",
    "Epoch",
    "EvaluationRecord",
    "LayerMetrics",
    "LayerNorms",
    "MeanAccuracy",
    "OodMetrics",
    "Overfitting",
    "ParameterGroup",
    "PhaseMetrics",
    "PropertySummary",
    "Proportion",
    "Protocol",
    "Record",
    "Result",
    "RobustOverfitting",
    "Selection",
    "SeverityPoint",
    "ShardMetrics",
    "ShardRecord",
    "Status",
    "StepRecord",
    "StepsCurve",
    "StepsPoint",
    "StoppedEarly",
    "Timing",
    "TrainMetrics",
    "TrainRecord",
    "TransferMetrics",
    "WeightNorms",
    "read_result",
    "read_results",
    "write_result",
]
