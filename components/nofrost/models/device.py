"""Where models run."""

from __future__ import annotations

import torch


def default_device() -> torch.device:
    """Return the first GPU when there is one, else the CPU."""
    return torch.device("cuda") if torch.cuda.is_available() else torch.device("cpu")


def device_name(device: torch.device) -> str:
    """Return the device in words: the GPU's name, or ``CPU, n threads``."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU, {torch.get_num_threads()} threads"
