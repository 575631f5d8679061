"""The memory of this process, read when a Prometheus asks for it, so that no step pays for it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

_STATM = Path("/proc/self/statm")


def memory_bytes() -> dict[str, Callable[[], float]]:
    """Return what reads each kind of memory: resident, and of the GPU allocated now and at its peak; 0 if unknown."""
    return {
        "resident": _resident,
        "gpu": lambda: _gpu("memory_allocated"),
        "gpu-peak": lambda: _gpu("max_memory_allocated"),
    }


def _resident() -> float:
    try:
        return float(_STATM.read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0.0


def _gpu(reading: str) -> float:
    # A stage without torch does not load it for this, and one that has no GPU yet takes none.
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return 0.0
    return float(getattr(torch.cuda, reading)())
