"""The sections of the report, in their order."""

from collections.abc import Callable, Iterator
from dataclasses import replace

from nofrost.report.document import Document, Section, numbered, with_own_ids
from nofrost.report.runs import Attacked, Collected, Shifted
from nofrost.report.sections.alarms import alarms
from nofrost.report.sections.attacks import budget, convergence, tradeoff
from nofrost.report.sections.calibration import calibration
from nofrost.report.sections.champion import champion
from nofrost.report.sections.corruptions import corrupted_sets, corruptions
from nofrost.report.sections.examples import augmentation, examples
from nofrost.report.sections.fooling import fooling
from nofrost.report.sections.layers import layers
from nofrost.report.sections.losses import losses
from nofrost.report.sections.mixtures import mixtures
from nofrost.report.sections.origin import configuration, origin
from nofrost.report.sections.overview import overview
from nofrost.report.sections.pairs import pairs
from nofrost.report.sections.printed import printed
from nofrost.report.sections.properties import properties
from nofrost.report.sections.results import branches, results
from nofrost.report.sections.test_sets import test_sets
from nofrost.report.sections.training import cost, training

Build = Callable[[Collected], Iterator[Section | None]]


def _once(section: Callable[[Collected], Section | None]) -> Build:
    """Return what builds a section about the whole study."""
    return lambda collected: iter([section(collected)])


def _attacked(section: Callable[[Attacked], Section | None]) -> Build:
    """Return what builds a section for each adversarial suite."""
    return lambda collected: (_headed(section(each), each) for each in collected.attacked)


def _on_each_dataset(section: Callable[[Collected], Section | None]) -> Build:
    """Return what builds a section for each dataset of the study."""

    def build_of(collected: Collected) -> Iterator[Section | None]:
        for number, part in enumerate(collected.by_dataset):
            made = section(part)
            if made and collected.parts:
                title = f"{made.title}: {part.recipes[0].dataset}"
                made = replace(made, key=f"{made.key}-{number}" if number else made.key, title=title)
            yield made

    return build_of


def _shifted(section: Callable[[Shifted], Section | None]) -> Build:
    """Return what builds a section for each ood suite."""
    return lambda collected: (_headed(section(each), each) for each in collected.shifted)


_SECTIONS = (
    _once(overview),
    _once(results),
    _once(printed),
    _attacked(losses),
    _once(champion),
    _attacked(alarms),
    _attacked(tradeoff),
    _attacked(convergence),
    _attacked(budget),
    _attacked(properties),
    _shifted(corruptions),
    _shifted(corrupted_sets),
    _shifted(test_sets),
    _shifted(calibration),
    _attacked(examples),
    _attacked(fooling),
    _on_each_dataset(augmentation),
    _attacked(branches),
    _attacked(mixtures),
    _attacked(layers),
    _once(training),
    _once(pairs),
    _once(cost),
    _once(configuration),
    _once(origin),
)


def build(collected: Collected) -> Document:
    """Return the report of a study: every section that has something to show, for each suite that it is about."""
    sections = [section for build_of in _SECTIONS for section in build_of(collected) if section is not None]
    return Document(collected.study.title, f"Study {collected.study.name}", numbered(sections))


def _headed(section: Section | None, measured: Attacked | Shifted) -> Section | None:
    """Return a section about one suite, told from those about the others of its kind by heading, anchor and ids."""
    if section is None or not measured.heading:
        return section
    return replace(
        section,
        key=f"{section.key}-{measured.anchor}",
        title=section.title if measured.heading in section.title else f"{section.title}{measured.suffix}",
        nav=f"{section.nav}: {measured.nav}",
        blocks=[with_own_ids(block, measured.anchor) for block in section.blocks],
    )
