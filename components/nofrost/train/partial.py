"""Which parameters train, and what starts anew (partial training of zeise2025 §3.2)."""

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
PER_CHANNEL = 2  # weights of each output channel in two-per-channel


@dataclass(frozen=True)
class Partial:
    """The part of a model that trains. The rest has no gradients, so that neither momentum nor weight decay moves it.

    Attributes:
        trained: how many parameters move.
        entries: by the name of a parameter that trains in part, which of its entries move (booleans of its shape).
        fixed: by the same names, the values of the others.
    """

    trained: int
    entries: Mapping[str, Tensor]
    fixed: Mapping[str, Tensor]

    @classmethod
    def of(cls, model: Classifier, trainable: str, reset: Reset, seed: int) -> Partial:
        """Choose what trains in `model`, let that alone require gradients, and put it back to a new start.

        The optimiser is made afterwards. To go on from a saved state, read that into the model first and call this
        with the same `trainable` and `seed`, and ``none`` to be re-initialised.

        Args:
            model: on the device on which it trains; changed in place.
            trainable: ``all``; ``bn`` (scales and shifts of batch norms; a mixture is one, with both branches);
                ``rest`` (all but these); ``bn-not-first``; ``bn-not-last`` (in the order of the model's layers);
                ``two-per-channel`` (random weights of convolutions); ``layer:NAME`` (a layer or block of the network).
            reset: ``all`` gives what trains the values of a newly built network, but batch norms scale 1,
                shift 0 and empty statistics; ``statistics`` empties those of every batch norm.
            seed: of the new values and of the choice in ``two-per-channel``.

        Raises:
            UserError: nothing in this model trains, or can be emptied, under these names.
        """
        names = _chosen(model, trainable)
        parameters = dict(model.named_parameters())
        for name, parameter in parameters.items():
            parameter.requires_grad_(name in names)
            parameter.grad = None  # one left from an earlier phase would let momentum and weight decay move it
        generator = torch.Generator().manual_seed(seed)
        in_part = names if trainable == "two-per-channel" else []
        choices = {name: _two_per_channel(parameters[name], generator) for name in in_part}
        trained = sum(int(choices[name].sum()) if name in choices else parameters[name].numel() for name in names)
        entries = {name: choice.to(parameters[name].device) for name, choice in choices.items()}
        if reset == "all":
            _start_anew(model, names, entries, seed)
        elif reset == "statistics":
            _empty_statistics(model)
        return cls(trained, entries, {name: parameters[name].detach().clone() for name in entries})

    @torch.no_grad()
    def keep(self, model: nn.Module) -> None:
        """Put entries that do not train back to their values; to be called after each step of the optimiser."""
        for name, moves in self.entries.items():
            parameter = model.get_parameter(name)
            parameter.copy_(torch.where(moves, parameter, self.fixed[name]))


def training_mode(model: nn.Module, running_statistics: bool = False) -> None:
    """Put `model` into training mode. With `running_statistics`, batch norms normalise by these and no longer move
    them, while their scales and shifts train on (xie2020 §4.3)."""
    model.train()
    if running_statistics:
        for norm in _modules(model):
            norm.eval()


def _chosen(model: Classifier, trainable: str) -> list[str]:
    every = [name for name, _ in model.named_parameters()]
    norms = [own for own in _batch_norms(model).values() if own]
    kept = norms[trainable == "bn-not-first" : len(norms) - (trainable == "bn-not-last")]
    of_norms = [name for own in kept for name in own]
    if trainable == "all":
        names = every
    elif trainable == "rest":
        names = [name for name in every if name not in of_norms]
    elif trainable == "two-per-channel":
        names = [f"{layer}.weight" for layer, module in model.named_modules() if isinstance(module, Convolution)]
    elif trainable.startswith("layer:"):
        return _of_layer(model, trainable.removeprefix("layer:"), every)
    else:
        names = of_norms
    if not names:
        needed = "convolutions" if trainable == "two-per-channel" else "batch norms that have scales and shifts"
        raise UserError(f"trainable {trainable!r} finds nothing in {_name(model)}: choose a model with {needed}")
    return names


def _of_layer(model: Classifier, layer: str, every: list[str]) -> list[str]:
    names = [name for name in every if name.startswith(f"network.{layer}.")]
    if not names:
        layers = list(dict.fromkeys(name.removeprefix("network.").rpartition(".")[0] for name in every))
        close = difflib.get_close_matches(layer, layers, n=3) or [*layers[:3], layers[-1]]
        arch = model.signature.arch
        raise UserError(
            f"trainable 'layer:{layer}': {arch} has no layer of this name; write one such as {', '.join(close)}"
        )
    return names


def _name(model: Classifier) -> str:
    return f"{model.signature.arch} with normaliser {model.signature.normaliser}"


def _batch_norms(model: nn.Module) -> dict[str, list[str]]:
    """Return the names of parameters of each batch norm, in the order of layers; of a mixture, of both branches."""
    found: dict[str, list[str]] = {}
    for prefix, module in model.named_modules():
        if isinstance(module, BatchNorm | MixtureBatchNorm) and prefix.rpartition(".")[0] not in found:
            found[prefix] = [f"{prefix}.{name}" for name, _ in module.named_parameters()]
    return found


def _modules(model: nn.Module) -> list[BatchNorm]:
    return [module for module in model.modules() if isinstance(module, BatchNorm)]


def _two_per_channel(weight: nn.Parameter, generator: torch.Generator) -> Tensor:
    scores = torch.rand(len(weight), weight[0].numel(), generator=generator)
    picked = scores.topk(min(PER_CHANNEL, scores.shape[1]), dim=1).indices
    return torch.zeros_like(scores, dtype=torch.bool).scatter_(1, picked, True).view(weight.shape)


def _empty_statistics(model: Classifier) -> None:
    norms = _modules(model)
    if not norms:
        raise UserError(f"reset 'statistics' finds no batch norm in {_name(model)}: set it to none or all")
    for norm in norms:
        norm.reset_running_stats()


@torch.no_grad()
def _start_anew(model: Classifier, names: Collection[str], entries: Mapping[str, Tensor], seed: int) -> None:
    norms = _batch_norms(model)
    others = set(names).difference(*norms.values())
    if others:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            new = build(model.signature)
        for name in others:
            parameter = model.get_parameter(name)
            value = new.get_parameter(name).to(parameter)
            parameter.copy_(torch.where(entries[name], value, parameter) if name in entries else value)
    for prefix, own in norms.items():
        if set(own) <= set(names) and (own or len(names) == len(list(model.parameters()))):
            for norm in _modules(model.get_submodule(prefix)):
                norm.reset_parameters()
