"""The sections of the report, in their order."""

from nofrost.report.document import Document, Section, numbered
from nofrost.report.runs import Collected
from nofrost.report.sections.alarms import alarms
from nofrost.report.sections.attacks import budget, convergence, tradeoff
from nofrost.report.sections.calibration import calibration
from nofrost.report.sections.champion import champion
from nofrost.report.sections.corruptions import corrupted_sets, corruptions
from nofrost.report.sections.examples import augmentation, examples
from nofrost.report.sections.layers import layers
from nofrost.report.sections.losses import losses
from nofrost.report.sections.mixtures import mixtures
from nofrost.report.sections.origin import configuration, origin
from nofrost.report.sections.overview import overview
from nofrost.report.sections.pairs import pairs
from nofrost.report.sections.properties import properties
from nofrost.report.sections.results import branches, results
from nofrost.report.sections.test_sets import test_sets
from nofrost.report.sections.training import cost, training

_SECTIONS = (
    overview,
    results,
    losses,
    champion,
    alarms,
    tradeoff,
    convergence,
    budget,
    properties,
    corruptions,
    corrupted_sets,
    test_sets,
    calibration,
    examples,
    augmentation,
    branches,
    mixtures,
    layers,
    training,
    pairs,
    cost,
    configuration,
    origin,
)


def build(collected: Collected) -> Document:
    """Return the report of a study: every section that has something to show."""
    sections: list[Section] = []
    for section in _SECTIONS:
        content = section(collected)
        if content is not None:
            sections.append(content)
    return Document(collected.study.title, f"Study {collected.study.name}", numbered(sections))
