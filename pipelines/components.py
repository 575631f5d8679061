"""The components: each imports the package in its container and calls one task of it.

Kubeflow stores the source of these functions as text, so they import what they need inside. It also evaluates their
annotations, so this file does without `from __future__ import annotations`. The training container has no kfp, so
training is a command, as is launching it as a job.
"""

from typing import NamedTuple

from kfp import dsl

component = dsl.component(base_image="nofrost-stage", install_kfp_package=False)


@component
def resolve(data_ref: str, study: str, schedule: str, run: str, store: str) -> NamedTuple(  # type: ignore[valid-type]
    "Newest", [("source", str), ("champion", str), ("checkpoint", str)]
):
    from nofrost import tasks

    return tasks.resolve(data_ref, study, store, schedule, run)


@component
def prepare(spec: str, source: str, store: str) -> str:
    from nofrost import tasks

    return tasks.prepare(spec, source, store)


@component
def prepare_further(spec: str, name: str, source: str, store: str) -> str:
    from nofrost import tasks

    return tasks.prepare(spec, source, store, name)


@component
def prepare_test_sets(spec: str, suite_id: str, source: str, dataset: str, store: str) -> str:
    from nofrost import tasks

    return tasks.prepare_test_sets(spec, suite_id, source, dataset, store)


@component
def augment_shard(spec: str, dataset: str, shard: str, store: str) -> str:
    from nofrost import tasks

    return tasks.augment_shard(spec, dataset, shard, store)


@component
def augment(spec: str, dataset: str, shards: list[str], store: str) -> str:
    from nofrost import tasks

    return tasks.augment(spec, dataset, store, shards)


@dsl.container_component
def train(
    recipe: str,
    recipe_id: str,
    seed: str,
    dataset: str,
    augmentation: str,
    store: str,
    data: str,
    gpus: int,
    checkpoint: dsl.OutputPath(str),  # type: ignore[valid-type]
    start: str = "",
) -> dsl.ContainerSpec:
    return dsl.ContainerSpec(
        image="nofrost-train",
        command=["nofrost", "task", "train"],
        args=[
            *("--recipe", recipe),
            *("--recipe-id", recipe_id),
            *("--seed", seed),
            *("--dataset", dataset),
            *("--augmentation", augmentation),
            *("--store", store),
            *("--data", data),
            *("--start", start),
            *("--gpus", gpus),
            *("--output-file", checkpoint),
        ],
    )


# The job of a training, which it starts on the cluster, runs in `image`. All that makes the job is an input, and so a
# part of the key of Kubeflow's cache; what belongs to one run of the pipeline is not, and comes from the pod.
@dsl.container_component
def launch(
    recipe: str,
    recipe_id: str,
    seed: str,
    dataset: str,
    augmentation: str,
    store: str,
    data: str,
    gpus: int,
    nodes: int,
    image: str,
    settings: str,
    checkpoint: dsl.OutputPath(str),  # type: ignore[valid-type]
    start: str = "",
) -> dsl.ContainerSpec:
    return dsl.ContainerSpec(
        image="nofrost-stage",
        command=["nofrost", "task", "launch"],
        args=[
            *("--recipe", recipe),
            *("--recipe-id", recipe_id),
            *("--seed", seed),
            *("--dataset", dataset),
            *("--augmentation", augmentation),
            *("--store", store),
            *("--data", data),
            *("--start", start),
            *("--gpus", gpus),
            *("--nodes", nodes),
            *("--image", image),
            *("--settings", settings),
            *("--output-file", checkpoint),
        ],
    )


@component
def evaluate_shard(
    suite: str,
    suite_id: str,
    dataset: str,
    test_sets: str,
    checkpoint: str,
    shard: str,
    store: str,
    gpus: int,
) -> str:
    from nofrost import tasks

    return tasks.evaluate_shard(suite, suite_id, dataset, checkpoint, shard, store, gpus, test_sets)


@component
def evaluate(
    suite: str,
    suite_id: str,
    dataset: str,
    test_sets: str,
    checkpoint: str,
    shards: list[str],
    store: str,
    gpus: int,
) -> str:
    from nofrost import tasks

    return tasks.evaluate(suite, suite_id, dataset, checkpoint, shards, store, gpus, test_sets)


@component
def gate(
    study: str,
    adversarial: list[str],
    ood: list[str],
    champion: str,
    champion_adversarial: str,
    champion_ood: str,
    store: str,
) -> str:
    from nofrost import tasks

    return tasks.gate(study, adversarial, ood, champion, [champion_adversarial, champion_ood], store)


@component
def report(
    study: str,
    dataset: str,
    augmentation: str,
    trained: list[str],
    adversarial: list[str],
    ood: list[str],
    gate: str,
    store: str,
    html: dsl.Output[dsl.HTML],
    markdown: dsl.Output[dsl.Markdown],
    metrics: dsl.Output[dsl.Metrics],
) -> str:
    import json
    from pathlib import Path

    from nofrost import tasks

    runs = [*trained, *adversarial, *ood]
    output, accuracies = tasks.report(study, dataset, augmentation, runs, store, html.path, markdown.path, gate)
    for name, accuracy in accuracies.items():
        metrics.log_metric(name, accuracy)
    # kfp.local takes a task from its cache only if each of its artifacts has a file.
    Path(metrics.path).write_text(json.dumps(accuracies))
    return output


# The same for a study of several datasets, whose further ones are no input above: an input more would be another
# component to Kubeflow's cache.
@component
def report_on_datasets(
    study: str,
    dataset: str,
    augmentation: str,
    further: list[str],
    trained: list[str],
    adversarial: list[str],
    ood: list[str],
    gate: str,
    store: str,
    html: dsl.Output[dsl.HTML],
    markdown: dsl.Output[dsl.Markdown],
    metrics: dsl.Output[dsl.Metrics],
) -> str:
    import json
    from pathlib import Path

    from nofrost import tasks

    inputs = [*further, *trained, *adversarial, *ood]
    output, accuracies = tasks.report(study, dataset, augmentation, inputs, store, html.path, markdown.path, gate)
    for name, accuracy in accuracies.items():
        metrics.log_metric(name, accuracy)
    Path(metrics.path).write_text(json.dumps(accuracies))
    return output


# What is prepared beside the dataset (test sets, and further datasets with their augmentations) is one list.
@component
def write_candidate(
    study: str,
    source: str,
    dataset: str,
    test_sets: list[str],
    augmentation: str,
    trained: list[str],
    adversarial: list[str],
    ood: list[str],
    report: str,
    run: str,
    image: str,
    store: str,
) -> str:
    from nofrost import tasks

    outputs = [dataset, *test_sets, augmentation, *trained, *adversarial, *ood, report]
    return tasks.write_candidate(study, source, outputs, run, image, store)


# What it promotes is in the candidate of the run, which an input names so that it is written before.
@component
def promote(gate: str, candidate: str, champion: str, run: str, store: str) -> str:
    from nofrost import tasks

    return tasks.promote(gate, champion, run, store)


@component
def record_outputs(
    dataset: str,
    test_sets: list[str],
    augmentation: str,
    trained: list[str],
    adversarial: list[str],
    ood: list[str],
    run: str,
    store: str,
) -> str:
    from nofrost import tasks

    outputs = {"dataset": dataset, "test_sets": test_sets, "augmentation": augmentation}
    return tasks.record_outputs({**outputs, "trained": trained, "adversarial": adversarial, "ood": ood}, run, store)


@component
def finish(run: str, store: str, status: dsl.PipelineTaskFinalStatus) -> None:
    from nofrost import tasks

    tasks.finish(run, status.state, store)
