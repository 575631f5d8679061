"""The check of a study: each part by its owner."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from nofrost import tasks
from nofrost.config import load_study
from nofrost.errors import UserError


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("dataset.source=cifar", ["dataset.source: input should be 'digits'", "did you mean 'cifar10'?"]),
        ("dataset.limt=60", ["unknown key 'dataset.limt'", "did you mean 'limit'?"]),
        (
            "augmentation.methods=[augmix]",
            ["augmentation.methods.0", "'deepaugment-edsr', 'deepaugment-cae' or 'tda'", "got 'augmix'"],
        ),
        ("augmentation.deepaugment.wide=1", ["'augmentation.deepaugment.wide'", "did you mean 'width'?"]),
        ("augmentation.tda=3", ["augmentation.tda: 3 is not a mapping", "horizontal_flip"]),
        ("recipes.sat.attack.stepz=3", ["recipes.sat.attack.stepz", "did you mean 'steps'?"]),
    ],
)
def test_owners_check_what_a_study_says_of_them(override: str, words: list[str]) -> None:
    with pytest.raises(UserError) as error:
        tasks.check_study(
            load_study("digits", [override, "recipes.sat.views.augmentation_sets=[]"]), "digits", [override]
        )
    message = str(error.value)
    assert message.startswith("digits")
    assert all(word in message for word in words)
    assert f"--set '{override}'" in message


def test_tasks_that_compute_nothing_do_not_load_torch(tmp_path: Path) -> None:
    script = (
        "import sys\nsys.modules['torch'] = None\nfrom nofrost import tasks\n"
        "print(tasks.record_outputs({}, 'r', sys.argv[1]), tasks.finish('r', 'FAILED', sys.argv[1]))"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "nofrost/runs/r/outputs.json nofrost/runs/r.json" in done.stdout
