"""A precision that the processor can only emulate is pointed out, once, with the reason."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from nofrost import train
from nofrost.config import load_recipe

SMALL = ("model.arch=resnet8", "views.image_size=16", "schedule.epochs=1", "schedule.batch_size=32")


@pytest.mark.parametrize(
    ("units", "precision", "told"),
    [(False, "bfloat16", True), (True, "bfloat16", False), (False, "float32", False)],
)
def test_emulated_bfloat16_is_pointed_out(
    digits: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    units: bool,
    precision: str,
    told: bool,
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": units, "avx2": True})
    recipe = load_recipe("st", [*SMALL, f"precision={precision}"])
    train.run(digits, None, recipe, "st", 0, tmp_path / "out")
    lines = [line for line in capsys.readouterr().err.splitlines() if "bfloat16" in line]
    assert len(lines) == told
    assert all(
        "no units for it" in line and "set precision: float32" in line and line.startswith("nofrost: ")
        for line in lines
    )
