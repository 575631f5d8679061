"""Typed configuration: Recipe, Suite and Study, read from YAML. Every error names file, key and allowed values."""

from nofrost.config.fraction import PixelFraction
from nofrost.config.loading import load_recipe, load_study, load_suite, shipped_names, study_as_yaml
from nofrost.config.parts import augmentation_of, dataset_of, recipe_of, suite_of
from nofrost.config.recipe import AttackSpec, ModelSpec, ObjectiveSpec, OptimiserSpec, Recipe, ScheduleSpec, Threat
from nofrost.config.study import AugmentationSpec, DatasetSpec, DeepAugmentSpec, Study
from nofrost.config.suite import AdversarialSuite, OodSuite, Suite

__all__ = [
    "AdversarialSuite",
    "AttackSpec",
    "AugmentationSpec",
    "DatasetSpec",
    "DeepAugmentSpec",
    "ModelSpec",
    "ObjectiveSpec",
    "OodSuite",
    "OptimiserSpec",
    "PixelFraction",
    "Recipe",
    "ScheduleSpec",
    "Study",
    "Suite",
    "Threat",
    "augmentation_of",
    "dataset_of",
    "load_recipe",
    "load_study",
    "load_suite",
    "recipe_of",
    "shipped_names",
    "study_as_yaml",
    "suite_of",
]
