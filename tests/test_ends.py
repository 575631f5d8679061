"""Of the ends of several processes or nodes, the one that caused the others is chosen."""

from __future__ import annotations

import pytest

from nofrost.ends import End, first_cause


@pytest.mark.parametrize(
    ("ends", "code"),
    [
        # Within the same second torch cannot tell which was the first.
        ([(200, 1000.0), (-9, 1000.0)], -9),
        ([(200, 1000.0), (-9, 1001.0)], -9),
        # Killed by torch, as it did not end when it was asked to.
        ([(200, 1000.0), (-9, 1031.0)], 200),
        ([(1, 1000.0), (-9, 1030.0)], 1),
        ([(143, 1000.0), (-9, 1060.0)], 143),
        # Aborted by the watchdog of NCCL, as it waited for a process that others had lost.
        ([(200, 1000.0), (-6, 1010.0)], 200),
        ([(200, 1000.0), (-6, 1001.0)], -6),
        # Stopped by torch: before or after it could say so.
        ([(-15, 1000.0), (200, 1000.0)], 200),
        ([(-15, 1000.0), (-15, 1000.0)], -15),
        ([(200, 999.5), (143, 1000.0)], 200),
        ([(143, 999.5), (200, 1000.0)], 143),
        ([(1, 1000.0), (2, 1009.0), (-9, 999.0)], 2),
        ([(1, 1000.0), (-11, 1000.0)], -11),
        ([(1, 1000.0), (7, 999.0)], 7),
    ],
)
def test_of_processes(ends: list[tuple[int, float]], code: int) -> None:
    told = [End(code, "", at) for code, at in ends]
    assert first_cause(told).code == first_cause(told[::-1]).code == code


@pytest.mark.parametrize(
    ("codes", "cause"),
    [
        ((0, 0), 0),
        ((200, 137), 137),
        ((143, 1), 1),
        ((1, 2), 2),
        ((137, 2), 2),
        ((200, 2), 2),
        ((143, 200), 143),
        ((0, 200), 200),
        ((0, 143), 143),
        ((200, -9), -9),
        ((143, 143), 143),
        # A node whose process was killed says more than one that has an error, which may come of that.
        ((1, 137), 137),
        ((1, 200), 1),
        # SIGTERM before the starter could handle it.
        ((-15, 200), 200),
    ],
)
def test_of_nodes_whose_times_nobody_knows(codes: tuple[int, int], cause: int) -> None:
    ends = [End(code) for code in codes]
    assert first_cause(ends).code == first_cause(ends[::-1]).code == cause
