"""The cost of a study: of each recipe, and of all."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from nofrost.config import Recipe, Study
from nofrost.config.model import Architecture
from nofrost.data import Manifest
from nofrost.models import Mixture, create_model, default_device
from nofrost.study_cost.dataset_images import Images, images_of, published_images
from nofrost.study_cost.passes import Passes, mixture_of, passes_of_image, passes_of_selection, passes_of_suite
from nofrost.study_cost.speed import Speed, measured_speed
from nofrost.train import find_starts

TERAFLOPS = 20.0
Speeds = dict[tuple[Any, ...], Speed]
"""The speeds that were measured, by the settings of a network and its images."""


@dataclass(frozen=True)
class RunCost:
    """What a recipe costs with one seed.

    Attributes:
        start: the recipe whose training has done its first phases; empty for none.
        dataset: the name of a further one; empty for that of the study.
        epochs: that are trained, without those.
        training: passes of these, and of the measurements on the selection split.
        evaluation: passes, by the suite.
        minutes: on this machine.
        gpu_hours: at the rate that the cost was asked for.
    """

    recipe: str
    start: str
    epochs: int
    training: Passes
    evaluation: dict[str, Passes]
    minutes: float
    gpu_hours: float
    dataset: str = ""


@dataclass(frozen=True)
class StudyCost:
    """What a study costs: each recipe with one seed, and all with all seeds.

    Attributes:
        images: of the dataset of the study.
        further: of its further datasets, by name.
    """

    images: Images
    seeds: int
    runs: tuple[RunCost, ...]
    teraflops: float = field(default=TERAFLOPS)
    further: dict[str, Images] = field(default_factory=dict)

    @property
    def trainings(self) -> int:
        """Their number."""
        return self.seeds * len(self.runs)

    @property
    def minutes(self) -> float:
        """On this machine, one run after the other."""
        return self.seeds * sum(run.minutes for run in self.runs)

    @property
    def gpu_hours(self) -> float:
        """At the rate that the cost was asked for."""
        return self.seeds * sum(run.gpu_hours for run in self.runs)

    def as_json(self) -> dict[str, Any]:
        """Return all numbers as JSON values."""
        totals = {"trainings": self.trainings, "minutes": self.minutes, "gpu_hours": self.gpu_hours}
        return {**asdict(self), "runs": [asdict(run) for run in self.runs], **totals}


def study_cost(
    study: Study, manifest: Manifest | None = None, teraflops: float = TERAFLOPS, speeds: Speeds | None = None
) -> StudyCost:
    """Return what a study costs.

    Args:
        manifest: of its dataset where that is prepared; None takes the published numbers of images, as for further
            datasets.
        teraflops: floating-point operations that a GPU does in a second, in 10^12.
        speeds: of other studies; those that are measured here are added. None measures all of this one.

    Raises:
        UserError: the number of images is not known before the dataset is prepared.
    """
    further = {name: published_images(spec) for name, spec in study.datasets.items()}
    by_dataset = {"": images_of(manifest) if manifest else published_images(study.dataset), **further}
    first = find_starts(study.recipes, study.runs.by_dataset.values())
    speeds = {} if speeds is None else speeds
    evaluations: dict[tuple[Mixture | None, str], dict[str, Passes]] = {}
    runs = []
    for dataset, name in [(dataset, name) for dataset, names in study.runs.by_dataset.items() for name in names]:
        images, recipe, start = by_dataset[dataset], study.recipes[name], first.get(name, "")
        done = len(study.recipes[start].in_phases()) if start else 0
        phases = list(recipe.in_phases().values())[done:]
        mixture = mixture_of(recipe)
        if (measured := (mixture, dataset)) not in evaluations:
            suites = study.suites.by_key
            evaluations[measured] = {key: passes_of_suite(each, images, mixture) for key, each in suites.items()}
        training = [_passes_of_training(phase, images) for phase in phases]
        parts = [(_speed(phase, images, speeds), passes) for phase, passes in zip(phases, training, strict=True)]
        parts += [(_speed(recipe, images, speeds), passes) for passes in evaluations[measured].values()]
        flop = sum(speed.flop(passes) for speed, passes in parts)
        runs.append(
            RunCost(
                recipe=name,
                start=start,
                epochs=sum(phase.schedule.epochs for phase in phases),
                training=sum(training, Passes()),
                evaluation=evaluations[measured],
                minutes=sum(speed.seconds(passes) for speed, passes in parts) / 60,
                gpu_hours=flop / (teraflops * 1e12) / 3600,
                dataset=dataset,
            )
        )
    return StudyCost(by_dataset[""], len(study.runs.seed), tuple(runs), teraflops, further)


def _passes_of_training(phase: Recipe, images: Images) -> Passes:
    """Return the passes of all steps of a phase, and of its measurements on the selection split."""
    epochs = phase.schedule.epochs
    measured = images.selection * -(-epochs // phase.selection.every_epochs)
    return passes_of_image(phase) * (images.train * epochs) + passes_of_selection(phase) * measured


def _speed(phase: Recipe, images: Images, known: Speeds) -> Speed:
    """Return the speed of the network of a phase at the size of its images, measured once for each of them."""
    side = phase.views.image_size
    size = (side, side) if side else images.size
    # One branch of a mixture is timed, whatever the mixture.
    settings = {
        key: value
        for key, value in phase.model.model_dump(include=set(Architecture.model_fields)).items()
        if not key.startswith("mixture_")
    }
    if (key := (*settings.values(), size, images.classes, images.channels)) not in known:
        model = create_model(**settings, num_classes=images.classes, image_size=size, channels=images.channels)
        known[key] = measured_speed(model.to(default_device()))
    return known[key]
