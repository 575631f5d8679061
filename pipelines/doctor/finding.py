"""What was found about one thing that the pipeline needs."""

from dataclasses import asdict, dataclass
from typing import Literal


@dataclass(frozen=True)
class Finding:
    """What was found.

    Attributes:
        check: what was looked for.
        state: ``unknown`` where it cannot be found out from here.
        detail: where, and what to do about it.
        manifest: YAML of what is missing, for `kubectl apply`; "" where that is nothing of Kubernetes's.
    """

    check: str
    state: Literal["ok", "missing", "unknown"]
    detail: str
    manifest: str = ""

    def as_json(self) -> dict[str, str]:
        return asdict(self)
