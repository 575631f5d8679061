"""What the run of a whole study leaves beside its report."""

from pydantic import Field

from nofrost.results.common import Result


class StudyRecord(Result):
    """``record.json`` of a study that was run in a folder of its own: what it took, and with what.

    Args:
        study: its name.
        size: null for a study that has one alone.
        finished: the day, in UTC, as ``2026-11-30``; null as long as no attempt came to its end.
        wall_minutes: of all attempts, other work of the machine included.
        processor_minutes: user and system time of all processes of these attempts.
        trained: the trainings that were done here. Those of `trainings` that are not among them came from other
            studies, which have the same ones, and their time is in the records of these.
        trainings: how many the study has.
        killed: attempts that were killed before their time could be written down.
        device: that it was trained on.
        seeds: of its runs.
        nofrost: version of the code.
        libraries: that decide the trainings, with their versions.
    """

    study: str
    size: str | None
    finished: str | None
    wall_minutes: float = Field(ge=0)
    processor_minutes: float = Field(ge=0)
    trained: tuple[str, ...]
    trainings: int = Field(ge=1)
    killed: int = Field(ge=0)
    device: str
    seeds: tuple[int, ...]
    nofrost: str
    libraries: dict[str, str]
