"""The ends of a launch that is no success, beside those that the server, the store or a signal makes."""

from __future__ import annotations

from nofrost.errors import ReportedError, UserError


class JobEndedError(ReportedError):
    """A job did not succeed, or cannot be made. The message names it, says why, and what to do."""


class WrongInputError(UserError):
    """A job has failed by wrong input.

    Attributes:
        problem: what its task has recorded, if that would happen on every machine; "" otherwise.
    """

    def __init__(self, message: str, problem: str = "") -> None:
        super().__init__(message)
        self.problem = problem


class OutOfReachError(ReportedError):
    """The API server has not answered for too long. The job may continue, and is left to another launcher."""
