"""Evaluation with an adversarial suite: plan, measurements, result, and alarms about the numbers and the model."""
