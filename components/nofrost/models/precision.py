"""The precision that a model computes in, while images and perturbations stay in float32."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from nofrost.models.classifier import Classifier


@contextmanager
def precision(model: nn.Module, dtype: torch.dtype) -> Iterator[None]:
    """Let the network inside `model` compute under autocast in `dtype`; float32 means without autocast.

    Only the network: the input normaliser before it, the logits after it and the gradient of the images are of the
    images' dtype. Above 0.5 the values of bfloat16 lie a whole pixel apart: were images cast, a perturbation's steps
    would vanish or double. The model itself enters autocast, so that this also holds inside an attack, which switches
    the caller's autocast off. For training; evaluation computes in float32.

    Args:
        model: a :class:`Classifier`, wrapped or not.
        dtype: ``torch.bfloat16``, ``torch.float16`` or ``torch.float32``.

    Raises:
        ValueError: there is no Classifier in `model`, which alone knows where its network begins.
    """
    classifiers = [module for module in model.modules() if isinstance(module, Classifier)]
    if not classifiers:
        raise ValueError(f"{type(model).__name__} holds no nofrost.models.Classifier: build one with create_model")
    before = [classifier.compute_dtype for classifier in classifiers]
    try:
        for classifier in classifiers:
            classifier.compute_dtype = None if dtype == torch.float32 else dtype
        yield
    finally:
        for classifier, earlier in zip(classifiers, before, strict=True):
            classifier.compute_dtype = earlier
