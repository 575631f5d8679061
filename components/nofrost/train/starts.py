"""The start of a training from another one, which has done its first phases, and which trainings can have one."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from nofrost.config import Recipe
from nofrost.config.loading import validated
from nofrost.config.recipe import PHASE_KEYS
from nofrost.errors import UserError
from nofrost.files import read_json
from nofrost.models import Classifier
from nofrost.models.checkpoint import LAST, load_weights, read_signature
from nofrost.results import Epoch, StepRecord, TrainMetrics, TrainRecord, read_result, read_results
from nofrost.stage import RECORD
from nofrost.train.objectives import create_objective


@dataclass(frozen=True)
class Start:
    """What another training has done of this one: where it was made alike, bit for bit as this one would have.

    Attributes:
        folder: output of the other training.
        phases: so many of the first phases.
        weights: with which the other training ended.
        sha256: of their file.
        curves: a row for each epoch of those phases.
        steps: the record of a step of each.
        record: of the other training.
    """

    folder: Path
    phases: int
    weights: Path
    sha256: str
    curves: list[Epoch]
    steps: dict[str, StepRecord]
    record: TrainRecord

    def load(self, model: Classifier) -> None:
        """Load the weights into `model`."""
        load_weights(model, self.weights)

    def made_otherwise(self, processes: int, device: str, decoders: Iterable[str]) -> str | None:
        """Return a sentence about why this training would not have come to the same bits; None where it would have.

        Args:
            processes: of this training.
            device: of this training, such as ``cpu``.
            decoders: libraries that decode its photographs; none where it has no photographs.
        """
        libraries = self.record.libraries
        pairs: list[tuple[str, set[object], set[object]]] = [
            ("processes", {step.world_size for step in self.steps.values()}, {processes}),
            ("device", {self.record.device}, {device}),
        ]
        pairs += [(name, {libraries.get(name)}, {_installed(name)}) for name in dict.fromkeys((*libraries, *decoders))]
        differences = [f"{name} {_listed(other)}, here {_listed(mine)}" for name, other, mine in pairs if other != mine]
        if not differences:
            return None
        return (
            f"this training goes on from {self.folder}, which was made otherwise ({'; '.join(differences)}): with the "
            "same images in the same order, but not to the same bits"
        )


def _installed(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:
        return None


def _listed(values: Iterable[object]) -> str:
    return " and ".join(sorted("none" if value is None else str(value) for value in values))


def read_start(folder: Path, recipe: Recipe, seed: int, inputs: Mapping[str, str], window: int | None) -> Start:
    """Return the start of a training with `recipe` from the training that wrote `folder`.

    Args:
        seed: of the new training.
        inputs: their checksums by name.
        window: of the new training.

    Raises:
        UserError: the other training is missing or damaged, or its images, their order or its recipe are not those of
            the beginning of this one.
    """
    record = read_result(TrainRecord, folder / RECORD)
    metrics = read_result(TrainMetrics, folder / "metrics.json")
    first = validated(Recipe, record.config, str(folder / RECORD))
    phases = start_phases(recipe, first)
    remedy = "train it again, or leave out --start (`nofrost study plan` says which training can start from which)"
    if not phases:
        raise UserError(f"{folder} was not trained as the first phases of this recipe are: {remedy}")
    for source, sha256 in record.inputs.items():
        if source != "start" and inputs.get(source) != sha256:
            raise UserError(f"{folder} was trained from another {source}: {remedy}")
    for setting, mine, other in (("seed", seed, record.seeds["seed"]), ("window", window, record.window)):
        if mine != other:
            raise UserError(f"{folder} was trained with {setting} {other}, and this training has {mine}: {remedy}")
    if metrics.stopped_early:
        raise UserError(f"{folder} was stopped early, after epoch {metrics.stopped_early.epoch}: {remedy}")
    weights = folder / LAST
    read_signature(weights)  # checks that they are what their JSON says
    sha256 = str(read_json(weights.with_suffix(".json"))["sha256"])
    names = dict(zip(first.in_phases(), recipe.in_phases(), strict=False))
    curves = [row.model_copy(update={"phase": names[row.phase]}) for row in read_results(Epoch, folder / "curves.json")]
    steps = {names[name]: step for name, step in record.steps.items()}
    return Start(folder, phases, weights, sha256, curves, steps, record)


def start_phases(recipe: Recipe, first: Recipe) -> int:
    """Return how many phases of `recipe` a training with `first` and the same seed has done, bit for bit.

    It is 0 where `first` is not a beginning of `recipe`, is all of it, or leaves nothing to go on from: a guard may end
    a training early, and where weights are averaged only their average is kept.
    """
    mine, others = recipe.in_phases(), first.in_phases()
    if len(others) >= len(mine) or recipe.model != first.model:
        return 0
    if recipe.selection.guard or first.selection.guard or any(each.optimiser.averaging for each in others.values()):
        return 0
    for (name, phase), (other_name, other) in zip(mine.items(), others.items(), strict=False):
        if not _are_same(phase, other):
            return 0
        # What is drawn to be trained or reset depends on the name of the phase.
        if name != other_name and (phase.trainable, phase.reset) != ("all", "none"):
            return 0
    return len(others)


def find_starts(recipes: Mapping[str, Recipe], by_dataset: Iterable[Sequence[str]]) -> dict[str, str]:
    """Return, for each recipe that can start from another one, the one that does most of it.

    Args:
        by_dataset: the names of the recipes that are trained on each dataset: none starts from one on another.
    """
    found = {}
    for names in by_dataset:
        for name in names:
            done = {first: start_phases(recipes[name], recipes[first]) for first in names if first != name}
            first = max(done, key=lambda first: done[first], default=None)
            if first is not None and done[first]:
                found[name] = first
    return found


def _are_same(phase: Recipe, other: Recipe) -> bool:
    """Return whether both phases train and measure the same; an attack that is not made does not matter."""
    if phase.selection.every_epochs != other.selection.every_epochs:
        return False
    is_attacked = create_objective(phase.objective.name, **phase.objective.settings()).robust_weight > 0
    if is_attacked and phase.selection.attack != other.selection.attack:
        return False
    keys = [key for key in PHASE_KEYS if key != "attack" or is_attacked]
    return all(getattr(phase, key) == getattr(other, key) for key in keys)
