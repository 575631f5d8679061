"""What an alarm is, what it compares, and when a difference between two attacks counts."""

from collections.abc import Sequence
from dataclasses import dataclass

from nofrost.results import Alarm, Proportion, Status
from nofrost.statistics import Flags, paired_comparison

DOUBTFUL = 0.05  # p-value below which a difference is worth a warning
CLEAR = 0.01  # p-value below which a difference that should not exist is a failure
NEGLIGIBLE = 0.005  # accuracy difference (half a point) that raises nothing, however many images confirm it


@dataclass(frozen=True)
class AttackRun:
    """On which images the model is still right after one attack.

    Args:
        label: its name for the reader.
        attack: the attack's name.
        steps: 1 for an attack without steps.
        right: [N] whether each image is still right.
        start: in a cascade, [N] whether the image was still right after the attacks before it; `right` is then
            cumulative and says nothing about this attack alone. None for an attack that was run on all right images.
        passes: forward passes that each of its gradients is averaged over.
        crosses: whether its steps together are long enough to cross the ball; an attack with shorter ones finds less,
            on an honest model too.
    """

    label: str
    attack: str
    steps: int
    right: Flags
    start: Flags | None = None
    passes: int = 1
    crosses: bool = True


def alarm(name: str, status: Status, reason: str) -> Alarm:
    """Return the outcome of one check."""
    return Alarm(name=name, status=status, reason=reason)


def strongest(runs: Sequence[AttackRun]) -> AttackRun | None:
    """Return the run that leaves the fewest images right; the first of equals."""
    return min(runs, key=lambda run: int(run.right.sum()), default=None)


def exceeds(more: Flags, fewer: Flags, by: float, p_value: float) -> bool:
    """Return whether `more` lies above `fewer` by a share of images, and the exact McNemar test rules out chance."""
    test = paired_comparison(more, fewer)
    return bool(test["difference"] > by and test["p_value"] < p_value)


def outcome(run: AttackRun) -> str:
    """Return how many images are still right after an attack, in words."""
    return f"{run.label} leaves {count(run.right)} right"


def count(right: Flags) -> str:
    """Return how many of how many are right."""
    return f"{int(right.sum())} of {len(right)}"


def share(right: Flags) -> str:
    """Return how many are right with their interval."""
    proportion = Proportion.of_flags(right)
    low, high = proportion.interval
    return f"{count(right)} images ({proportion.accuracy:.1%}, 95 % interval {low:.1%} to {high:.1%})"
