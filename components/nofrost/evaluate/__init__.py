"""Evaluating models: attacks, corruptions, and alarms for attacks that were too weak to mean anything."""

from nofrost.evaluate.adversarial import merge_adversarial, run_adversarial
from nofrost.evaluate.alarms import Alarm
from nofrost.evaluate.ood import merge_ood, run_ood
from nofrost.evaluate.result import RobustnessResult
from nofrost.evaluate.robustness import evaluate_robustness
from nofrost.evaluate.shard import Shard
from nofrost.evaluate.transfer import TransferResult, transfer
from nofrost.evaluate.transfer_stage import run_transfer

__all__ = [
    "Alarm",
    "RobustnessResult",
    "Shard",
    "TransferResult",
    "evaluate_robustness",
    "merge_adversarial",
    "merge_ood",
    "run_adversarial",
    "run_ood",
    "run_transfer",
    "transfer",
]
