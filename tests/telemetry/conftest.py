"""A status server of Kubeflow Trainer, as a container of a TrainJob finds it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from nofrost.telemetry import trainjob_status
from nofrost.telemetry.trainjob_status import VARIABLES
from tests.cluster.double.certificate import make_certificate
from tests.telemetry.trainer import StatusServer


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What Trainer mounts into a container, and in `other` the certificate of another authority."""
    folder = tmp_path_factory.mktemp("trainer")
    (folder / "other").mkdir()
    for each in (folder, folder / "other"):
        make_certificate(each / "key", each / "ca.crt", "127.0.0.1")
    return folder


@pytest.fixture
def server(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StatusServer]:
    """A server that this process finds as a container of a TrainJob does."""
    double = StatusServer(files)
    (tmp_path / "token").write_text("token-of-the-pod\n")
    values = double.url, str(files / "ca.crt"), str(tmp_path / "token")
    for name, value in zip(VARIABLES, values, strict=True):
        monkeypatch.setenv(name, value)
    yield double
    double.stop()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundredth of the intervals."""
    for name in ("INTERVAL_S", "PAUSE_AFTER_ERROR_S", "TIMEOUT_S", "LONGEST_END_S"):
        monkeypatch.setattr(trainjob_status, name, getattr(trainjob_status, name) / 100)
    monkeypatch.setattr(trainjob_status, "TIMEOUT_S", 0.3)
