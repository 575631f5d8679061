"""Several processes that share the work of a stage, as torchrun starts them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import ClassVar, Self, TypeVar

import torch
from torch import distributed

from nofrost.errors import RunFailedError, UserError

T = TypeVar("T")


class SharedError(UserError):
    """A user's error that every process raises."""


@dataclass(frozen=True)
class Processes:
    """The processes of a stage: this one's `rank` (from 0) among `size`.

    What all of them do together they have to do in the same order; RunFailedError is raised when one is gone.
    """

    rank: int = 0
    size: int = 1

    backend: ClassVar[str] = "gloo"
    patience: ClassVar[timedelta] = timedelta(days=30)  # that the processes wait for one another
    lost: ClassVar[str] = "another process has failed, see what it says: start again"

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes what is of all, and prints."""
        return self.rank == 0

    @classmethod
    @contextmanager
    def joined(cls) -> Iterator[Self]:
        """Yield the processes that torchrun started, connected with one another; one by itself without it."""
        rank, size = place_among_processes()
        ours = size > 1 and not distributed.is_initialized()
        if ours:
            distributed.init_process_group(cls.backend, rank=rank, world_size=size, timeout=cls.patience)
        try:
            yield cls(rank, size)
        finally:
            if ours:
                distributed.destroy_process_group()

    def any(self, flag: bool) -> bool:
        """Return whether the flag is set in at least one process."""
        if self.size == 1:
            return flag
        raised = torch.tensor(flag, dtype=torch.uint8)
        with self.together():
            distributed.all_reduce(raised, distributed.ReduceOp.MAX)
        return bool(raised)

    def barrier(self) -> None:
        """Wait until every process has come here."""
        self.any(False)

    def agree(self, make: Callable[[], T]) -> T:
        """Return what `make` returns, once it has succeeded in every process.

        Raises:
            SharedError: it failed in one of several; every process raises the same sentence.
        """
        if self.size == 1:
            return make()
        made, error = None, None
        try:
            made = make()
        except UserError as refused:
            error = str(refused)
        errors: list[str | None] = [None] * self.size
        with self.together():
            distributed.all_gather_object(errors, error)
        for each in errors:
            if each is not None:
                raise SharedError(each)
        return made  # type: ignore[return-value]  # no error: it was made

    @contextmanager
    def together(self) -> Iterator[None]:
        """Around what needs every process: tell in one sentence that another one is gone."""
        try:
            yield
        except RuntimeError as error:
            raise RunFailedError(self.lost) from error

    @contextmanager
    def speaking_up(self) -> Iterator[None]:
        """Print a user's error that is of this process alone, as only the first process's errors are printed."""
        try:
            yield
        except UserError as error:
            if not self.leads and not isinstance(error, SharedError):
                print(f"nofrost: process {self.rank} of {self.size}: {error}", file=sys.stderr, flush=True)
            raise


def place_among_processes() -> tuple[int, int]:
    """Return the rank of this process among those that torchrun started, and their number; 0 and 1 without it."""
    try:
        return int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    except (KeyError, ValueError):
        return 0, 1
