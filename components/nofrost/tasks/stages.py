"""A task for each stage. Paths in the workspace are those of dvc.yaml."""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from nofrost.champion.champion import GATE_FILE
from nofrost.cluster.job.identity import JOB_NAME, RUN_ID
from nofrost.cluster.job.spec import Training
from nofrost.cluster.outcome.job_result import JobResult, read_result, write_result
from nofrost.cluster.outcome.stored_log import job_output_name
from nofrost.config import AdversarialSuite, DatasetSpec, OodSuite, Recipe, Suite, parse_part, parse_study
from nofrost.config.trainings import dataset_path, run_path
from nofrost.errors import remark
from nofrost.files import write_text
from nofrost.ranks import Node, forget_rank_of_pod, this_node
from nofrost.store import Ref, open_store, pull
from nofrost.store.source_files import local_source
from nofrost.tasks.ascii_text import from_ascii
from nofrost.tasks.labels import CHAMPION, UNFIT, evaluation_label, prepare_label, train_label
from nofrost.tasks.saves import checkpointed_in_store
from nofrost.tasks.start_limit import limited_start
from nofrost.tasks.stored_saves import saves_of
from nofrost.tasks.study_check import check_study
from nofrost.tasks.task_exit import exit_on_error
from nofrost.tasks.workspace import Workspace, is_ref, pretrained, workspace


@exit_on_error(prepare_label)
def prepare(spec: str, source: str, store: str, name: str = "") -> str:
    """Make a dataset.

    Args:
        spec: the dataset, as JSON. The path of a further one is a ref, ``s3://...``, or begins with the name of the
            study's ``dataset.path``.
        source: ref of the source data at the study's ``dataset.path``; empty for a source that needs no path, for
            one on S3, which is fetched from there, and for a ref.
        store: URL of the store.
        name: of a further dataset; empty for that of the study.

    Returns:
        The output ``data/dataset``, of a further dataset ``data/datasets/<name>``.
    """
    from nofrost.prepare import run

    config = parse_part(DatasetSpec, from_ascii(spec), f"datasets.{name}" if name else "dataset")
    with workspace(store) as work:
        if name and is_ref(config.path):
            path = work.folder / "source" / name
            pull(Ref.parse(config.path), path, work.store)
            config = config.model_copy(update={"path": str(path)})
        elif source:
            inside = Path(config.path) if name else Path(Path(config.path).name)
            pull(Ref.parse(source), work.folder / "source" / inside.parts[0], work.store)
            config = config.model_copy(update={"path": str(work.folder / "source" / inside)})
        out = work.folder / dataset_path(name)
        with local_source(config.path, out) as local:
            run(config.model_copy(update={"path": local}), out)
        return work.push(dataset_path(name))


@exit_on_error(train_label)
def train(training: Training, gpus: int = 0, nodes: int = 1) -> str:
    """Train one run. Called again, it resumes from the last save.

    On several nodes this is called on each, with the same arguments; their variables PET_* say which is which (see
    :func:`nofrost.ranks.this_node`). Node 0 alone writes to the store. If NOFROST_JOB names a job, the output is
    also written to the store for its launcher; a node that starts again after that returns at once.

    Args:
        gpus: GPUs that each node must have. 0 uses one if there is one; several share every batch, with a process each.
        nodes: machines that share every batch.

    Returns:
        The output ``runs/<recipe>/seed-<seed>/train``; an empty text on other nodes than 0.
    """
    recipe_id, seed, store = training.recipe_id, training.seed, training.store
    config = parse_part(Recipe, from_ascii(training.recipe), f"recipes.{recipe_id}")
    node = this_node(nodes, gpus)
    forget_rank_of_pod()
    job, pipeline_run = os.environ.get(JOB_NAME, ""), os.environ.get(RUN_ID, "")
    if job and pipeline_run:
        done = read_result(job, pipeline_run, open_store(store, patient=True))
        if done and done.output:
            return done.output if node.rank == 0 else ""
    path = run_path(recipe_id, seed, "train")
    depends_on = [training.recipe, seed, training.dataset, training.augmentation, training.data]
    depends_on += [training.start] if training.start else []
    start_limit: AbstractContextManager[None] = nullcontext()
    if node.rank == 0:
        opened = open_store(store, patient=True)
        start_limit = limited_start(saves_of(Path(path), depends_on, opened), train_label(recipe_id, seed), opened)
    with start_limit:
        return _train(training, config, node, gpus, path, depends_on)


