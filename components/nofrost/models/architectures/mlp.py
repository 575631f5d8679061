"""Multilayer perceptrons and linear classifiers, with and without batch norm (galloway2019)."""

import re

import torch
from torch import nn

from nofrost.models.architectures.registry import register
from nofrost.models.classifier import Signature


class Mlp(nn.Module):
    """`hidden` layers of `width` units: linear, batch norm (before the activation, as galloway2019), ReLU; then logits.

    With `single` only the first hidden layer has a batch norm.
    """

    def __init__(self, hidden: int, width: int, signature: Signature, *, single: bool) -> None:
        super().__init__()
        inputs = _values(signature)
        layers: list[nn.Module] = []
        for index in range(hidden):
            linear = nn.Linear(inputs, width)
            nn.init.kaiming_normal_(linear.weight, nonlinearity="relu")
            nn.init.zeros_(linear.bias)
            layers.append(linear)
            if index == 0 or not single:
                layers.append(nn.BatchNorm1d(width))
            layers.append(nn.ReLU())
            inputs = width
        self.hidden = nn.Sequential(*layers)
        self.dropout = nn.Dropout(signature.dropout)
        self.fc = nn.Linear(inputs, signature.num_classes)

    def get_classifier(self) -> nn.Module:
        """Return the last layer (timm's name for it)."""
        return self.fc

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map normalised images [N, C, H, W], of one size, to logits [N, num_classes]."""
        return self.fc(self.dropout(self.hidden(images.flatten(1))))  # type: ignore[no-any-return]


class Linear(nn.Module):
    """One linear layer over the pixels, each normalised by itself first (galloway2019 §3: BNGD).

    With `reference` the first class has the logit 0 and the layer makes those of the others: one for two classes.
    """

    def __init__(self, inputs: int, num_classes: int, *, reference: bool) -> None:
        super().__init__()
        self.bn = nn.BatchNorm1d(inputs)
        nn.init.uniform_(self.bn.weight)
        self.fc = nn.Linear(inputs, num_classes - reference)
        self.reference = reference

    def get_classifier(self) -> nn.Module:
        """Return the last and only layer (timm's name for it)."""
        return self.fc

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map normalised images [N, C, H, W], of one size, to logits [N, num_classes]."""
        logits: torch.Tensor = self.fc(self.bn(images.flatten(1)))
        return nn.functional.pad(logits, (1, 0)) if self.reference else logits


def _values(signature: Signature) -> int:
    height, width = signature.image_size
    return signature.channels * height * width


@register(
    "MLP",
    citation="galloway2019 Figure 2, Tables 6 and 7",
    names=("mlp-2-384", "mlp-2-half", "mlp-2-half-bn1"),
    form="mlp-LAYERS-UNITS of hidden layers and their units (half: half as many as values in an image), then perhaps "
    "-bn1: a normaliser after the first hidden layer only",
    pattern=r"mlp-(?P<hidden>[1-9][0-9]*)-(?P<width>[1-9][0-9]*|half)(?P<single>-bn1)?",
    normalisers=("bn", "mbn", "gn", "ln", "none"),
    drop_path=False,
)
def mlp(signature: Signature, name: re.Match[str]) -> nn.Module:
    """Build the network for images of the signature's size."""
    width = _values(signature) // 2 if name["width"] == "half" else int(name["width"])
    return Mlp(int(name["hidden"]), width, signature, single=name["single"] is not None)


@register(
    "Linear",
    citation="galloway2019 Figure 1, Table 1",
    names=("linear", "logistic"),
    form="logistic: the logit of the first class is 0, as in logistic regression, so that two classes have one logit",
    pattern="linear|logistic",
    normalisers=("bn", "mbn", "none"),
    dropout=False,
    drop_path=False,
)
def linear(signature: Signature, name: re.Match[str]) -> nn.Module:
    """Build the classifier; its learnt gains, if `affine`, are drawn from [0, 1] at first (galloway2019 Table 1)."""
    return Linear(_values(signature), signature.num_classes, reference=name.group() == "logistic")
