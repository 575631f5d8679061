"""How logits are read as answers: by all classes, by some of them and by groups, against plain numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logsumexp, softmax

from nofrost.errors import UserError
from nofrost.evaluate.ood.answers import WHOLE, Answered, AnswerRule

quick = settings(deadline=None, max_examples=40)
SOME = AnswerRule(((7,), (2,), (5,)))
GROUPS = ((0, 3), (9,), (1, 2, 8))


def read(rule: AnswerRule, logits: np.ndarray) -> Answered:
    return Answered(rule.read(torch.from_numpy(logits)).numpy())


logits_of_ten = st.integers(0, 2**32 - 1).map(
    lambda seed: np.random.default_rng(seed).normal(0, 5, (6, 10)).astype(np.float32)
)


@quick
@given(logits_of_ten)
def test_among_all_classes_the_answers_are_those_of_a_plain_softmax(logits: np.ndarray) -> None:
    answered, probabilities = read(WHOLE, logits), softmax(logits.astype(np.float64), axis=1)
    assert np.array_equal(answered.classes, logits.argmax(1))
    assert np.array_equal(answered.top5, np.argsort(-logits, axis=1)[:, :5])
    assert answered.confidence == pytest.approx(probabilities.max(1))
    assert answered.energy == pytest.approx(logsumexp(logits.astype(np.float64), axis=1))


@quick
@given(logits_of_ten)
def test_other_outputs_are_left_out_before_anything_is_computed(logits: np.ndarray) -> None:
    answered, kept = read(SOME, logits), logits[:, [7, 2, 5]].astype(np.float64)
    assert np.array_equal(answered.classes, kept.argmax(1))
    assert np.array_equal(answered.top5, np.hstack([np.argsort(-kept, axis=1), np.full((6, 2), -1)]))
    assert answered.confidence == pytest.approx(softmax(kept, axis=1).max(1))
    assert answered.energy == pytest.approx(logsumexp(kept, axis=1))


@quick
@given(logits_of_ten)
def test_a_group_has_its_largest_logit_and_the_sum_of_its_probabilities(logits: np.ndarray) -> None:
    answered = read(AnswerRule(GROUPS), logits)
    probabilities = softmax(logits[:, [place for group in GROUPS for place in group]].astype(np.float64), axis=1)
    best = np.array([[row[list(group)].max() for group in GROUPS] for row in logits])
    sums = np.stack([probabilities[:, :2].sum(1), probabilities[:, 2], probabilities[:, 3:].sum(1)], axis=1)
    assert np.array_equal(answered.classes, best.argmax(1))
    assert answered.confidence == pytest.approx(sums[np.arange(6), best.argmax(1)])


@quick
@given(logits_of_ten)
def test_by_means_a_group_has_the_mean_of_its_probabilities(logits: np.ndarray) -> None:
    answered = read(AnswerRule(GROUPS, "mean"), logits)
    # over all outputs, as those that are left out change no order
    probabilities = softmax(logits.astype(np.float64), axis=1)
    means = np.stack([probabilities[:, list(group)].mean(1) for group in GROUPS], axis=1)
    assert np.array_equal(answered.classes, means.argmax(1))
    assert answered.confidence == pytest.approx((means / means.sum(1, keepdims=True)).max(1))


def test_of_equal_logits_the_first_is_the_answer_and_the_first_of_the_five() -> None:
    for classes in (3, 12):
        answered = read(WHOLE, np.zeros((1, classes), dtype=np.float32))
        assert answered.classes.tolist() == [0]
        assert answered.top5[0, 0] == 0
        assert len(set(answered.top5[0].tolist())) == (4 if classes == 3 else 5)


def test_classes_of_the_dataset_have_the_numbers_of_the_rule() -> None:
    labels = np.array([0, 2, 5, 7, 9])
    assert SOME.labels(labels).tolist() == [-1, 1, 2, 0, -1]
    assert AnswerRule(GROUPS).labels(labels).tolist() == [0, 2, -1, -1, 1]
    assert WHOLE.labels(labels).tolist() == labels.tolist()


def test_outputs_that_a_model_rules_out_or_lacks_are_told() -> None:
    ruled_out = np.full((1, 10), -np.inf, dtype=np.float32)
    ruled_out[0, 0] = 1.0
    assert read(WHOLE, ruled_out).confidence.tolist() == [1.0]
    with pytest.raises(UserError, match="the model returned -infinity for every class of an image"):
        read(SOME, ruled_out)
    with pytest.raises(UserError, match="the model has 6 outputs, and a test set has classes of output 7"):
        read(SOME, np.zeros((1, 6), dtype=np.float32))
