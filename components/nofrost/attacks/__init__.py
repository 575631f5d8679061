"""Attacks: search inside a threat's ball for images that a model gets wrong.

One attack a file: a frozen dataclass with ``@register("its-name")``, imported below so that it is known. It writes
``run``; ``Attack.__call__`` checks the input, keeps the model as it was found and holds the result inside ball and box.
"""

# ruff: noqa: F401  importing an attack registers it
import nofrost.attacks.apgd_ce
import nofrost.attacks.bim
import nofrost.attacks.fgsm
import nofrost.attacks.pgd
import nofrost.attacks.pgd_targeted
from nofrost.attacks.base import Attack
from nofrost.attacks.registry import attack_names, attack_settings, create_attack

__all__ = ["Attack", "attack_names", "attack_settings", "create_attack"]
