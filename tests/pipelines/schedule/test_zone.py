"""Zones: which there are, what follows their clocks, and what changes of a clock do to a schedule."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

pytest.importorskip("cronsim")

from nofrost.errors import UserError
from pipelines.schedule.cron import Cron
from pipelines.schedule.zone import choose_form, clock_changes, irregularities, load_zone

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)


@pytest.mark.parametrize("name", ["Europe/Berlim", "", "CET+1", "/etc/passwd", "../UTC", "Local", "localtime"])
def test_an_unknown_zone_is_one_sentence(name: str) -> None:
    with pytest.raises(UserError, match=r"unknown time zone '.*': .*write a name of the IANA database"):
        load_zone(name)


def test_the_closest_zone_is_suggested() -> None:
    with pytest.raises(UserError, match="did you mean 'Europe/Berlin'"):
        load_zone("Europe/Berlim")


@pytest.mark.parametrize("name", ["UTC", "Etc/UTC", "GMT", "Etc/GMT", "Zulu", "Etc/Universal"])
def test_utc_is_a_recurring_run(name: str) -> None:
    assert choose_form(load_zone(name))[0] == "recurring-run"


@pytest.mark.parametrize("name", ["Europe/Berlin", "Europe/London", "Asia/Kolkata", "Etc/GMT-2", "Africa/Abidjan"])
def test_any_other_clock_is_a_cronjob_and_the_reason_names_it(name: str) -> None:
    form, why = choose_form(load_zone(name))
    assert form == "cronjob"
    assert name in why


def test_changes_of_a_clock_are_found_to_the_second() -> None:
    changes = list(clock_changes(load_zone("Europe/Berlin"), NOW))
    assert [change.at.isoformat() for change in changes] == ["2027-03-28T01:00:00+00:00", "2027-10-31T01:00:00+00:00"]
    assert (changes[0].before, changes[0].after) == (datetime(2027, 3, 28, 2), datetime(2027, 3, 28, 3))
    assert not list(clock_changes(load_zone("Asia/Kolkata"), NOW))


def sentences(cron: str, zone: str) -> list[str]:
    return irregularities(Cron.parse(cron), load_zone(zone), NOW)


def test_runs_that_a_change_leaves_out_or_repeats_are_said() -> None:
    skipped, repeated = sentences("30 2 * * *", "Europe/Berlin")
    assert "2027-03-28 02:30 does not exist in Europe/Berlin" in skipped
    assert "no run" in skipped
    assert "2027-10-31 02:30 comes twice in Europe/Berlin" in repeated
    assert "two runs" in repeated
    assert len(sentences("0,59 2 * * 0", "Europe/Berlin")) == 2
    # The half hour of Lord Howe.
    assert len(sentences("45 1 * * *", "Australia/Lord_Howe")) == 1
    # Of a Friday, and at midnight: the one run of that week.
    assert "00:00 does not exist in Africa/Cairo" in sentences("0 */24 * * 5", "Africa/Cairo")[0]


@pytest.mark.parametrize(
    ("cron", "zone"),
    [
        ("0 3 * * 1", "Europe/Berlin"),
        ("30 2 * * 1", "Europe/Berlin"),
        ("59 1 * * *", "Europe/Berlin"),
        ("*/10 * * * *", "Europe/Berlin"),
        ("30 */2 * * *", "Europe/Berlin"),
        ("30 2 * * *", "UTC"),
    ],
)
def test_nothing_is_said_where_no_run_is_left_out_or_repeated(cron: str, zone: str) -> None:
    assert sentences(cron, zone) == []
