"""Several processes that share one evaluation, as torchrun starts them: each measures a shard, the first one merges."""

from __future__ import annotations

from typing import ClassVar

from nofrost.processes import Processes


class Team(Processes):
    """The processes of an evaluation."""

    lost: ClassVar[str] = (
        "another process of this evaluation has failed, see what it says: "
        "start again, and what was measured is not measured again"
    )
