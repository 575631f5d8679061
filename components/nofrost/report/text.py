"""Numbers and lists as text."""

from collections.abc import Iterable, Sequence

from nofrost.config import EvaluationView

UPPER_BOUND = (
    "Every accuracy under attack is an upper bound: it counts the images that these attacks did not break, and a "
    "stronger attack can only lower it."
)


def percent(share: float, digits: int = 1) -> str:
    """Return a share as a number of percent without its sign: 0.931 gives ``93.1``."""
    return f"{100 * share:.{digits}f}"


def with_sign(share: float, digits: int = 1) -> str:
    """Return a share as a number of percent with its sign: 0.931 gives ``93.1 %``, with a space that does not break."""
    return f"{percent(share, digits)}\N{NO-BREAK SPACE}%"


def span(low: float, high: float, digits: int = 1) -> str:
    """Return an interval of shares in percent: ``90.0–95.3``."""
    return f"{percent(low, digits)}\N{EN DASH}{percent(high, digits)}"


def points(difference: float, digits: int = 1) -> str:
    """Return a difference of shares in percentage points with its sign: ``+3.1``, ``−0.4``."""
    rounded = round(100 * difference, digits)
    return f"{rounded:+.{digits}f}".replace("-", "\N{MINUS SIGN}") if rounded else f"{0:.{digits}f}"


def number(value: float) -> str:
    """Return a value with three significant digits: ``0.250``, ``−12.3``."""
    return f"{value:#.3g}".rstrip(".").replace("-", "\N{MINUS SIGN}")


def count(number: int) -> str:
    """Return a count with separated thousands: ``25,557,032``."""
    return f"{number:,}"


def p_value(value: float) -> str:
    """Return a p value with two significant digits, or ``< 0.0001``."""
    if value < 1e-4:
        return "<\N{NO-BREAK SPACE}0.0001"
    return f"{value:#.2g}" if value < 0.995 else "1"


def duration(seconds: float) -> str:
    """Return a duration in its two largest units: ``8.4 s``, ``3 min 20 s``, ``5 h 7 min``."""
    minutes, rest = divmod(round(seconds), 60)
    if seconds < 59.95:
        words = f"{seconds:.1f} s"
    elif minutes < 60:
        words = f"{minutes} min {rest} s"
    else:
        words = f"{minutes // 60} h {minutes % 60} min"
    return words.replace(" ", "\N{NO-BREAK SPACE}")


def listed(words: Iterable[object]) -> str:
    """Return words as a list in a sentence: ``a, b and c``."""
    items = [str(word) for word in words]
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}" if items else "none"


def plural(number: int, noun: str) -> str:
    """Return a count with its noun: ``1 image``, ``360 images``."""
    return f"{count(number)} {noun}" if number == 1 else f"{count(number)} {noun}s"


def threat(norm: str, eps: object) -> str:
    """Return a threat in the field's notation: ``ℓ∞ ≤ 8/255``."""
    symbol = {"linf": "ℓ∞", "l2": "ℓ2"}.get(norm, norm)
    return f"{symbol} ≤ {eps}"


def view(used: EvaluationView | None) -> str:
    """Return how stored images are resized and cropped: ``shorter side to 256, central 224 × 224 pixels``."""
    if used is None:
        return "as they are stored"
    return f"shorter side to {used.resize}, central {used.crop} × {used.crop} pixels"


def seeds(values: Sequence[int]) -> str:
    """Return the seeds in words: ``seed 0``, ``seeds 0, 1 and 2``."""
    return f"seed {values[0]}" if len(values) == 1 else f"seeds {listed(values)}"


def short(checksum: str) -> str:
    """Return the first twelve digits of a checksum."""
    return checksum[:12]
