"""The image-to-image network: a convolutional encoder and decoder, its training and its files.

It is trained to reproduce its input.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Literal, cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn

from nofrost.config.base import Schema
from nofrost.config.validation import sentence
from nofrost.data import Images, to_tensor
from nofrost.errors import UserError
from nofrost.files import read_json, write_json
from nofrost.limits import regular_file
from nofrost.models import write_tensors
from nofrost.models.device import single_thread
from nofrost.seeds import derive_seed
from nofrost.system_errors import cannot_read
from nofrost.telemetry import progress

PATCH = 48  # pixels; the network is convolutional, so patches of this size teach it larger images too
_SAMPLE = 256
Convolve = Callable[[nn.Conv2d, Tensor], Tensor]


class NetworkSpec(Schema):
    """The settings from which the network is built; stored beside its weights."""

    format: Literal[1] = 1
    architecture: Literal["residual-encoder-decoder"] = "residual-encoder-decoder"
    channels: Literal[1, 3]
    width: int = Field(ge=1, le=4096)
    blocks: int = Field(default=4, ge=1, le=256)


class ReconstructionNetwork(nn.Module):
    """Reconstructs its input, images [N, C, H, W] in [0, 1] of any size.

    DeepAugment uses a compressive autoencoder and EDSR, a super-resolution network. This one combines what they have in
    common, at the images' own size: a strided convolution encodes to half the resolution; residual blocks with a
    long skip (EDSR's body) and sub-pixel upsampling decode. No skip bypasses the features, so every change of them
    shows in the image.
    """

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        self.spec = spec
        width = spec.width
        self.encode = nn.Conv2d(spec.channels, width, 4, stride=2, padding=1)
        self.first = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(spec.blocks))
        self.second = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(spec.blocks))
        self.merge = nn.Conv2d(width, width, 3, padding=1)
        self.expand = nn.Conv2d(width, 4 * width, 3, padding=1)
        self.decode = nn.Conv2d(width, spec.channels, 3, padding=1)

    def forward(self, images: Tensor, convolve: Convolve | None = None) -> Tensor:
        """Return the reconstruction, not clipped. `convolve` applies a layer to its input; by default as it is."""
        run = convolve or (lambda layer, inputs: layer(inputs))
        height, width = images.shape[2:]
        features = run(self.encode, F.pad(images, (0, width % 2, 0, height % 2), mode="replicate"))
        refined = features
        for first, second in zip(self.first, self.second, strict=True):
            inner = F.relu(run(cast(nn.Conv2d, first), refined))
            refined = refined + run(cast(nn.Conv2d, second), inner)
        refined = features + run(self.merge, refined)
        output = run(self.decode, F.pixel_shuffle(run(self.expand, refined), 2))
        return output[..., :height, :width]


def new_network(spec: NetworkSpec, generator: torch.Generator) -> ReconstructionNetwork:
    """Return a network on the CPU with weights drawn from `generator` alone: the global random state stays as it is."""
    with torch.device("meta"):
        network = ReconstructionNetwork(spec)
    network.to_empty(device="cpu")
    for name, values in network.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(values)
        else:
            nn.init.kaiming_uniform_(values, a=5**0.5, generator=generator)
    return network


def train_network(
    images: Images, seed: int, device: torch.device, *, width: int, epochs: int, batch_size: int, lr: float
) -> ReconstructionNetwork:
    """Return a network trained on the images uint8 [N, H, W, C] with Adam on the mean absolute error.

    Images larger than 48 pixels are cut to a random patch for each batch. On the CPU all of it runs in one thread:
    several would split the sums of the gradients by their number and so change the last digits.

    Raises:
        UserError: the loss is not finite.
    """
    generator = torch.Generator().manual_seed(derive_seed(seed, "deepaugment", "training"))
    network = new_network(NetworkSpec(channels=images.shape[3], width=width), generator).to(device)
    optimiser = torch.optim.Adam(network.parameters(), lr=lr)
    with single_thread(), progress("deepaugment: network", total=epochs * len(images)) as bar:
        for _ in range(epochs):
            order = torch.randperm(len(images), generator=generator).numpy()
            for start in range(0, len(order), batch_size):
                rows = order[start : start + batch_size]
                targets = _patches(images, rows, generator).to(device)
                loss = (network(targets) - targets).abs().mean()
                optimiser.zero_grad(set_to_none=True)
                loss.backward()
                optimiser.step()
                bar.advance(len(rows))
            if not bool(loss.isfinite()):
                raise UserError("the network of deepaugment diverged: lower augmentation.deepaugment.lr")
    return network.requires_grad_(False)


@torch.no_grad()
def reconstruction_psnr(network: ReconstructionNetwork, images: Images, device: torch.device) -> float:
    """Return the peak signal-to-noise ratio in dB of the reconstruction of up to 256 images spread over all."""
    rows = np.unique(np.linspace(0, len(images) - 1, _SAMPLE).astype(np.int64))
    errors = []
    for row in rows:
        original = to_tensor(images[row : row + 1]).to(device)
        errors.append((network(original).clamp(0, 1) - original).square().mean())
    return float(-10 * torch.stack(errors).mean().clamp(min=1e-10).log10())


def _patches(images: Images, rows: NDArray[np.int64], generator: torch.Generator) -> Tensor:
    height, width = images.shape[1:3]
    top = int(torch.randint(max(1, height - PATCH + 1), (), generator=generator))
    left = int(torch.randint(max(1, width - PATCH + 1), (), generator=generator))
    return to_tensor(images[rows][:, top : top + PATCH, left : left + PATCH])


def save_network(network: ReconstructionNetwork, path: Path) -> None:
    """Write the weights to `path` (``....safetensors``) and the specification to the same name ending in ``.json``."""
    write_tensors(path, network.state_dict())
    write_json(path.with_suffix(".json"), network.spec.as_json())


def load_network(path: Path) -> ReconstructionNetwork:
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
        actual = (weights[name].shape, weights[name].dtype) if name in weights else None
        if actual != expected.get(name):
            raise UserError(
                f"{path} does not fit {sidecar.name}: {name} is {_shape(actual)}, it must be "
                f"{_shape(expected.get(name))}; choose the weights of another network"
            )
    network.load_state_dict(weights, assign=True)
    return network


def _shape(actual: tuple[torch.Size, torch.dtype] | None) -> str:
    return "absent" if actual is None else f"{str(actual[1]).removeprefix('torch.')} {tuple(actual[0])}"
