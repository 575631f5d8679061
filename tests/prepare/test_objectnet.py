"""ObjectNet: its classes that mean classes of ImageNet, and photographs without their border."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nofrost.errors import UserError
from nofrost.prepare.sources.class_groups import class_groups
from tests.prepare.jpegs import write
from tests.prepare.published_sets import opened, outputs


def bordered(path: Path) -> Path:
    """Write a grey picture of 10 x 8 pixels with a red border of one."""
    pixels = np.full((8, 10, 3), (255, 0, 0), np.uint8)
    pixels[1:-1, 1:-1] = 128
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def test_objectnet_has_113_classes_and_no_border(tmp_path: Path) -> None:
    root = tmp_path / "objectnet-1.0" / "images"
    for name in (*class_groups("objectnet"), "air_freshener", "walking_cane"):
        bordered(root / name / "a.png")
    data = opened("objectnet", tmp_path, view=None, image_size=None, storage="array")
    assert len(data.classes) == 113
    assert data.train.shape == (6, 8, 3)
    assert (next(data.train.read(np.array([3]))) == 128).all()
    assert "2 folders are left out, of things that are no class of ImageNet" in data.remarks
    chosen = outputs(data)
    assert chosen[data.classes.index("bicycle")] == (444, 671)
    assert sum(map(len, chosen)) == 125
    shutil.rmtree(root / "wok")
    with pytest.raises(UserError, match=r"lacks the class folder wok \(1 in all\) of ObjectNet"):
        opened("objectnet", tmp_path)
    with pytest.raises(UserError, match="its archive needs the password"):
        opened("objectnet", write(tmp_path / "other/objectnet-1.0.zip", b"PK").parent)
