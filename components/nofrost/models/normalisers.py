"""Replace the batch norms of any network by another normaliser, leaving all other weights unchanged."""

from math import gcd, prod

import torch
from torch import nn

from nofrost.errors import UserError
from nofrost.models.layers import ExchangeableBatchNorm
from nofrost.models.mixture import MixtureBatchNorm, Selector
from nofrost.models.modes import eval_mode

GROUPS = 32  # Wu & He 2018's default; xie2020 does not state its own
_PER_IMAGE_NORMS = nn.GroupNorm | nn.InstanceNorm1d | nn.InstanceNorm2d


def replace_batch_norm(
    network: nn.Module,
    normaliser: str,
    selector: Selector,
    *,
    affine: bool = True,
    eps: float | None = None,
    groups: int = GROUPS,
) -> nn.Module:
    """Replace every ``BatchNorm1d`` and ``BatchNorm2d`` in `network`, in place, and return the network.

    The new layers take over gain and shift of the batch norms where they have them, including a zero gain at the end of
    a residual branch. timm's batch norms with a built-in activation keep that activation.

    Args:
        network: any module.
        normaliser: ``bn``, ``mbn`` (both branches start as copies), ``gn``, ``in``, ``ln`` (over channels, height and
            width of each image) or ``none``.
        selector: shared by all mixture layers.
        affine: False removes gain and shift.
        eps: the constant c in γ (h - μ) / √(σ² + c) + β (galloway2019); None keeps each batch norm's own.
        groups: of ``gn``; their greatest common divisor with the channels where these are no multiple, so that fewer
            channels than groups often make an instance norm.

    Raises:
        UserError: the network has no batch norm, so the settings would have no effect.
    """
    changed = 0
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            if isinstance(child, ExchangeableBatchNorm):
                _configure(child, affine, eps)
                if normaliser != "bn":
                    setattr(parent, name, _replacement(child, normaliser, selector, groups))
                changed += 1
    if not changed and normaliser in ("mbn", "gn", "in", "ln"):
        raise UserError(
            f"normaliser {normaliser!r} takes the place of batch norms and this network has none: choose an "
            "architecture that has, such as resnet26, or normaliser bn to keep the network as it is"
        )
    if not changed and normaliser == "bn" and not (affine and eps is None):
        setting = "normaliser_eps" if affine else "affine"
        raise UserError(f"{setting} is for batch norms and this network has none: leave it out, or choose another arch")
    return network


def check_maps(network: nn.Module, image_size: tuple[int, int], channels: int) -> None:
    """Check that no group or instance norm normalises single values: its output would be zero for every image.

    A network with such layers is run once on an image of zeros, in evaluation mode, and is not changed.

    Args:
        network: maps normalised images [N, C, H, W] to logits.
        image_size: H and W in pixels.
        channels: C.

    Raises:
        UserError: a layer does, such as an instance norm on a map of 1 x 1.
    """
    names: dict[nn.Module, str] = {
        module: name for name, module in network.named_modules() if isinstance(module, _PER_IMAGE_NORMS)
    }

    def check(layer: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        layer_channels, size = inputs[0].shape[1], tuple(inputs[0].shape[2:])
        groups = layer.num_groups if isinstance(layer, nn.GroupNorm) else layer_channels
        if layer_channels // groups * prod(size) == 1:
            kind = "group" if isinstance(layer, nn.GroupNorm) else "instance"
            height, width = image_size
            raise UserError(
                f"{kind} norm {names[layer]} has a single value to normalise in each of its {groups} groups, as its "
                f"map is {' x '.join(map(str, size or (1, 1)))} for images of {height} x {width} pixels: take larger "
                "images, fewer groups (normaliser gn), or normaliser bn, ln or nf"
            )

    if not names:
        return
    hooks = [layer.register_forward_pre_hook(check) for layer in names]
    like = next(network.parameters())
    try:
        with eval_mode(network), torch.no_grad():
            network(torch.zeros(1, channels, *image_size, dtype=like.dtype, device=like.device))
    finally:
        for hook in hooks:
            hook.remove()


def _configure(batch_norm: ExchangeableBatchNorm, affine: bool, eps: float | None) -> None:
    if eps is not None:
        batch_norm.eps = eps
    if not affine:
        batch_norm.affine = False
        batch_norm.weight = batch_norm.bias = None  # type: ignore[assignment]


def _replacement(batch_norm: ExchangeableBatchNorm, normaliser: str, selector: Selector, groups: int) -> nn.Module:
    layer = _layer(batch_norm, normaliser, selector, groups)
    values = batch_norm.state_dict()
    for norm in (layer.clean, layer.adversarial) if isinstance(layer, MixtureBatchNorm) else (layer,):
        norm.load_state_dict({name: values[name] for name in norm.state_dict()})
    extras = [
        getattr(batch_norm, extra)
        for extra in ("drop", "act")
        if isinstance(getattr(batch_norm, extra, None), nn.Module)
    ]
    return (nn.Sequential(layer, *extras) if extras else layer).train(batch_norm.training)


def _layer(batch_norm: ExchangeableBatchNorm, normaliser: str, selector: Selector, groups: int) -> nn.Module:
    channels, eps, affine = batch_norm.num_features, batch_norm.eps, batch_norm.affine
    flat = isinstance(batch_norm, nn.BatchNorm1d)
    match normaliser:
        case "mbn":
            kind = nn.BatchNorm1d if flat else nn.BatchNorm2d
            clean, adversarial = (
                kind(channels, eps, batch_norm.momentum, affine, batch_norm.track_running_stats) for _ in range(2)
            )
            return MixtureBatchNorm(clean, adversarial, selector)
        case "gn":
            return nn.GroupNorm(gcd(groups, channels), channels, eps, affine)
        case "in":
            return (nn.InstanceNorm1d if flat else nn.InstanceNorm2d)(channels, eps, affine=affine)
        case "ln":
            return nn.GroupNorm(1, channels, eps, affine)
    return nn.Identity()
