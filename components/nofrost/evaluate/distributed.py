"""Several processes that share one evaluation, as torchrun starts them: each measures a shard, the first one merges."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
from torch import distributed

from nofrost import models
from nofrost.errors import RunFailedError, UserError

T = TypeVar("T")
PATIENCE = timedelta(days=30)  # that the processes wait for one another


@dataclass(frozen=True)
class Team:
    """The processes of an evaluation: this one's `rank` (from 0) among `count`."""

    rank: int
    count: int

    @property
    def leads(self) -> bool:
        """Whether this is the process that merges and prints."""
        return self.rank == 0

    def agree(self, make: Callable[[], T]) -> T:
        """Return what `make` returns, once it has succeeded in every process.

        Raises:
            UserError: it failed in one; every process raises the same sentence.
        """
        made, error = None, None
        try:
            made = make()
        except UserError as refused:
            error = str(refused)
        if self.count == 1:
            errors = [error]
        else:
            errors = [None] * self.count
            distributed.all_gather_object(errors, error)
        for each in errors:
            if each is not None:
                raise UserError(each)
        return made  # type: ignore[return-value]  # no error: it was made

    def wait(self) -> None:
        """Wait until every process has come here.

        Raises:
            RunFailedError: one has ended before.
        """
        if self.count == 1:
            return
        try:
            distributed.barrier()
        except RuntimeError as error:
            raise RunFailedError(
                "another process of this evaluation has failed, see what it says: "
                "start again, and what was measured is not measured again"
            ) from error

    @contextmanager
    def speaking_up(self) -> Iterator[None]:
        """Print a user's error that may be of this process alone, as only the first process's errors are printed."""
        try:
            yield
        except UserError as error:
            if not self.leads:
                print(f"nofrost: process {self.rank} of {self.count}: {error}", file=sys.stderr, flush=True)
            raise


@contextmanager
def team() -> Iterator[Team]:
    """Yield the processes that torchrun started, connected with one another; a team of one without it."""
    rank, count = _from_environment()
    if count == 1:
        yield Team(0, 1)
        return
    ours = not distributed.is_initialized()
    if ours:
        distributed.init_process_group("gloo", rank=rank, world_size=count, timeout=PATIENCE)
    try:
        yield Team(rank, count)
    finally:
        if ours:
            distributed.destroy_process_group()


def own_device() -> torch.device:
    """Return the GPU that is this process's own among those of its machine; the CPU where there is no GPU.

    Raises:
        UserError: there are fewer GPUs than processes.
    """
    device = models.default_device()
    if device.type != "cuda" or _from_environment()[1] == 1:
        return device
    place, seen = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if place >= seen:
        raise UserError(f"process {place} of this machine has no GPU of its own: start at most {seen}, one for each")
    return torch.device("cuda", place)


def _from_environment() -> tuple[int, int]:
    try:
        return int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    except (KeyError, ValueError):
        return 0, 1
