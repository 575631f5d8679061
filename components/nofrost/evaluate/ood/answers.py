"""A model's answers on images: predicted classes, confidence and energy, all read from its logits in one pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nofrost.errors import UserError
from nofrost.evaluate.measuring.attacking import EvaluatedModel
from nofrost.evaluate.measuring.engine import Measurement
from nofrost.evaluate.measuring.sample import Sample
from nofrost.evaluate.properties.answers import to_float64

TOP = 5
# Columns of values: the classes of the five highest scores, highest first and -1 where there are fewer; then these
_CONFIDENCE, _ENERGY, COLUMNS = TOP, TOP + 1, TOP + 2
# Which of them are kept where not all are needed
_BRIEF, _SCORES = [0, _CONFIDENCE], [_CONFIDENCE, _ENERGY]

Shown = Callable[[Tensor, Tensor], Tensor]
"""From images [n, C, H, W] and indices [n] to the images that the model is shown."""


@dataclass(frozen=True)
class AnswerRule:
    """How the logits of a model are read as an answer among some classes.

    Attributes:
        outputs: for each class, the outputs of the model that mean it; other outputs are left out before anything is
            computed. None: each output is a class.
        answer: the class of the largest logit, or that of the largest mean probability over its outputs (Geirhos et al.
            2019).
    """

    outputs: tuple[tuple[int, ...], ...] | None = None
    answer: Literal["largest", "mean"] = "largest"

    def read(self, logits: Tensor) -> Tensor:
        """Return the values [n, COLUMNS] of logits [n, K]: classes, the probability of the first of them, in [0, 1],
        and the logarithm of the summed exponentials of the logits (minus the free energy, Liu et al. 2020).

        The probability of a class is the sum over its outputs, or with "mean" its share of the means.

        Raises:
            UserError: an image has no output above -infinity, or the model has too few outputs.
        """
        kept = to_float64(logits)
        if self.outputs is not None:
            if self._places.max() >= kept.shape[1]:
                raise UserError(
                    f"the model has {kept.shape[1]} outputs, and a test set has classes of output {self._places.max()}:"
                    " evaluate it on the dataset it was trained on"
                )
            kept = kept[:, torch.from_numpy(self._places).to(kept.device)]
        energy = kept.logsumexp(1)
        if bool(energy.isneginf().any()):
            raise UserError("the model returned -infinity for every class of an image: check its weights")
        scores, logarithms = self._by_class(kept)
        first = scores.argmax(1, keepdim=True)
        confidence = logarithms.gather(1, first).exp()
        # The first class is that of argmax also where several scores are the largest
        ranked = scores.scatter(1, first, torch.inf).topk(min(TOP, scores.shape[1]), dim=1).indices
        classes = torch.nn.functional.pad(ranked, (0, TOP - ranked.shape[1]), value=-1)
        return torch.cat([classes.to(kept.dtype), confidence, energy[:, None]], dim=1)

    def _by_class(self, kept: Tensor) -> tuple[Tensor, Tensor]:
        """Return scores and logarithms of probabilities by class [n, classes] of the logits that count."""
        logarithms = kept.log_softmax(1)
        if self.outputs is None or (self.answer == "largest" and len(self.outputs) == len(self._places)):
            return kept, logarithms
        group = torch.from_numpy(self._groups).to(kept.device).expand(len(kept), -1)
        sizes = torch.from_numpy(np.bincount(self._groups)).to(kept)
        zeros = kept.new_zeros(len(kept), len(self.outputs))
        sums = zeros.scatter_add(1, group, logarithms.exp())
        if self.answer == "mean":
            means = sums / sizes
            return means, (means / means.sum(1, keepdim=True)).log()
        return zeros.scatter_reduce(1, group, kept, "amax", include_self=False), sums.clamp(max=1).log()

    @cached_property
    def _places(self) -> NDArray[np.int64]:
        """The outputs that count, class by class."""
        return np.array([place for places in self.outputs or () for place in places], dtype=np.int64)

    @cached_property
    def _groups(self) -> NDArray[np.int64]:
        """The class of each of them."""
        return np.repeat(np.arange(len(self.outputs or ())), [len(places) for places in self.outputs or ()])

    def labels(self, classes: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the class here of each class of the dataset [N]; -1 for one that no class here means."""
        if self.outputs is None:
            return classes
        table = np.full(max(int(self._places.max()), int(classes.max(initial=0))) + 1, -1, dtype=np.int64)
        table[self._places] = self._groups
        return table[classes]


