"""Published weights of DeepAugment's networks: torch's files, read without running code, as files of ours."""

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from nofrost.augment.deepaugment.cae import BLOCKS, Cae, CaeSpec
from nofrost.augment.deepaugment.edsr import MEAN, PIXEL_RANGE, EdsrSpec
from nofrost.augment.deepaugment.networks import Network, Spec, build, check_fit, save_network
from nofrost.errors import UserError, shortened
from nofrost.models.torch_files import read_state_dict
from nofrost.models.weights import check_finite

Weights = dict[str, Tensor]
# Names of the auto-encoder's convolutions, in the order in which an image passes them.
_CAE_LAYERS = (
    "e_conv_1.1",
    "e_conv_2.1",
    *(f"e_block_{number}.{place}" for number in range(1, BLOCKS + 1) for place in (1, 4)),
    "e_conv_3.0",
    *(f"d_up_conv_1.{place}" for place in (0, 3)),
    *(f"d_block_{number}.{place}" for number in range(1, BLOCKS + 1) for place in (1, 4)),
    *(f"d_up_conv_{number}.{place}" for number in (2, 3) for place in (0, 3)),
)
# Names of EDSR's layers by what they are in ours; the blocks follow a pattern.
_EDSR_LAYERS = {"head.0": "head", "tail.0.0": "expand.0", "tail.0.2": "expand.1", "tail.1": "tail"}
_EDSR_BLOCK = re.compile(r"body\.(\d{1,3})\.body\.([02])\.(weight|bias)")


def convert(file: Path, out: Path) -> Network:
    """Write the weights in a published file to `out` (``....safetensors``), with its specification beside it.

    `file` is ``edsr_baseline_x4...pt`` of EDSR's authors or ``model_final.state`` of the auto-encoder that DeepAugment
    takes, in either of torch's formats. Only tensors are read from it; what else a pickle may ask for is refused.

    Raises:
        UserError: the file cannot be read, holds something else than weights, or those of another network.
    """
    weights = read_published(file)
    spec, named = _edsr(file, weights) if "head.0.weight" in weights else _cae(file, weights)
    network = build(spec)
    check_fit(network, named, file)
    check_finite(file, named, named)
    network.load_state_dict(named, assign=True)
    save_network(network.requires_grad_(False), out)
    return network


def read_published(file: Path) -> Weights:
    """Return the tensors of one of torch's files by name, as float32 on the CPU.

    Raises:
        UserError: it cannot be read, or holds something else than weights.
    """
    weights = {}
    for name, tensor in read_state_dict(file).items():
        if not tensor.is_floating_point():
            raise UserError(f"{file}: {shortened(name)} is not a weight: choose the file of a state_dict")
        weights[name] = tensor.float().contiguous()
    return weights


def _edsr(file: Path, weights: Weights) -> tuple[Spec, Weights]:
    if "tail.0.0.weight" not in weights or "tail.0.2.weight" not in weights:
        raise UserError(
            f"{file} holds an EDSR of another scale, DeepAugment's enlarges by four: choose edsr_baseline_x4"
        )
    blocks = 1 + max((int(match[1]) for name in weights if (match := _EDSR_BLOCK.fullmatch(name))), default=-1)
    head = weights["head.0.weight"]
    if head.dim() != 4 or head.shape[1] not in (1, 3) or not 6 <= blocks <= 256:
        raise UserError(f"{file} holds no EDSR with at least 6 blocks for grey or coloured images: choose another")
    names = dict(_EDSR_LAYERS) | {f"body.{blocks}": "merge"}
    for number in range(blocks):
        names |= {f"body.{number}.body.0": f"body.{number}.first", f"body.{number}.body.2": f"body.{number}.second"}
    renamed = _renamed(weights, names)
    _check_means(file, renamed)
    return EdsrSpec(channels=head.shape[1], width=len(head), blocks=blocks), renamed


def _check_means(file: Path, weights: Weights) -> None:
    """Check and remove the two layers of EDSR that subtract and add the mean colour, which is fixed in ours."""
    mean = torch.tensor(MEAN) * PIXEL_RANGE
    for name, expected in (("sub_mean", -mean), ("add_mean", mean)):
        weight, bias = weights.pop(f"{name}.weight", None), weights.pop(f"{name}.bias", None)
        if weight is None and bias is None:
            continue
        fits = (
            weight is not None
            and bias is not None
            and weight.numel() == 9
            and torch.allclose(weight.reshape(3, 3), torch.eye(3), atol=1e-4)
            and bias.shape == (3,)
            and torch.allclose(bias, expected, atol=1e-2)
        )
        if not fits:
            raise UserError(
                f"{file}: {name} is not that of images to 255 and DIV2K's mean colour: choose edsr_baseline_x4"
            )


def _cae(file: Path, weights: Weights) -> tuple[Spec, Weights]:
    first = weights.get("e_conv_1.1.weight")
    if first is None or first.dim() != 4:
        names = ", ".join(list(weights)[:3])
        raise UserError(
            f"{file} holds {shortened(names)}, ...: neither an EDSR (head.0.weight) nor the auto-encoder "
            "(e_conv_1.1.weight) of DeepAugment: choose another"
        )
    if first.shape[1] not in (1, 3) or len(first) < 4:
        raise UserError(f"{file} holds an auto-encoder for {first.shape[1]} channels: choose one for 1 or 3")
    spec = CaeSpec(channels=first.shape[1], width=len(first))
    network = build(spec)
    assert isinstance(network, Cae)
    return spec, _renamed(weights, dict(zip(_CAE_LAYERS, network.layers, strict=True)))


def _renamed(weights: Weights, layers: Mapping[str, str]) -> Weights:
    """Return the weights by our names; those of unknown layers keep theirs, to be refused."""
    renamed = {}
    for name, tensor in weights.items():
        layer, _, kind = name.rpartition(".")
        renamed[f"{layers.get(layer, layer)}.{kind}"] = tensor
    return renamed
