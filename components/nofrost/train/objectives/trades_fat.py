"""TRADES-FAT: the loss of TRADES on images whose attack stops early (Zhang et al. 2020, §4.3)."""

from __future__ import annotations

from nofrost.attacks import Attack
from nofrost.registry import configurable
from nofrost.train.objectives.ascent import DivergenceAscent
from nofrost.train.objectives.base import Adversary
from nofrost.train.objectives.early_stopping import EarlyStopping
from nofrost.train.objectives.registry import register
from nofrost.train.objectives.trades import Trades


@register("trades-fat")
@configurable
class FriendlyTrades(Trades, EarlyStopping):
    """TRADES whose attack climbs the divergence, but lets an image go once it is misclassified often enough."""

    def attack(self, adversary: Adversary) -> Attack:
        return DivergenceAscent(**adversary.settings(), **self.stopping(adversary))
