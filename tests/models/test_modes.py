"""Modes of modules are put back one by one."""

from __future__ import annotations

import pytest
from torch import nn

from nofrost.models.modes import eval_mode


def test_every_module_gets_its_own_mode_back_also_after_an_error() -> None:
    model = nn.Sequential(nn.BatchNorm2d(3), nn.Dropout(), nn.Sequential(nn.ReLU()))
    model.train()
    model[0].eval()  # a frozen batch norm inside a model in training mode
    before = [module.training for module in model.modules()]
    with eval_mode(model):
        assert not any(module.training for module in model.modules())
    assert [module.training for module in model.modules()] == before
    with pytest.raises(KeyError), eval_mode(model):
        raise KeyError
    assert [module.training for module in model.modules()] == before
