"""Stage evaluate: models under attacks and corruptions, with alarms for attacks that were too weak."""

from nofrost.evaluate.adversarial.result import RobustnessResult
from nofrost.evaluate.adversarial.robustness import robustness
from nofrost.evaluate.sharding import Shard
from nofrost.evaluate.stage import merge, run
from nofrost.evaluate.transfer_stage import run_transfer
from nofrost.evaluate.transferability import TransferResult, transfer
from nofrost.results import Alarm

evaluate_robustness = robustness
"""The name that ``robustness`` had first."""

__all__ = [
    "Alarm",
    "RobustnessResult",
    "Shard",
    "TransferResult",
    "evaluate_robustness",
    "merge",
    "robustness",
    "run",
    "run_transfer",
    "transfer",
]