def _train(training: Training, config: Recipe, node: Node, gpus: int, path: str, depends_on: Sequence[str]) -> str:
    """Train on this node; of :func:`train` that which counts as a start, as even torch may fail when it is loaded."""
    from nofrost.models import require_gpus
    from nofrost.tasks.nodes import all_nodes
    from nofrost.train import STREAM_WINDOW, run

    recipe_id, seed, store, job = training.recipe_id, training.seed, training.store, os.environ.get(JOB_NAME, "")
    require_gpus(gpus)
    with all_nodes(node) as start, workspace(store) as work:
        out = work.folder / path
        streams, inputs = training.data == "stream", (training.dataset, training.augmentation)
        data, augmented = map(work.pull, inputs) if streams else work.pull_whole(*inputs)
        first = work.pull(training.start) if training.start else None
        with checkpointed_in_store(out, depends_on, work.store) if node.rank == 0 else nullcontext():
            if gpus > 1 or node.count > 1:
                write_text(work.folder / f"{recipe_id}.yaml", from_ascii(training.recipe))
                options = {"recipe": work.folder / f"{recipe_id}.yaml", "seed": seed, "dataset": data}
                options |= {"augmentation": augmented, "store": store, "out": out, "data": training.data}
                options |= {"data-cache": work.cache.folder, "cache-size": work.cache.limit} if streams else {}
                options |= {"start": first} if first else {}
                start(["train", *(f"--{name}={value}" for name, value in options.items())], gpus)
            else:
                with pretrained(config, out, store) as weights:
                    window = STREAM_WINDOW if streams else None
                    run(data, augmented, config, recipe_id, int(seed), out, weights, window, first)
            if node.rank != 0:
                return ""
            output = work.push(path)
            if job:
                work.store.put(job_output_name(job), output.encode())
                write_result(job, os.environ.get(RUN_ID, ""), JobResult(output=output), work.store)
            return output


@exit_on_error(evaluation_label)
def evaluate_shard(
    suite: str,
    suite_id: str,
    dataset: str,
    checkpoint: str,
    shard: str,
    store: str,
    gpus: int = 0,
    test_sets: str = "",
) -> str:
    """Evaluate one shard of the test images, such as ``0/4``; `suite` is the suite as JSON, `gpus` as in `train`.

    Args:
        suite_id: the name of the suite in its study.
        checkpoint: of a run, or ``champion/train`` of the champion; empty if there is no champion, and a text that
            begins with UNFIT if its checkpoint is gone.
        test_sets: the output of `prepare_test_sets`; empty for a suite that has none.

    Returns:
        The output ``runs/<recipe>/seed-<seed>/evaluate-<kind>/<suite>.shard-<index>-of-<count>``; of a champion one
        below ``champion``, an empty text, or one that begins with UNFIT.
    """
    if not checkpoint or checkpoint.startswith(UNFIT):
        return checkpoint
    from nofrost.evaluate import Shard, run
    from nofrost.models import require_gpus

    config = _parse_suite(suite, suite_id)
    require_gpus(gpus)
    with workspace(store) as work, _unless_unfit(work, checkpoint) as unfit:
        shard_spec = Shard.parse(shard)
        data, model = work.pull(dataset), work.pull(checkpoint)
        path = f"{_evaluation_path(work, model, config, suite_id)}.shard-{shard_spec.index}-of-{shard_spec.count}"
        further = work.pull(test_sets) if test_sets else None
        with checkpointed_in_store(work.folder / path, [suite, dataset, test_sets, checkpoint, shard], work.store):
            run(data, model, config, work.folder / path, shard_spec, further)
            return work.push(path)
    return unfit[0]


