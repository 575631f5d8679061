"""What environment variables say about this process (torchrun) and this machine (the operator of a job).

Rank, size, where to meet: everything that depends on them asks here, so that no two parts of a command disagree.
Without torch, for `cli`.
"""

import os
from dataclasses import dataclass

from nofrost.errors import UserError, shortened
from nofrost.limits import whole_number

_REMEDY = "start with `nofrost train --gpus N` or torchrun, which set it, or unset RANK and WORLD_SIZE for one process"


@dataclass(frozen=True)
class ProcessRank:
    """This process among those that were started together.

    Attributes:
        rank: number of this process, from 0.
        size: number of all processes.
        local_rank: its number among those on this machine.
        local_size: how many there are on this machine, as far as it is known.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1

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
    local_rank = _number("LOCAL_RANK") if os.environ.get("LOCAL_RANK") else 0
    local_size = _number("LOCAL_WORLD_SIZE") if os.environ.get("LOCAL_WORLD_SIZE") else 1
    return ProcessRank(rank, size, local_rank, max(1, local_size))


@dataclass(frozen=True)
class Node:
    """This machine among those that run a job; by default the only one.

    Attributes:
        rank: its number, from 0.
        count: number of all machines.
        host: name or address of node 0, where all meet; of no use for one node.
        port: where node 0 listens.
    """

    rank: int = 0
    count: int = 1
    host: str = "localhost"
    port: int = 0


def this_node(nodes: int, gpus: int) -> Node:
    """Return what the operator of a PyTorchJob or a TrainJob says about this machine, in variables PET_*.

    Args:
        nodes: how many machines there have to be.
        gpus: processes of each machine; 0 and 1 are one process.

    Raises:
        UserError: the variables say something else, are no numbers, or are missing though there are several nodes.
    """
    remedy = "start all with the same --nodes and --gpus, which the job has to state as well"
    if os.environ.get("PET_NNODES"):
        count = _number("PET_NNODES", remedy)
        if count != nodes:
            raise UserError(f"PET_NNODES is {count}, and --nodes is {nodes}: {remedy}")
    if nodes == 1:
        return Node()
    for name in ("PET_NNODES", "PET_NODE_RANK", "PET_MASTER_ADDR", "PET_MASTER_PORT"):
        if not os.environ.get(name):
            raise UserError(f"--nodes is {nodes}, and {name} is not set, by which the nodes of a job find each other: "
                            "start it as a PyTorchJob or a TrainJob, or set it")  # fmt: skip
    # Without GPUs the operator may have counted CPUs; it can also say "auto".
    processes = whole_number(os.environ.get("PET_NPROC_PER_NODE", ""))
    if gpus > 1 and processes not in (None, gpus):
        raise UserError(f"PET_NPROC_PER_NODE is {processes}, and --gpus is {gpus}: {remedy}")
    rank, port = _number("PET_NODE_RANK", remedy), _number("PET_MASTER_PORT", remedy)
    if rank >= nodes:
        raise UserError(f"PET_NODE_RANK is {rank}, but nodes go from 0 to {nodes - 1}: {remedy}")
    if not 0 < port < 2**16:
        raise UserError(f"PET_MASTER_PORT is {port}, which is not a port: correct it")
    return Node(rank, nodes, os.environ["PET_MASTER_ADDR"], port)


def forget_rank_of_pod() -> None:
    """Unset RANK and WORLD_SIZE where an operator has set them for a pod, as if this were a process of the training."""
    if os.environ.get("PET_NNODES") and "TORCHELASTIC_RUN_ID" not in os.environ:
        for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
            os.environ.pop(name, None)


def _number(name: str, remedy: str = _REMEDY) -> int:
    text = os.environ[name]
    number = whole_number(text)
    if number is None:
        raise UserError(f"{name} is {shortened(text)}, which is not a whole number: {remedy}")
    return number
