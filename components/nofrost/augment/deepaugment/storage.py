"""The network on disk: weights as safetensors, and what they belong to in a JSON file beside them."""

from __future__ import annotations

from pathlib import Path

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load

from nofrost.augment.deepaugment.network import NetworkSpec, ReconstructionNetwork
from nofrost.config.validation import sentence
from nofrost.errors import UserError
from nofrost.files import read_json, write_json
from nofrost.models import write_tensors


def save_network(network: ReconstructionNetwork, path: Path) -> None:
    """Write the weights to `path` (``....safetensors``) and the specification to the same name ending in ``.json``."""
    write_tensors(path, network.state_dict())
    write_json(path.with_suffix(".json"), network.spec.as_json())


def load_network(path: Path) -> ReconstructionNetwork:
    """Return the network that :func:`save_network` wrote to `path`.

    Raises:
        UserError: a file is missing or damaged, or the weights are not those of the architecture beside them.
    """
    try:
        weights = load(path.read_bytes())
    except OSError as error:
        raise UserError(f"the weights {path} cannot be read ({error.strerror}): check the path") from None
    except (SafetensorError, KeyError, ValueError) as error:
        raise UserError(f"{path} is cut off or not a safetensors file ({error}): name another") from None
    sidecar = path.with_suffix(".json")
    if not sidecar.is_file():
        raise UserError(f"{sidecar} is missing: keep the .json file that `nofrost augment` wrote beside {path.name}")
    try:
        spec = NetworkSpec.model_validate(read_json(sidecar))
    except ValidationError as error:
        raise UserError(sentence(error, NetworkSpec, str(sidecar))) from None
    with torch.device("meta"):
        network = ReconstructionNetwork(spec)
    expected = {name: (values.shape, values.dtype) for name, values in network.state_dict().items()}
    for name in sorted({*expected, *weights}):
        found = (weights[name].shape, weights[name].dtype) if name in weights else None
        if found != expected.get(name):
            raise UserError(
                f"{path} does not fit {sidecar.name}: {name} is {_shape(found)}, it must be "
                f"{_shape(expected.get(name))}; name the weights of another network"
            )
    network.load_state_dict(weights, assign=True)
    return network


def _shape(found: tuple[torch.Size, torch.dtype] | None) -> str:
    return "absent" if found is None else f"{str(found[1]).removeprefix('torch.')} {tuple(found[0])}"
