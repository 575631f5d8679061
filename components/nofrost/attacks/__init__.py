"""Attacks: search inside a threat's ball for images that a model gets wrong.

One attack a file: a frozen dataclass with ``@register("its-name")``, imported below so that it is known. It writes
``run``; ``Attack.__call__`` checks the input, keeps the model as it was found and holds the result inside ball and box.
``WorstCase.of(first, second)`` makes one attack of several.
"""

# ruff: noqa: F401  importing an attack registers it
import nofrost.attacks.apgd_ce
import nofrost.attacks.apgd_dlr
import nofrost.attacks.apgd_t
import nofrost.attacks.autoattack
import nofrost.attacks.autoattack_paper
import nofrost.attacks.awgn
import nofrost.attacks.bim
import nofrost.attacks.cw_linf
import nofrost.attacks.fab
import nofrost.attacks.fab_t
import nofrost.attacks.fgsm
import nofrost.attacks.mim
import nofrost.attacks.pgd
import nofrost.attacks.pgd_targeted
import nofrost.attacks.rays
import nofrost.attacks.square
from nofrost.attacks.base import Attack
from nofrost.attacks.registry import attack_class, attack_names, attack_settings, check_attacks, create_attack
from nofrost.attacks.sequence import WorstCase

__all__ = ["Attack", "WorstCase", "attack_class", "attack_names", "attack_settings", "check_attacks", "create_attack"]
