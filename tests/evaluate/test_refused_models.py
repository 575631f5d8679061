"""Models and suites that cannot be evaluated are refused, with what is wrong."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from nofrost.config import AdversarialSuite
from nofrost.errors import UserError
from nofrost.evaluate import evaluate_robustness

MakeSuite = Callable[..., AdversarialSuite]
Digits = tuple[torch.Tensor, torch.Tensor]


class Constant(nn.Module):
    """Answers with what it was given, whatever the images."""

    def __init__(self, answer: Callable[[int], object]) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, images: torch.Tensor) -> object:
        return self.answer(len(images))


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda n: torch.full((n, 10), torch.nan), "the model returned NaN or infinite logits"),
        (lambda n: torch.full((n, 10), torch.inf), "the model returned NaN or infinite logits"),
        (lambda n: torch.zeros(n, 9), "labels run from 0 to 9, but the model has 9 classes"),
        (lambda n: torch.zeros(n), "needs logits"),
        (lambda n: torch.zeros(n + 1, 10), "needs logits"),
        (lambda n: (torch.zeros(n, 10),), "needs logits"),
    ],
)
def test_a_model_whose_answers_are_no_logits_is_refused(
    test_digits: Digits, make_suite: MakeSuite, answer: Callable[[int], object], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        evaluate_robustness(Constant(answer), *test_digits, make_suite())


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten()), r"the model failed on .*\(1, 1, 8, 8\)"),
        (nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).half(), r"computes in float16.*: convert it with model\.float"),
    ],
)
def test_a_model_for_other_images_or_in_half_precision_is_refused(
    test_digits: Digits, make_suite: MakeSuite, model: nn.Module, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        evaluate_robustness(model, *test_digits, make_suite())


def test_errors_of_an_attack_name_the_key_of_the_suite(test_digits: Digits, make_suite: MakeSuite) -> None:
    model = Constant(lambda n: torch.eye(10)[test_digits[1][:n]])  # right, and blind to the images
    with pytest.raises(UserError, match=r"suite: attacks\.fgsm: .*gradient"):
        evaluate_robustness(model, test_digits[0], test_digits[1], make_suite())


def test_a_suite_of_corruptions_is_refused(standard_model: nn.Module, test_digits: Digits) -> None:
    with pytest.raises(UserError, match="ood-quick is of kind ood"):
        evaluate_robustness(standard_model, *test_digits, "ood-quick")


def test_an_unknown_suite_is_refused(standard_model: nn.Module, test_digits: Digits) -> None:
    with pytest.raises(UserError, match="did you mean 'adversarial-quick'"):
        evaluate_robustness(standard_model, *test_digits, "adversarial-quik")
