"""A compiled pipeline in a file: its name, its version, and what it needs of the server."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nofrost.errors import UserError, shortened
from pipelines.package import Documents
from pipelines.submit.texts import texts_in
from pipelines.submit.versions import needs


@dataclass(frozen=True)
class CompiledPipeline:
    """A compiled pipeline.

    Attributes:
        name: of the pipeline.
        version: a name made from the content, so that equal files are one version.
        spec: the pipeline itself.
        platform: its settings for Kubernetes.
    """

    path: Path
    name: str
    version: str
    spec: dict[str, Any]
    platform: dict[str, Any]

    @property
    def parameters(self) -> list[str]:
        """The names of its parameters."""
        return list(self.spec["root"].get("inputDefinitions", {}).get("parameters", {}))

    @property
    def needs(self) -> set[str]:
        """The fields that not every server knows."""
        return needs(self.platform)


def check_compiled(path: Path, documents: Documents) -> CompiledPipeline:
    """Return a compiled pipeline after checking its texts.

    Args:
        documents: what the file holds.

    Raises:
        UserError: a text in it is not ASCII.
    """
    spec, platform = documents
    for text in texts_in(documents):
        if not text.isascii():
            raise UserError(
                f"the pipeline holds {shortened(text)}, which is not ASCII and which databases of Kubeflow refuse: use "
                "ASCII alone in the cluster's settings"
            )
    version = f"sha256-{hashlib.sha256(path.read_bytes()).hexdigest()[:12]}"
    return CompiledPipeline(path, spec["pipelineInfo"]["name"], version, spec, platform)
