"""Attacks: searches inside a threat's ball for images that a model gets wrong.

One family of methods a file. An attack is a class with ``@register("its-name")`` and ``@configurable``, whose file is
imported below so that it is known. It writes ``run``; ``Attack.__call__`` checks the input, leaves the model as it was
and projects the result into ball and box. ``WorstCase.of(first, second)`` makes one attack of several.
"""

# ruff: noqa: F401  importing a family registers its attacks
import nofrost.attacks.apgd
import nofrost.attacks.carlini_wagner
import nofrost.attacks.fab
import nofrost.attacks.gradient
import nofrost.attacks.noise_baseline
import nofrost.attacks.rays
import nofrost.attacks.square
from nofrost.attacks.autoattack import WorstCase
from nofrost.attacks.base import Attack, attack_class, attack_settings, check_attacks, create_attack, list_attacks

__all__ = ["Attack", "WorstCase", "attack_class", "attack_settings", "check_attacks", "create_attack", "list_attacks"]
