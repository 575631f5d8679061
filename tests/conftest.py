"""What several folders of tests share: a small dataset of real digits."""

from __future__ import annotations

import os
from pathlib import Path

import hypothesis
import pytest

from nofrost.config import DatasetSpec

# Tests read what commands say to people, though no terminal is here.
os.environ.setdefault("NOFROST_LOG", "text")
# A busy machine is no failure: examples have no time limit.
hypothesis.settings.register_profile("nofrost", deadline=None)
hypothesis.settings.load_profile("nofrost")


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of 300 digits at 16 x 16 pixels. Read only: copy it before changing anything."""
    from nofrost import prepare

    folder = tmp_path_factory.mktemp("digits") / "dataset"
    prepare.run(DatasetSpec(source="digits", image_size=16, limit=300), folder)
    return folder
