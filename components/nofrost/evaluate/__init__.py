"""Evaluating models: attacks, corruptions, and alarms for attacks that were too weak to mean anything."""

from nofrost.evaluate.adversarial import run_adversarial
from nofrost.evaluate.alarms import Alarm
from nofrost.evaluate.ood import run_ood
from nofrost.evaluate.result import RobustnessResult
from nofrost.evaluate.robustness import evaluate_robustness

__all__ = ["Alarm", "RobustnessResult", "evaluate_robustness", "run_adversarial", "run_ood"]
