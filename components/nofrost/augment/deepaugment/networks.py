"""The image-to-image networks of DeepAugment by their architecture: new ones, and their files."""

from pathlib import Path

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load
from torch import nn

from nofrost.augment.deepaugment.cae import Cae, CaeSpec
from nofrost.augment.deepaugment.edsr import Edsr, EdsrSpec
from nofrost.augment.deepaugment.encoder_decoder import EncoderDecoderSpec, ReconstructionNetwork
from nofrost.config.validation import sentence
from nofrost.errors import UserError, unknown
from nofrost.files import read_json, write_json
from nofrost.limits import regular_file
from nofrost.models import write_tensors
from nofrost.system_errors import cannot_read

Spec = EncoderDecoderSpec | EdsrSpec | CaeSpec
Network = ReconstructionNetwork | Edsr | Cae
SPECS: dict[str, type[Spec]] = {"residual-encoder-decoder": EncoderDecoderSpec, "edsr": EdsrSpec, "cae": CaeSpec}


def build(spec: Spec) -> Network:
    """Return the network of a specification, without weights (on the device meta)."""
    with torch.device("meta"):
        if isinstance(spec, EdsrSpec):
            return Edsr(spec)
        return Cae(spec) if isinstance(spec, CaeSpec) else ReconstructionNetwork(spec)


def new_network(spec: Spec, generator: torch.Generator) -> Network:
    """Return a network on the CPU with weights drawn from `generator` alone: the global random state stays as it is."""
    network = build(spec)
    network.to_empty(device="cpu")
    for name, values in network.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(values)
        else:
            nn.init.kaiming_uniform_(values, a=5**0.5, generator=generator)
    return network


def save_network(network: Network, path: Path) -> None:
    """Write the weights to `path` (``....safetensors``) and the specification to the same name ending in ``.json``."""
    write_tensors(path, network.state_dict())
    write_json(path.with_suffix(".json"), network.spec.as_json())


def load_network(path: Path) -> Network:
    """Return the network that :func:`save_network` wrote to `path`.

    Raises:
        UserError: a file is missing or damaged, or the weights are not those of the architecture beside them.
    """
    regular_file(path)
    try:
        weights = load(path.read_bytes())
    except OSError as error:
        raise cannot_read(error, f"the weights {path}") from None
    except (SafetensorError, KeyError, ValueError) as error:
        raise UserError(f"{path} is cut off or not a safetensors file ({error}): choose another") from None
    network = build(_read_spec(path))
    check_fit(network, weights, path)
    network.load_state_dict(weights, assign=True)
    return network


def check_fit(network: Network, weights: dict[str, torch.Tensor], path: Path) -> None:
    """Check that the `weights` of `path` are those of `network`.

    Raises:
        UserError: a tensor is missing, too much, or of another shape or type.
    """
    expected = {name: (values.shape, values.dtype) for name, values in network.state_dict().items()}
    for name in sorted({*expected, *weights}):
        actual = (weights[name].shape, weights[name].dtype) if name in weights else None
        if actual != expected.get(name):
            raise UserError(
                f"{path} does not fit {path.with_suffix('.json').name}: {name} is {_shape(actual)}, it must be "
                f"{_shape(expected.get(name))}; choose the weights of another network"
            )


def _read_spec(path: Path) -> Spec:
    sidecar = path.with_suffix(".json")
    if not sidecar.is_file():
        raise UserError(
            f"{sidecar} is missing: keep the .json file that `nofrost augment` or `nofrost models convert` wrote "
            f"beside {path.name}"
        )
    content = read_json(sidecar)
    architecture = content.get("architecture") if isinstance(content, dict) else None
    if architecture not in SPECS:
        raise unknown(f"architecture in {sidecar}", architecture, SPECS)
    schema = SPECS[architecture]
    try:
        return schema.model_validate(content)
    except ValidationError as error:
        raise UserError(sentence(error, schema, str(sidecar))) from None


def _shape(actual: tuple[torch.Size, torch.dtype] | None) -> str:
    return "absent" if actual is None else f"{str(actual[1]).removeprefix('torch.')} {tuple(actual[0])}"