@exit_on_error(evaluation_label)
def evaluate(
    suite: str,
    suite_id: str,
    dataset: str,
    checkpoint: str,
    shards: Sequence[str],
    store: str,
    gpus: int = 0,
    test_sets: str = "",
) -> str:
    """Merge the shards of an evaluation, or without any evaluate all images; the result is the same.

    Args:
        suite: the suite as JSON.
        suite_id, checkpoint: as in `evaluate_shard`.
        shards: outputs of `evaluate_shard`, all of them or none.
        gpus: as in `train`.
        test_sets: as in `evaluate_shard`.

    Returns:
        The output ``runs/<recipe>/seed-<seed>/evaluate-<kind>/<suite>``; of a champion as in `evaluate_shard`.
    """
    if not checkpoint or checkpoint.startswith(UNFIT):
        return checkpoint
    if shards and shards[0].startswith(UNFIT):
        return shards[0]
    from nofrost.evaluate import merge, run
    from nofrost.models import require_gpus

    config = _parse_suite(suite, suite_id)
    require_gpus(gpus)
    with workspace(store) as work, _unless_unfit(work, checkpoint) as unfit:
        data, model = work.pull(dataset), work.pull(checkpoint)
        path = _evaluation_path(work, model, config, suite_id)
        further = work.pull(test_sets) if test_sets else None
        if shards:
            merge(data, model, config, [work.pull(shard) for shard in shards], work.folder / path, further)
            return work.push(path)
        with checkpointed_in_store(work.folder / path, [suite, dataset, test_sets, checkpoint], work.store):
            run(data, model, config, work.folder / path, test_sets=further)
            return work.push(path)
    return unfit[0]


@contextmanager
def _unless_unfit(work: Workspace, checkpoint: str) -> Iterator[list[str]]:
    """Run the block, and yield a list that then holds what to return if the champion does not fit the dataset.

    The study goes on without a comparison: with other classes it needs a champion of its own.
    """
    from nofrost.evaluate.inputs import UnfitError

    unfit: list[str] = []
    try:
        yield unfit
    except UnfitError as error:
        if not checkpoint.startswith(f"{CHAMPION}/"):
            raise
        sentence = str(error).replace(f"{work.folder}/", "")
        remark(sentence)
        unfit.append(f"{UNFIT}{sentence}")


@exit_on_error(lambda **_: "report")
def report(
    study: str,
    dataset: str,
    augmentation: str,
    runs: Sequence[str],
    store: str,
    html: str,
    markdown: str,
    gate: str = "",
) -> tuple[str, dict[str, float]]:
    """Write the report of the study; `runs` are all outputs of its runs.

    Args:
        study: as YAML.
        html, markdown: paths for copies of the report, which Kubeflow shows.
        gate: output of the gate, empty for a study without one.

    Returns:
        The output ``report``, and every accuracy (a share in [0, 1]) by its name, ``<recipe>/seed-<seed>/<condition>``.
    """
    from nofrost.report import run

    with workspace(store) as work:
        data, augmented = work.pull(dataset), work.pull(augmentation)
        for output in runs:
            work.pull(output)
        parsed = check_study(parse_study(from_ascii(study)))
        decided = work.pull(gate) / GATE_FILE if gate else None
        metrics = run(data, augmented, work.folder / "runs", parsed, work.folder / "report", decided)
        for name, copy in (("report.html", html), ("report.md", markdown)):
            Path(copy).parent.mkdir(parents=True, exist_ok=True)
            Path(copy).write_bytes((work.folder / "report" / name).read_bytes())
        return work.push("report"), _accuracies(metrics)


def _accuracies(metrics: dict[str, Any]) -> dict[str, float]:
    return {
        f"{recipe}/{seed}/{condition}": accuracy
        for recipe, seeds in metrics["runs"].items()
        for seed, measured in seeds.items()
        for condition, accuracy in measured.items()
        if isinstance(accuracy, float)
    }


def _evaluation_path(work: Workspace, checkpoint: Path, suite: Suite, suite_id: str) -> str:
    return f"{checkpoint.relative_to(work.folder).parent.as_posix()}/evaluate-{suite.kind}/{suite_id}"


def _parse_suite(text: str, suite_id: str) -> Suite:
    text = from_ascii(text)
    kind = json.loads(text)["kind"]
    if kind == "adversarial":
        return parse_part(AdversarialSuite, text, f"suites.adversarial.{suite_id}")
    return parse_part(OodSuite, text, f"suites.ood.{suite_id}")
