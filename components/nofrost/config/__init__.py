"""Typed configuration: Recipe, Suite and Study, read from YAML. Every error names file, key and allowed values."""

from nofrost.config.attack import AttackSpec, Threat
from nofrost.config.dataset import AugmentationSpec, DatasetSpec
from nofrost.config.evaluation_view import EvaluationView
from nofrost.config.fraction import PixelFraction
from nofrost.config.gate import GateSpec, Margins
from nofrost.config.loading import (
    load_recipe,
    load_schema,
    load_study,
    load_suite,
    parse_study,
    study_as_yaml,
    study_sizes,
)
from nofrost.config.model import ModelSpec
from nofrost.config.objective import ObjectiveSpec
from nofrost.config.optimisation import OptimiserSpec, ScheduleSpec
from nofrost.config.paper_claims import Claim, Inequality, Value
from nofrost.config.papers import Paper, cite, find_paper, load_papers, paper_of, recipes_of
from nofrost.config.printed import (
    Printed,
    PrintedAxis,
    PrintedColumn,
    PrintedRow,
    load_printed,
    parse_printed,
    printed_names,
)
from nofrost.config.reading import shipped_names
from nofrost.config.recipe import Recipe, ViewSpec
from nofrost.config.select import augmentation_of, dataset_of, further_test_sets, parse_part, recipe_of, suite_of
from nofrost.config.sizes import Size
from nofrost.config.study import Study
from nofrost.config.suite import AdversarialSuite, Baseline, OodSuite, Suite
from nofrost.config.sweeps import Coordinate, Place
from nofrost.config.test_sets import TestSets, TestSetSpec
from nofrost.config.yaml_text import as_yaml

__all__ = [
    "AdversarialSuite",
    "AttackSpec",
    "AugmentationSpec",
    "Baseline",
    "Claim",
    "Coordinate",
    "DatasetSpec",
    "EvaluationView",
    "GateSpec",
    "Inequality",
    "Margins",
    "ModelSpec",
    "ObjectiveSpec",
    "OodSuite",
    "OptimiserSpec",
    "Paper",
    "PixelFraction",
    "Place",
    "Printed",
    "PrintedAxis",
    "PrintedColumn",
    "PrintedRow",
    "Recipe",
    "ScheduleSpec",
    "Size",
    "Study",
    "Suite",
    "TestSetSpec",
    "TestSets",
    "Threat",
    "Value",
    "ViewSpec",
    "as_yaml",
    "augmentation_of",
    "cite",
    "dataset_of",
    "find_paper",
    "further_test_sets",
    "load_papers",
    "load_printed",
    "load_recipe",
    "load_schema",
    "load_study",
    "load_suite",
    "paper_of",
    "parse_part",
    "parse_printed",
    "parse_study",
    "printed_names",
    "recipe_of",
    "recipes_of",
    "shipped_names",
    "study_as_yaml",
    "study_sizes",
    "suite_of",
]
