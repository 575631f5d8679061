"""A projection of the champion into Kubeflow's Model Registry, where KServe and the dashboard find it.

The pointer in the store stays the truth: a projection may be missing or late, never fails a promotion, and can be made
again at any time. A study is a registered model, a checkpoint is a version of it that is called by its md5, and the
champion's version alone is live. Needs the extra ``registry``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, TypeVar

from nofrost.champion.champion import StoredChampion
from nofrost.errors import UserError, reason, remark
from nofrost.masking import without_secrets
from nofrost.results import AdversarialMetrics, OodMetrics, Result, read_result
from nofrost.store import Output, Store, pull
from nofrost.store.base import object_name

if TYPE_CHECKING:
    from model_registry.core import ModelRegistryAPIClient

VARIABLE = "NOFROST_MODEL_REGISTRY"
# The name by which the registry's own client finds it, and where Kubernetes puts that of a pod.
_TOKEN_VARIABLE = "KF_PIPELINES_SA_TOKEN_PATH"
_POD_TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount/token"
_FORMAT = "safetensors"

R = TypeVar("R", bound=Result)


def project_if_asked(stored: StoredChampion, store: Store) -> bool:
    """Project a champion into the registry that NOFROST_MODEL_REGISTRY names; what fails is a remark and no error.

    Returns:
        Whether the registry has it.
    """
    if not os.environ.get(VARIABLE):
        return False
    try:
        project(stored, store)
    except Exception as error:
        remedy = f"`nofrost champion register {stored.champion.study}` tries it again"
        remark(f"the champion is not in the registry of {VARIABLE} ({without_secrets(reason(error))}): {remedy}")
        return False
    return True


def project(stored: StoredChampion, store: Store) -> None:
    """Make the registry that NOFROST_MODEL_REGISTRY names show a champion. Called again it changes nothing.

    Raises:
        UserError: the variable names no registry, or the library is missing.
        Exception: whatever the library raises where the registry refuses or does not answer.
    """
    import asyncio

    address = os.environ.get(VARIABLE, "")
    if not address.startswith(("http://", "https://")):
        raise UserError(f"{VARIABLE} is {address!r}: give the URL of a Model Registry, such as http://registry:8080")
    try:
        from model_registry.core import ModelRegistryAPIClient
    except ImportError:
        raise UserError("the library of the registry is not installed: pip install 'nofrost[registry]'") from None
    port = 443 if address.startswith("https://") else 80
    path = Path(os.environ.get(_TOKEN_VARIABLE, _POD_TOKEN))
    token = path.read_text(encoding="utf-8").strip() if path.is_file() else None
    if port == 443 and token:
        client = ModelRegistryAPIClient.secure_connection(address, port, user_token=token)
    elif port == 443:
        raise UserError(f"{VARIABLE} begins with https:// and needs a token: name its file in {_TOKEN_VARIABLE}")
    else:
        client = ModelRegistryAPIClient.insecure_connection(address, port, token)
    asyncio.run(_project(client, stored, store))


async def _project(client: ModelRegistryAPIClient, stored: StoredChampion, store: Store) -> None:
    """Get or make model, version and artifact, each of which an earlier try may have left out; then the states."""
    from model_registry.types import ListOptions, ModelArtifact, ModelVersion, RegisteredModel
    from model_registry.types.contexts import ModelVersionState

    made = stored.champion
    version_name = made.checkpoint.ref.md5.removesuffix(".dir")
    model = await client.get_registered_model_by_params(made.study)
    if model is None:
        description = f"The champion of study {made.study}; the truth is {store.url}"
        model = await client.upsert_registered_model(RegisteredModel(name=made.study, description=description))
    assert model.id
    version = await client.get_model_version_by_params(model.id, version_name)
    properties = _properties(stored, store)
    if version is None:
        version = ModelVersion(name=version_name, author="nofrost")
    version.description, version.state, version.custom_properties = made.reason, ModelVersionState.LIVE, properties
    version = await client.upsert_model_version(version, model.id)
    assert version.id
    if await client.get_model_artifact_by_params(made.study, version.id) is None:
        artifact = ModelArtifact(
            name=made.study,
            uri=f"{store.url}/{object_name(made.checkpoint.ref.md5)}",
            model_format_name=_FORMAT,
            model_format_version="1",
            model_source_kind="kfp",
            model_source_class="pipelinerun",
            model_source_id=made.run,
            model_source_name=made.contender.name,
        )
        await client.upsert_model_version_artifact(artifact, version.id)
    for other in await client.get_model_versions(model.id, ListOptions(limit=1000)):
        if other.id != version.id and other.state != ModelVersionState.ARCHIVED:
            other.state = ModelVersionState.ARCHIVED
            await client.upsert_model_version(other)


def _properties(stored: StoredChampion, store: Store) -> Mapping[str, bool | int | float | str]:
    made = stored.champion
    adversarial = _read(AdversarialMetrics, made.adversarial, store)
    ood = _read(OodMetrics, made.ood, store) if made.ood else None
    corrupted = {} if ood is None or ood.mean_accuracy is None else {"ood_accuracy": ood.mean_accuracy}
    return {
        "run": made.run,
        "recipe": made.recipe,
        "seed": made.seed,
        "checkpoint": str(made.checkpoint),
        "record": stored.position.record,
        "how": made.how,
        "clean_accuracy": adversarial.accuracy["clean"].accuracy,
        "worst_case_accuracy": adversarial.accuracy["worst-case"].accuracy,
        **corrupted,
        "threat": f"{adversarial.threat.norm} {adversarial.threat.eps}",
    }


def _read(schema: type[R], output: Output, store: Store) -> R:
    with TemporaryDirectory(prefix="nofrost-") as folder:
        pull(output.ref, Path(folder) / "evaluation", store)
        return read_result(schema, Path(folder) / "evaluation" / "metrics.json")
