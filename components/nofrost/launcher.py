"""What the launcher of this process (torchrun) says about it in environment variables: rank, size, where to meet.

Everything that depends on them asks here, so that no two parts of a command disagree. Without torch, for `cli`.
"""

import json
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from nofrost.errors import UserError, shortened
from nofrost.limits import whole_number

_REMEDY = "start with torchrun, which sets it, or unset RANK and WORLD_SIZE for a single process"


@dataclass(frozen=True)
class ProcessRank:
    """This process among those that were started together.

    Attributes:
        rank: number of this process, from 0.
        size: number of all processes.
        local_rank: its number among those on this machine.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @property
    def prints_results(self) -> bool:
        """Whether this process prints what all of them have made."""
        return self.rank == 0

    @property
    def prints_errors(self) -> bool:
        """Whether this process prints an error that all on this machine have."""
        return self.local_rank == 0 or self.size == 1


def process_rank() -> ProcessRank:
    """Return what RANK, WORLD_SIZE and LOCAL_RANK say; a single process unless the first two are both set.

    One of them alone is a leftover of another program. Variables of SLURM and MPI do not count: their batch scripts set
    them for a single process as well.

    Raises:
        UserError: they contradict each other, are no numbers, or there is no address to meet at.
    """
    if not (os.environ.get("RANK") and os.environ.get("WORLD_SIZE")):
        return ProcessRank()
    rank, size = _number("RANK"), _number("WORLD_SIZE")
    if rank >= size:
        raise UserError(f"RANK is {rank} and WORLD_SIZE is {size}, but ranks go from 0 to WORLD_SIZE - 1: {_REMEDY}")
    if size == 1:
        return ProcessRank()
    for name in ("MASTER_ADDR", "MASTER_PORT"):
        if not os.environ.get(name):
            raise UserError(f"RANK and WORLD_SIZE say that this is process {rank} of {size}, and {name} is not set, "
                            f"where they meet: {_REMEDY}")  # fmt: skip
    port = _number("MASTER_PORT")
    if not 0 < port < 2**16:
        raise UserError(f"MASTER_PORT is {port}, which is not a port: {_REMEDY}")
    return ProcessRank(rank, size, _number("LOCAL_RANK") if os.environ.get("LOCAL_RANK") else 0)


def _number(name: str) -> int:
    text = os.environ[name]
    number = whole_number(text)
    if number is None:
        raise UserError(f"{name} is {shortened(text)}, which is not a number of processes or of a port: {_REMEDY}")
    return number


def tell_torchrun(error: str) -> None:
    """Write the error that ends this process where the torchrun that started it reads it; nothing without one."""
    if file := os.environ.get("TORCHELASTIC_ERROR_FILE"):
        with suppress(OSError):
            Path(file).write_text(json.dumps({"message": error, "timestamp": int(time.time())}), encoding="utf-8")
