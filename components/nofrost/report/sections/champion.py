"""The best run of the study beside the champion: what the gate decided, by which criteria, and why."""

from nofrost.config import GateSpec
from nofrost.report import text
from nofrost.report.document import Block, Cell, Column, Facts, Paragraph, Section, Table
from nofrost.report.runs import Collected
from nofrost.results import Comparison, Contender, Criterion, CriterionName, GateMetrics

_TITLES: dict[CriterionName, str] = {
    "evaluations": "Evaluations are finished",
    "alarms": "No alarm has failed",
    "images": "Same images",
    "worst-case": "Worst-case accuracy",
    "clean": "Clean accuracy",
    "ood": "Accuracy on corrupted images",
    "calibration": "Calibration error",
}


def champion(collected: Collected) -> Section | None:
    """Return what the gate decided, or None for a study without one."""
    gate = collected.gate
    if gate is None:
        return None
    callout = {"promote": "The challenger passes the gate", "keep": "The challenger does not pass the gate"}
    blocks: list[Block] = [
        Paragraph(f"{gate.reason} {_consequence(gate)}", callout=callout[gate.decision]),
        Facts(_facts(gate)),
        _table(gate),
        Paragraph(_policy(gate)),
    ]
    return Section("champion", "Against the champion", "Champion", blocks)


def _consequence(gate: GateMetrics) -> str:
    if gate.decision == "keep":
        return "The champion stays." if gate.champion else "The study stays without a champion."
    if gate.policy.promotion == "manual":
        return "The study leaves the promotion to a person: nofrost champion promote RUN."
    return "It becomes the champion, unless another one has become so since this run began."


def _facts(gate: GateMetrics) -> list[tuple[str, str]]:
    best = f", the best of {gate.runs} runs in worst-case accuracy" if gate.runs > 1 else ""
    challenger = f"{_name(gate.challenger)}{best}"
    facts = [("Challenger", challenger), ("Champion", _name(gate.champion) if gate.champion else "none yet")]
    if gate.passed_over:
        facts.append(("Passed over", "; ".join(f"{each.run}: {each.reason}" for each in gate.passed_over)))
    return facts


def _name(contender: Contender) -> str:
    run = f" of run {contender.run}" if contender.run else ""
    return f"{contender.recipe}, seed {contender.seed}{run}"


def _table(gate: GateMetrics) -> Table:
    first = [Column("criterion", text=True), Column("met", text=True)]
    last = Column("reason", text=True)
    shown = next((each.comparison for each in gate.criteria if each.comparison), None)
    if shown is None:
        rows = [[*_verdict(each), Cell(each.reason)] for each in gate.criteria]
        return Table("The criteria of the gate.", [*first, last], rows)
    columns = [Column("challenger"), Column("champion"), Column("difference"), Column("p\N{NO-BREAK SPACE}value")]
    several = f"shared out over {text.plural(gate.runs, 'run')}, " if gate.runs > 1 else ""
    caption = (
        "The criteria of the gate. Accuracies and calibration errors in %, differences in points with intervals at "
        f"{100 * shown.confidence:.4g} % ({several}Newcombe's for paired proportions, or by bootstrap over images); p "
        "values by the exact McNemar test on the same images."
    )
    rows = [[*_verdict(each), *_values(each.comparison), Cell(each.reason)] for each in gate.criteria]
    return Table(caption, [*first, *columns, last], rows)


def _verdict(criterion: Criterion) -> list[Cell]:
    status = Cell("met", status="pass") if criterion.met else Cell("not met", status="fail")
    return [Cell(_TITLES[criterion.name]), status]


def _values(comparison: Comparison | None) -> list[Cell]:
    if comparison is None:
        return [Cell("")] * 4
    decimals = 1 if comparison.images < 5000 else 2
    ends = (text.points(end, decimals) for end in (comparison.low, comparison.high))
    images = text.plural(comparison.images, "image")
    return [
        Cell(text.percent(comparison.challenger, decimals), hint=images),
        Cell(text.percent(comparison.champion, decimals), hint=images),
        Cell(text.points(comparison.difference, decimals), small=" to ".join(ends)),
        Cell("" if comparison.p_value is None else text.p_value(comparison.p_value)),
    ]


def _points(share: float) -> str:
    number = f"{100 * share:g}"
    return f"{number} point" if number == "1" else f"{number} points"


def _policy(gate: GateMetrics) -> str:
    """Return the policy of the study in words."""
    policy: GateSpec = gate.policy
    losses = {
        "clean accuracy": policy.margins.clean,
        "mean accuracy on corrupted images": policy.margins.ood,
        "calibration (the error rises)": policy.margins.calibration,
    }
    limits = [f"{_points(margin)} of {name}" for name, margin in losses.items() if margin is not None]
    gain = "higher" if policy.gain == 0 else f"more than {_points(policy.gain)} higher"
    several = (
        f" As the challenger is the best of {gate.runs} on the images that test it, each test is at a level "
        f"{gate.runs} times as strict (Bonferroni)."
        if gate.runs > 1 and gate.champion
        else ""
    )
    anew = " The champion was evaluated anew on the dataset and with the suites of this run." if gate.champion else ""
    return (
        f"The policy of the study (gate): no alarm has failed; the worst-case accuracy is {gain} than the champion's "
        f"on the same images, at a confidence of {100 * policy.confidence:g} %; and "
        f"{f'a loss of more than {text.listed(limits)} is ruled out' if limits else 'nothing else counts'}."
        f"{several}{anew}"
    )
