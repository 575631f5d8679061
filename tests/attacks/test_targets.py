"""Targets are the wrong classes that the model thinks likeliest."""

from __future__ import annotations

import torch

from nofrost.attacks.losses import likeliest_wrong

INF = torch.inf


def test_they_come_by_falling_logit_without_the_label() -> None:
    logits = torch.tensor([[4.0, 1.0, 3.0, 2.0], [0.0, 1.0, 2.0, 3.0]])
    assert likeliest_wrong(logits, torch.tensor([0, 1]), 2).tolist() == [[2, 3], [3, 2]]


def test_there_are_at_most_all_wrong_classes() -> None:
    assert likeliest_wrong(torch.tensor([[4.0, 1.0, 3.0]]), torch.tensor([2]), 9).tolist() == [[0, 1]]
    assert likeliest_wrong(torch.tensor([[4.0, 1.0]]), torch.tensor([0]), 9).tolist() == [[1]]


def test_neither_ties_nor_classes_ruled_out_bring_the_label_in() -> None:
    logits = torch.tensor([[0.0, 0.0, 0.0, 0.0], [-INF, 1.0, -INF, -INF]])
    assert likeliest_wrong(logits, torch.tensor([2, 2]), 3).tolist() == [[0, 1, 3], [1, 0, 3]]