WHOLE = AnswerRule()
"""All classes of the dataset."""


@dataclass(frozen=True)
class Answered:
    """What was measured on N images by one rule: float64 [N, COLUMNS]."""

    values: NDArray[np.float64]

    @property
    def classes(self) -> NDArray[np.int64]:
        """The predicted class of each image."""
        return predicted(self.values)

    @property
    def top5(self) -> NDArray[np.int64]:
        """[N, 5], the classes of the five highest scores."""
        return self.values[:, :TOP].astype(np.int64)

    @property
    def confidence(self) -> NDArray[np.float64]:
        """The probability of the predicted class."""
        return self.values[:, _CONFIDENCE]

    @property
    def energy(self) -> NDArray[np.float64]:
        """The logarithm of the summed exponentials of the logits."""
        return self.values[:, _ENERGY]


@dataclass(frozen=True)
class BriefAnswers:
    """What :func:`brief_answer_measurement` measured on N images: float64 [N, 2]."""

    values: NDArray[np.float64]

    @property
    def confidence(self) -> NDArray[np.float64]:
        """The probability of the predicted class."""
        return self.values[:, _BRIEF.index(_CONFIDENCE)]


@dataclass(frozen=True)
class Scores:
    """What :func:`score_measurement` measured on N images: float64 [N, 2]."""

    values: NDArray[np.float64]

    @property
    def confidence(self) -> NDArray[np.float64]:
        """The probability of the predicted class."""
        return self.values[:, _SCORES.index(_CONFIDENCE)]

    @property
    def energy(self) -> NDArray[np.float64]:
        """The logarithm of the summed exponentials of the logits."""
        return self.values[:, _SCORES.index(_ENERGY)]


def predicted(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the predicted class of each image, which the first column of all these measurements is."""
    return values[:, 0].astype(np.int64)


def answer_measurement(
    model: EvaluatedModel, name: str, title: str, rules: Sequence[AnswerRule], sample: Sample | None = None
) -> Measurement:
    """Return the measurement of a model's answers by each of the rules, in one pass: float64 [N, rules · COLUMNS].

    Args:
        name, title: of the measurement.
        rules: the classes by the first of them are compared with the labels.
        sample: the images; None: those of the engine.
    """

    @torch.no_grad()
    def compute(images: Tensor, labels: Tensor, indices: Tensor, batch_size: int) -> Tensor:
        logits = model.finite_logits(images)
        return torch.cat([rule.read(logits) for rule in rules], dim=1)

    shape = (len(rules) * COLUMNS,)
    return Measurement(name, title, compute, dtype=np.float64, shape=shape, classes=predicted, sample=sample)


def brief_answer_measurement(
    model: EvaluatedModel,
    name: str,
    title: str,
    rule: AnswerRule,
    shown: Shown | None = None,
    sample: Sample | None = None,
) -> Measurement:
    """Return the measurement of predicted class and confidence alone, float64 [N, 2]: there are many corrupted images.

    Args:
        shown: changes the images before the model is shown them.
    """

    @torch.no_grad()
    def compute(images: Tensor, labels: Tensor, indices: Tensor, batch_size: int) -> Tensor:
        logits = model.finite_logits(images if shown is None else shown(images, indices))
        return rule.read(logits)[:, _BRIEF]

    return Measurement(name, title, compute, dtype=np.float64, shape=(len(_BRIEF),), classes=predicted, sample=sample)


def score_measurement(model: EvaluatedModel, name: str, title: str, rule: AnswerRule, sample: Sample) -> Measurement:
    """Return the measurement of confidence and energy alone, float64 [N, 2]; no answer is right on these images."""

    @torch.no_grad()
    def compute(images: Tensor, labels: Tensor, indices: Tensor, batch_size: int) -> Tensor:
        return rule.read(model.finite_logits(images))[:, _SCORES]

    return Measurement(name, title, compute, dtype=np.float64, shape=(len(_SCORES),), sample=sample)


def by_rule(values: NDArray[np.float64], rules: Sequence[AnswerRule], rule: AnswerRule) -> Answered:
    """Return the answers by one of the rules that :func:`answer_measurement` measured."""
    place = rules.index(rule) * COLUMNS
    return Answered(values[:, place : place + COLUMNS])
