"""One task for each stage. The paths in the workspace are those of dvc.yaml."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nofrost.config import AdversarialSuite, AugmentationSpec, DatasetSpec, OodSuite, Recipe, parse_part
from nofrost.files import write_text
from nofrost.store import Ref, pull
from nofrost.tasks.ending import exit_on_error
from nofrost.tasks.launch import launch
from nofrost.tasks.plan import study_of
from nofrost.tasks.unfinished import checkpointed_in_store
from nofrost.tasks.weights import pretrained
from nofrost.tasks.workspace import Workspace, workspace

DATASET = "data/dataset"
AUGMENTATION = "data/augmentation"


@exit_on_error
def prepare(spec: str, source: str, store: str) -> str:
    """Make the dataset.

    Args:
        spec: the study's dataset, as JSON.
        source: ref of what stands at the study's ``dataset.path``; empty for a source that comes with a package.
        store: URL of the store.

    Returns:
        The output ``data/dataset``.
    """
    from nofrost import prepare as stage

    config = parse_part(DatasetSpec, spec, "dataset")
    with workspace(store) as place:
        if source:
            path = place.folder / "source" / Path(config.path).name
            pull(Ref.parse(source), path, place.store)
            config = config.model_copy(update={"path": str(path)})
        stage.run(config, place.folder / DATASET)
        return place.push(DATASET)


@exit_on_error
def augment(spec: str, dataset: str, store: str) -> str:
    """Make the augmentation sets of `dataset`; `spec` is the study's augmentation, as JSON.

    Returns:
        The output ``data/augmentation``.
    """
    from nofrost import augment as stage

    config = parse_part(AugmentationSpec, spec, "augmentation")
    with workspace(store) as place:
        stage.run(place.pull(dataset), config, place.folder / AUGMENTATION)
        return place.push(AUGMENTATION)


@exit_on_error
def train(recipe: str, recipe_id: str, seed: str, dataset: str, augmentation: str, store: str, gpus: int = 0) -> str:
    """Train one run; `recipe` is the recipe as JSON. Stopped and tried again, it goes on from its last save.

    Args:
        gpus: GPUs that there must be; 0 takes one where there is one, several share every batch, a process for each.

    Returns:
        The output ``runs/<recipe>/seed-<seed>/train``.
    """
    from nofrost import train as stage
    from nofrost.models import require_gpus

    config = parse_part(Recipe, recipe, f"recipes.{recipe_id}")
    require_gpus(gpus)
    with workspace(store) as place:
        path = run_path(recipe_id, seed, "train")
        data, augmented, out = place.pull(dataset), place.pull(augmentation), place.folder / path
        with checkpointed_in_store(out, [recipe, seed, dataset, augmentation], place.store):
            if gpus > 1:
                write_text(place.folder / f"{recipe_id}.yaml", recipe)
                options = {"recipe": place.folder / f"{recipe_id}.yaml", "seed": seed, "dataset": data}
                options |= {"augmentation": augmented, "store": store, "out": out}
                launch(["train", *(f"--{name}={value}" for name, value in options.items())], gpus)
            else:
                with pretrained(config, out, store) as weights:
                    stage.run(data, augmented, config, recipe_id, int(seed), out, weights)
        return place.push(path)


@exit_on_error
def evaluate_shard(suite: str, dataset: str, checkpoint: str, shard: str, store: str, gpus: int = 0) -> str:
    """Evaluate one shard of the test images, such as ``0/4``; `suite` is the suite as JSON, `gpus` as in `train`.

    Returns:
        The output ``runs/<recipe>/seed-<seed>/evaluate-<kind>.shard-<index>-of-<count>``.
    """
    from nofrost import evaluate as stage
    from nofrost.models import require_gpus

    config = _suite(suite)
    require_gpus(gpus)
    with workspace(store) as place:
        part = stage.Shard.parse(shard)
        data, model = place.pull(dataset), place.pull(checkpoint)
        path = f"{_evaluated(place, model, config)}.shard-{part.index}-of-{part.count}"
        with checkpointed_in_store(place.folder / path, [suite, dataset, checkpoint, shard], place.store):
            stage.run(data, model, config, place.folder / path, shard=part)
        return place.push(path)


@exit_on_error
def evaluate(suite: str, dataset: str, checkpoint: str, shards: Sequence[str], store: str, gpus: int = 0) -> str:
    """Merge the shards of an evaluation into what the whole would have been; `gpus` as for the shards.

    Returns:
        The output ``runs/<recipe>/seed-<seed>/evaluate-<kind>``.
    """
    from nofrost import evaluate as stage
    from nofrost.models import require_gpus

    config = _suite(suite)
    require_gpus(gpus)
    with workspace(store) as place:
        data, model = place.pull(dataset), place.pull(checkpoint)
        path = _evaluated(place, model, config)
        stage.merge(data, model, config, [place.pull(shard) for shard in shards], place.folder / path)
        return place.push(path)


@exit_on_error
def report(
    study: str, dataset: str, augmentation: str, runs: Sequence[str], store: str, html: str, markdown: str
) -> tuple[str, dict[str, float]]:
    """Write the report of the study; `runs` are all outputs of its runs.

    Args:
        html, markdown: files that copies of the report go to, for people to look at in Kubeflow.

    Returns:
        The output ``report``, and every accuracy (a share in [0, 1]) by its name, ``<recipe>/seed-<seed>/<condition>``.
    """
    from nofrost import report as stage

    with workspace(store) as place:
        data, augmented = place.pull(dataset), place.pull(augmentation)
        for output in runs:
            place.pull(output)
        metrics = stage.run(data, augmented, place.folder / "runs", study_of(study), place.folder / "report")
        for name, copy in (("report.html", html), ("report.md", markdown)):
            Path(copy).parent.mkdir(parents=True, exist_ok=True)
            Path(copy).write_bytes((place.folder / "report" / name).read_bytes())
        return place.push("report"), _accuracies(metrics)


def _accuracies(metrics: dict[str, Any]) -> dict[str, float]:
    return {
        f"{recipe}/{seed}/{condition}": accuracy
        for recipe, seeds in metrics["runs"].items()
        for seed, found in seeds.items()
        for condition, accuracy in found.items()
        if isinstance(accuracy, float)
    }


def run_path(recipe_id: str, seed: str, stage: str) -> str:
    """Return where an output of a run lies in a checkout."""
    return f"runs/{recipe_id}/seed-{seed}/{stage}"


def _evaluated(place: Workspace, checkpoint: Path, suite: AdversarialSuite | OodSuite) -> str:
    return f"{checkpoint.relative_to(place.folder).parent.as_posix()}/evaluate-{suite.kind}"


def _suite(text: str) -> AdversarialSuite | OodSuite:
    kind = json.loads(text)["kind"]
    if kind == "adversarial":
        return parse_part(AdversarialSuite, text, "suites.adversarial")
    return parse_part(OodSuite, text, "suites.ood")
