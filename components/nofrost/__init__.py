"""NoFrost: train image classifiers to be robust, attack them, and report their accuracy under attack.

Everything named in ``__all__`` is imported on first use, so that ``import nofrost`` is instant.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nofrost import attacks, evaluate, models
    from nofrost.attacks import create_attack
    from nofrost.models import create_model, list_models, load_model

__version__ = "0.2.0"
__all__ = [
    "__version__",
    "attacks",
    "create_attack",
    "create_model",
    "evaluate",
    "list_attacks",
    "list_models",
    "list_objectives",
    "list_recipes",
    "list_suites",
    "load_model",
    "models",
]
_FUNCTIONS = {
    "create_attack": "nofrost.attacks",
    "create_model": "nofrost.models",
    "list_models": "nofrost.models",
    "load_model": "nofrost.models",
}


def __getattr__(name: str) -> Any:
    if name in ("attacks", "evaluate", "models"):
        return import_module(f"nofrost.{name}")
    if name in _FUNCTIONS:
        return getattr(import_module(_FUNCTIONS[name]), name)
    raise AttributeError(f"module 'nofrost' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def list_attacks() -> list[str]:
    """Return the names that :func:`create_attack` and suites take, sorted."""
    from nofrost.attacks import list_attacks

    return list_attacks()


def list_objectives() -> list[str]:
    """Return the names of the training objectives that recipes take, sorted."""
    from nofrost import train

    return train.list_objectives()


def list_recipes(paper: str | None = None) -> list[str]:
    """Return the names of the shipped recipes, sorted; with a paper's key, such as ``wang2022``, those of that paper.

    Raises:
        UserError: there is no such paper.
    """
    from nofrost.config import recipes_of

    return recipes_of(paper)


def list_suites() -> list[str]:
    """Return the names of the shipped evaluation suites, sorted."""
    from nofrost.config import shipped_names

    return shipped_names("suite")
