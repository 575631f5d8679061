"""Training of the image-to-image networks: each learns to give images back."""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load
from torch import Tensor

from nofrost.augment.deepaugment.cae import CaeSpec
from nofrost.augment.deepaugment.edsr import EdsrSpec
from nofrost.augment.deepaugment.encoder_decoder import EncoderDecoderSpec, ReconstructionNetwork
from nofrost.augment.deepaugment.networks import Network, new_network
from nofrost.augment.originals import Originals
from nofrost.data import to_tensor
from nofrost.errors import UserError
from nofrost.models import write_tensors
from nofrost.models.device import single_thread
from nofrost.seeds import derive_seed
from nofrost.stage import save_interval_s
from nofrost.telemetry import progress

PATCH = 48  # pixels; the small network is convolutional, so patches of this size teach it larger images too
_SAMPLE = 256
_CHECKED = 100  # steps, after which it is seen whether the loss is still finite


def train_small_network(
    originals: Originals, seed: int, device: torch.device, *, width: int, epochs: int, batch_size: int, lr: float
) -> ReconstructionNetwork:
    """Return a small network trained on the images with Adam on the mean absolute error.

    Images larger than 48 pixels are cut to a random patch for each batch. On the CPU all of it runs in one thread:
    several would split the sums of the gradients by their number and so change the last digits.

    Raises:
        UserError: the loss is not finite.
    """
    generator = torch.Generator().manual_seed(derive_seed(seed, "deepaugment", "training"))
    network = new_network(EncoderDecoderSpec(channels=originals.channels, width=width), generator).to(device)
    optimiser = torch.optim.Adam(network.parameters(), lr=lr)
    with single_thread(), progress("deepaugment: network", total=epochs * len(originals)) as bar:
        for _ in range(epochs):
            order = torch.randperm(len(originals), generator=generator).numpy()
            for start in range(0, len(order), batch_size):
                rows = order[start : start + batch_size]
                targets = to_tensor(originals.patches(rows, PATCH, generator)).to(device)
                loss = _update(network, optimiser, targets, generator)
                bar.advance(len(rows))
            _check(loss, "deepaugment")
    assert isinstance(network, ReconstructionNetwork)
    return network.requires_grad_(False)


@dataclass(frozen=True)
class NetworkTraining:
    """How a network of the paper's form is trained with Adam on the mean absolute error of random patches.

    Attributes:
        key: of its settings, such as ``deepaugment-edsr``, for messages.
        steps: of `batch_size` patches of `patch` x `patch` pixels from images that are drawn with replacement.
        lr: of the first step; it falls to 0 along a cosine.
    """

    key: str
    steps: int
    batch_size: int
    patch: int
    lr: float

    def network(
        self, originals: Originals, spec: EdsrSpec | CaeSpec, seed: int, device: torch.device, saved: Path
    ) -> Network:
        """Return the trained network; called again after a kill, it goes on from what is saved in `saved`.

        Every step has random numbers of its own, so that an interrupted training ends with the same bits.

        Raises:
            UserError: the loss is not finite.
        """
        architecture = spec.architecture
        generator = torch.Generator().manual_seed(derive_seed(seed, architecture, "weights"))
        network = new_network(spec, generator).to(device).train()
        optimiser = torch.optim.Adam(network.parameters(), lr=self.lr)
        first = _restore(network, optimiser, saved) if saved.exists() else 0
        title = f"{self.key}: network"
        last_save = time.monotonic()
        with single_thread(), progress(title, self.steps, first) as bar:
            for step in range(first, self.steps):
                for group in optimiser.param_groups:
                    group["lr"] = self.lr * (1 + math.cos(math.pi * step / self.steps)) / 2
                generator = torch.Generator().manual_seed(derive_seed(seed, architecture, "step", step))
                rows = torch.randint(len(originals), (self.batch_size,), generator=generator).numpy()
                targets = to_tensor(originals.patches(rows, self.patch, generator)).to(device)
                loss = _update(network, optimiser, targets, generator)
                bar.advance()
                if step % _CHECKED == 0 or step + 1 == self.steps:
                    _check(loss, self.key)
                    bar.measured(loss=float(loss))
                if time.monotonic() - last_save > save_interval_s():
                    _save(network, optimiser, step + 1, saved)
                    last_save = time.monotonic()
        saved.unlink(missing_ok=True)
        return network.eval().requires_grad_(False)


def _update(network: Network, optimiser: torch.optim.Optimizer, targets: Tensor, generator: torch.Generator) -> Tensor:
    outputs = network(targets, **network.noise(targets, generator))
    loss: Tensor = (outputs - targets).abs().mean()
    optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    optimiser.step()
    return loss.detach()


def _check(loss: Tensor, key: str) -> None:
    if not bool(loss.isfinite()):
        raise UserError(f"the network of {key} diverged: lower augmentation.{key}.lr")


def _save(network: Network, optimiser: torch.optim.Optimizer, step: int, path: Path) -> None:
    state = {"step": torch.tensor(step)}
    for name, parameter in network.named_parameters():
        moments = optimiser.state[parameter]
        state |= {f"weights.{name}": parameter.detach()}
        state |= {f"{key}.{name}": moments[key] for key in ("exp_avg", "exp_avg_sq")}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_tensors(path, {name: values.cpu().contiguous() for name, values in state.items()})


def _restore(network: Network, optimiser: torch.optim.Optimizer, path: Path) -> int:
    """Put back what :func:`_save` wrote and return the number of finished steps."""
    state = load(path.read_bytes())
    step = int(state["step"])
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            parameter.copy_(state[f"weights.{name}"])
            optimiser.state[parameter] = {
                "step": torch.tensor(float(step)),
                **{key: state[f"{key}.{name}"].to(parameter) for key in ("exp_avg", "exp_avg_sq")},
            }
    return step


class Reconstruction(NamedTuple):
    """How well images are given back: the peak signal-to-noise ratio in dB, and the share of their variance lost."""

    psnr: float
    unexplained: float


@torch.no_grad()
def reconstruction(network: Network, originals: Originals, device: torch.device) -> Reconstruction:
    """Return how well up to 256 images, spread over all, are given back. Each weighs the same, whatever its size."""
    errors, variances = [], []
    for row in sample_rows(len(originals)):
        original = to_tensor(originals.image(row)[None]).to(device)
        errors.append((network(original).clamp(0, 1) - original).square().mean())
        variances.append(original.var(correction=0))
    error = torch.stack(errors).mean()
    unexplained = error / torch.stack(variances).mean().clamp(min=1e-10)
    return Reconstruction(float(-10 * error.clamp(min=1e-10).log10()), float(unexplained))


def sample_rows(count: int) -> Iterator[int]:
    """Yield up to 256 rows spread over all."""
    rows: NDArray[np.int64] = np.unique(np.linspace(0, count - 1, _SAMPLE).astype(np.int64))
    yield from rows.tolist()
