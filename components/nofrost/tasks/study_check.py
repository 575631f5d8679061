"""The check of a study: each of its parts by the classes that own its settings."""

from collections.abc import Sequence

from nofrost.config import AugmentationSpec, Study
from nofrost.config.study import augmentations_of
from nofrost.config.trainings import further_stages, trainings_of


def check_study(study: Study, origin: str | None = None, overrides: Sequence[str] = ()) -> Study:
    """Check each part of a study and return it with the settings of its augmentation methods spelled out, and where
    its trainings start.

    The schema alone does not know the settings of sources, augmentation methods, attacks and objectives; their
    classes do.

    Args:
        origin: its file, for the error; None for its name.
        overrides: texts `key=value` on top of the file; the message names the one at fault.

    Raises:
        UserError: a name, setting or value is wrong; the message names file, key and what is allowed.
    """
    # Only here: these load torch, which takes seconds that the small tasks of the pipeline do not need.
    from nofrost.augment import resolve_methods, spell_out
    from nofrost.prepare import resolve_source, resolve_test_set
    from nofrost.train import check_methods, find_starts

    origin = origin or study.name
    resolve_source(study.dataset, origin, ("dataset",), overrides)
    for name, dataset in study.datasets.items():
        resolve_source(dataset, origin, ("datasets", name), overrides)
    for suite_id, suite in study.suites.ood.items():
        for name, spec in suite.test_sets.items():
            resolve_test_set(name, spec, None, origin, ("suites", "ood", suite_id, "test_sets"), overrides)
    methods = resolve_methods(study.augmentation, origin, ("augmentation",), overrides)
    check_methods(study, origin, overrides)
    augmentation = AugmentationSpec.model_validate(spell_out(study.augmentation, methods))
    starts = find_starts(study.recipes, study.runs.by_dataset.values())
    runs, suites = study.runs, study.suites
    return study.model_copy(
        update={
            "augmentation": augmentation,
            "trainings": trainings_of(runs.recipe, runs.seed, starts),
            "augmentations": augmentations_of(augmentation, runs, study.recipes),
            "further": further_stages(runs.dataset, runs.seed, suites.adversarial, suites.ood, starts),
        }
    )
