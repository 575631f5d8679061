"""NoFrost: train image classifiers that withstand adversarial and natural shifts, and report what survived attack.

The sub-modules named in ``__all__`` are imported on first use, so that ``import nofrost`` stays quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nofrost import attacks, evaluate, models
    from nofrost.models import load_model

__version__ = "0.1.0"
__all__ = ["__version__", "attacks", "evaluate", "load_model", "models"]


def __getattr__(name: str) -> Any:
    if name in ("attacks", "evaluate", "models"):
        return import_module(f"nofrost.{name}")
    if name == "load_model":
        return import_module("nofrost.models").load_model
    raise AttributeError(f"module 'nofrost' has no attribute {name!r}")
