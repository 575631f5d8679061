"""What the numbers of an adversarial suite may be compared with."""

from functools import cache

from nofrost.config import AdversarialSuite, load_suite, shipped_names
from nofrost.report import text

_PROTOCOLS = {
    "quick": "a short set of attacks chosen for this project; the numbers are not comparable with published ones",
    "paper": "the attacks and settings as the paper printed them; the numbers are comparable with that paper's only",
    "standard": "AutoAttack as its authors define it; the numbers are comparable with RobustBench's",
}


def protocol(suite: AdversarialSuite, heading: str = "") -> str:
    """Return the name of a suite's protocol and what it means; of one that a study changed, what is changed.

    Args:
        heading: tells it from the other suites of the study.
    """
    name = f"{suite.protocol}{f' ({heading})' if heading else ''}"
    shipped = _shipped().get(suite.title)
    if suite.protocol == "quick" or shipped is None:
        return f"{name}: {_PROTOCOLS[suite.protocol]}"
    attacks = {**shipped.attacks, **suite.attacks}
    changes = ["the threat"] if suite.threat != shipped.threat else []
    changes += [each for each in attacks if suite.attacks.get(each) != shipped.attacks.get(each)]
    if not changes:
        return f"{name}: {_PROTOCOLS[suite.protocol]}"
    return (
        f"{name}, but {text.listed(changes)} {'differs' if len(changes) == 1 else 'differ'} from how it is defined; "
        "the numbers are not comparable with published ones"
    )


@cache
def _shipped() -> dict[str, AdversarialSuite]:
    """Return the shipped adversarial suites by their titles, which a study that changes one keeps."""
    suites = (load_suite(name) for name in shipped_names("suite"))
    return {suite.title: suite for suite in suites if isinstance(suite, AdversarialSuite)}
