"""Photographs of ImageNet through all stages, as wang2022 trains NoFrost*: shards, DeepAugment, two epochs, 256/224."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from nofrost.data import Photographs, read_augmentation_set, read_manifest, read_split

IMAGENETTE = Path(__file__).parents[2] / "shared" / "data" / "imagenette-mini"
STUDY = {
    "name": "imagenette",
    "title": "NoFrost* on photographs of ten classes",
    "dataset": {
        "source": "folder",
        "path": str(IMAGENETTE),
        "limit": 120,
        "view": {"resize": 256, "crop": 224},
    },
    "augmentation": {
        "methods": ["deepaugment"],
        "deepaugment": {
            "networks": ["edsr"],
            "shorter_side": 64,
            "edsr": {"width": 16, "steps": 30, "batch_size": 4, "patch": 32, "lr": 0.002},
        },
    },
    "scale": {
        "model": {"arch": "resnet8"},
        "attack": {"steps": 1},
        "views": {"image_size": 64},
        "schedule": {"epochs": 2, "batch_size": 24, "lr_warmup_epochs": 0},
        "optimiser": {"lr": 0.02},
        "selection": {"attack": {"name": "pgd", "steps": 1}, "every_epochs": 2},
    },
    "recipes": {"nofrost-star": {"base": "nofrost-star", "optimiser": {"adaptive_clipping": {"factor": 0.05}}}},
    "runs": {"recipe": ["nofrost-star"]},
    "suites": {
        "adversarial": {
            "quick": {
                "base": "adversarial-quick",
                "max_images": 4,
                "steps_curve": None,
                "budget_curve": None,
                "view": {"resize": 256, "crop": 224},
            }
        },
        "ood": {"quick": {"base": "ood-quick", "max_images": 16, "severities": [1, 5]}},
    },
}
STAGES = (
    ("prepare", "--out", "data/dataset"),
    ("augment", "--dataset", "data/dataset", "--out", "data/augmentation"),
    (
        *("train", "--recipe", "nofrost-star", "--seed", "0", "--dataset", "data/dataset"),
        *("--augmentation", "data/augmentation", "--out", "runs/nofrost-star/seed-0/train"),
    ),
    *(
        (
            *("evaluate", "--suite", kind, "--dataset", "data/dataset"),
            *(
                "--checkpoint",
                "runs/nofrost-star/seed-0/train",
                "--out",
                f"runs/nofrost-star/seed-0/evaluate-{kind}/quick",
            ),
        )
        for kind in ("adversarial", "ood")
    ),
    (
        *("report", "--dataset", "data/dataset", "--augmentation", "data/augmentation", "--runs", "runs"),
        *("--out", "report"),
    ),
)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.skipif(not IMAGENETTE.is_dir(), reason="imagenette-mini lies in ../shared, which is not here")
def test_nofrost_star_is_trained_on_photographs_and_reported(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(STUDY), encoding="utf-8")
    for stage in STAGES:
        command = (sys.executable, "-m", "nofrost", stage[0], "--study", "study.yaml", *stage[1:])
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, f"{stage[0]}: {done.stderr[-2000:]}"
    dataset = tmp_path / "data" / "dataset"
    manifest, split = read_manifest(dataset), read_split(dataset, "train", verify=True)
    assert isinstance(split.images, Photographs)
    assert manifest.image_size == (224, 224)
    assert split.images.sizes(np.arange(len(split))).min() >= 224  # as they were published
    made = read_augmentation_set(
        tmp_path / "data" / "augmentation", "deepaugment", dataset=_checksum(dataset), verify=True
    )
    assert isinstance(made, Photographs)
    assert len(made) == len(split)
    run = tmp_path / "runs" / "nofrost-star" / "seed-0"
    recorded = json.loads((run / "evaluate-adversarial" / "quick" / "record.json").read_text())
    assert recorded["config"]["view"] == {"resize": 256, "crop": 224}
    measured = json.loads((run / "evaluate-ood" / "quick" / "metrics.json").read_text())
    assert measured["samples"] == 16
    assert len(measured["corruptions"]) > 1
    assert json.loads((run / "train" / "metrics.json").read_text())["epochs"] == 2
    assert "256" in (tmp_path / "report" / "report.html").read_text(encoding="utf-8")


def _checksum(dataset: Path) -> str:
    from nofrost.data import checksum

    return checksum(dataset)
