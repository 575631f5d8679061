"""A dataset of a study as the report finds it, and the checks that runs were made on it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from nofrost.config import Study
from nofrost.data import Manifest, checksum, read_manifest
from nofrost.data.augmentation_set import augmentation_checksum
from nofrost.errors import UserError
from nofrost.report.runs import AttackedRun, Run, ShiftedRun


@dataclass(frozen=True)
class PreparedDataset:
    """A dataset of the study, with its augmentation; the name is empty for that of the study."""

    name: str
    dataset: Path
    augmentation: Path | None

    @cached_property
    def _written(self) -> Manifest:
        return read_manifest(self.dataset)

    @cached_property
    def manifest(self) -> Manifest:
        """Its manifest; the name of a further dataset says which it is."""
        name = f"{self._written.name} ({self.name})" if self.name else self._written.name
        return self._written.model_copy(update={"name": name})

    @cached_property
    def sha256(self) -> str:
        """Its checksum, which trainings and evaluations on it have recorded."""
        return checksum(self.dataset, self._written)

    @property
    def title(self) -> str:
        """How tables and headings call it."""
        return self.name or self.manifest.name

    def _key(self, what: str) -> str:
        """Return the key of its checksum."""
        return f"{what} {self.name}" if self.name else what

    def inputs(self) -> dict[str, str]:
        """Return the checksums of what is made of it."""
        found = {self._key("dataset"): self.sha256}
        if self.augmentation is not None:
            found[self._key("augmentation")] = augmentation_checksum(self.augmentation)
        return found

    def seen(self, study: Study) -> dict[str, Any]:
        """Return what all that is collected on it has in common."""
        paths = {"dataset": self.dataset, "augmentation": self.augmentation}
        return {"study": study, "manifest": self.manifest, **paths}

    def check_trained(self, runs: Iterable[Run]) -> None:
        """Check that runs were trained on it, as the study says.

        Raises:
            UserError: one was not.
        """
        for run in runs:
            if run.record.inputs.get("dataset") != self.sha256:
                raise UserError(
                    f"{run.folder / 'train'} was trained on another dataset than the study says: train it again"
                )

    def check_evaluated(self, runs: Iterable[AttackedRun | ShiftedRun]) -> None:
        """Check that runs were evaluated on it, as they were trained.

        Raises:
            UserError: one was not.
        """
        for run in runs:
            if run.protocol.data_sha256 != self.sha256:
                raise UserError(f"{run.evaluation} is of another dataset than the study says: evaluate this run again")
