"""Partial training (zeise2025 §3.2): which parameters are trained, and which are reset."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from nofrost.errors import UserError
from nofrost.models import BatchNorm, Classifier, MixtureBatchNorm, build

Convolution = nn.modules.conv._ConvNd
Reset = Literal["none", "statistics", "all"]
# Weights of each output channel in two-per-channel.
PER_CHANNEL = 2


@dataclass(frozen=True)
class Partial:
    """The trainable part of a model. The rest has no gradients, so that neither momentum nor weight decay changes it.

    Attributes:
        trained: number of trainable parameters.
        entries: by the name of a partly trainable parameter, its trainable entries (booleans of its shape).
        fixed: by the same names, the values to which :meth:`keep` restores the other entries.
    """

    trained: int
    entries: Mapping[str, Tensor]
    fixed: Mapping[str, Tensor]

    @classmethod
    def of(cls, model: Classifier, trainable: str, reset: Reset, seed: int) -> Partial:
        """Select the trainable parameters of `model`, let only these require gradients, and reset them.

        Create the optimiser afterwards. To continue from a saved state, load that into the model first, then call this
        with the same `trainable` and `seed`, and ``none`` as `reset`.

        Args:
            model: on the device on which it is trained; changed in place.
            trainable: ``all``; ``bn`` (scales and shifts of batch norms; a mixture is one, with both branches);
                ``rest`` (all but these); ``bn-not-first``; ``bn-not-last`` (in the order of the model's layers);
                ``two-per-channel`` (random weights of convolutions); ``layer:NAME`` (a layer or block of the network).
            reset: ``all`` gives trainable parameters the values of a newly built network, and trainable batch norms
                scale 1, shift 0 and reset statistics; ``statistics`` resets the statistics of every batch norm.
            seed: of the new values and of the choice in ``two-per-channel``.

        Raises:
            UserError: the model has no such parameters, or nothing to reset.
        """
        names = _trainable_names(model, trainable)
        parameters = dict(model.named_parameters())
        for name, parameter in parameters.items():
            parameter.requires_grad_(name in names)
            # With a gradient from an earlier phase, momentum and weight decay would change a parameter that is now
            # fixed.
            parameter.grad = None
        generator = torch.Generator().manual_seed(seed)
        names_in_part = names if trainable == "two-per-channel" else []
        choices = {name: _two_per_channel(parameters[name], generator) for name in names_in_part}
        trained = sum(int(choices[name].sum()) if name in choices else parameters[name].numel() for name in names)
        entries = {name: choice.to(parameters[name].device) for name, choice in choices.items()}
        if reset == "all":
            _reset_parameters(model, names, entries, seed)
        elif reset == "statistics":
            _reset_statistics(model)
        return cls(trained, entries, {name: parameters[name].detach().clone() for name in entries})

    @torch.no_grad()
    def keep(self, model: nn.Module) -> None:
        """Restore the fixed entries; call this after each step of the optimiser."""
        for name, is_trainable in self.entries.items():
            parameter = model.get_parameter(name)
            parameter.copy_(torch.where(is_trainable, parameter, self.fixed[name]))


def training_mode(model: nn.Module, running_statistics: bool = False) -> None:
    """Put `model` into training mode. With `running_statistics`, batch norms use their running statistics and do not
    update them, while their scales and shifts are still trained (xie2020 §4.3)."""
    model.train()
    if running_statistics:
        for norm in batch_norms(model):
            norm.eval()


def _trainable_names(model: Classifier, trainable: str) -> list[str]:
    all_names = [name for name, _ in model.named_parameters()]
    norms = [names for names in _names_of_batch_norms(model).values() if names]
    if trainable == "bn-not-first":
        norms = norms[1:]
    elif trainable == "bn-not-last":
        norms = norms[:-1]
    names_of_norms = [name for names in norms for name in names]
    if trainable == "all":
        names = all_names
    elif trainable == "rest":
        names = [name for name in all_names if name not in names_of_norms]
    elif trainable == "two-per-channel":
        names = [f"{layer}.weight" for layer, module in model.named_modules() if isinstance(module, Convolution)]
    elif trainable.startswith("layer:"):
        return _names_of_layer(model, trainable.removeprefix("layer:"), all_names)
    else:
        names = names_of_norms
    if not names:
        needed = "convolutions" if trainable == "two-per-channel" else "batch norms that have scales and shifts"
        raise UserError(f"trainable {trainable!r} finds nothing in {_title(model)}: choose a model with {needed}")
    return names


def _names_of_layer(model: Classifier, layer: str, all_names: list[str]) -> list[str]:
    names = [name for name in all_names if name.startswith(f"network.{layer}.")]
    if not names:
        layers = list(dict.fromkeys(name.removeprefix("network.").rpartition(".")[0] for name in all_names))
        close = difflib.get_close_matches(layer, layers, n=3) or [*layers[:3], layers[-1]]
        arch = model.signature.arch
        raise UserError(
            f"trainable 'layer:{layer}': {arch} has no layer of this name; write one such as {', '.join(close)}"
        )
    return names


def _title(model: Classifier) -> str:
    return f"{model.signature.arch} with normaliser {model.signature.normaliser}"


def _names_of_batch_norms(model: nn.Module) -> dict[str, list[str]]:
    """Return the parameter names of each batch norm in the order of layers; a mixture has those of both branches."""
    norms: dict[str, list[str]] = {}
    for prefix, module in model.named_modules():
        # The branches of a mixture are submodules of it: skip them.
        if isinstance(module, BatchNorm | MixtureBatchNorm) and prefix.rpartition(".")[0] not in norms:
            norms[prefix] = [f"{prefix}.{name}" for name, _ in module.named_parameters()]
    return norms


def batch_norms(model: nn.Module) -> list[BatchNorm]:
    """Return all batch norms of a model, both branches of a mixture among them."""
    return [module for module in model.modules() if isinstance(module, BatchNorm)]


def _two_per_channel(weight: nn.Parameter, generator: torch.Generator) -> Tensor:
    scores = torch.rand(len(weight), weight[0].numel(), generator=generator)
    picked = scores.topk(min(PER_CHANNEL, scores.shape[1]), dim=1).indices
    return torch.zeros_like(scores, dtype=torch.bool).scatter_(1, picked, True).view(weight.shape)


def _reset_statistics(model: Classifier) -> None:
    norms = batch_norms(model)
    if not norms:
        raise UserError(f"reset 'statistics' finds no batch norm in {_title(model)}: set it to none or all")
    for norm in norms:
        norm.reset_running_stats()


@torch.no_grad()
def _reset_parameters(model: Classifier, names: Collection[str], entries: Mapping[str, Tensor], seed: int) -> None:
    norms = _names_of_batch_norms(model)
    others = set(names).difference(*norms.values())
    if others:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            new = build(model.signature)
        for name in others:
            parameter = model.get_parameter(name)
            value = new.get_parameter(name).to(parameter)
            parameter.copy_(torch.where(entries[name], value, parameter) if name in entries else value)
    for prefix, names_of_norm in norms.items():
        # A batch norm without scale and shift is reset only together with the whole model.
        whole_model = len(names) == len(list(model.parameters()))
        if set(names_of_norm) <= set(names) and (names_of_norm or whole_model):
            for norm in batch_norms(model.get_submodule(prefix)):
                norm.reset_parameters()
