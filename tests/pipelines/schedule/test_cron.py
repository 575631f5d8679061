"""Cron expressions: what is taken, what is refused in one sentence, and when they are due, also when clocks change."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("cronsim")

from nofrost.errors import UserError
from pipelines.schedule.cron import Cron

BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "it has 0 fields: write five fields"),
        ("0 3 * *", "it has 4 fields: write five fields"),
        ("0 0 3 * * 1", "six fields, as Kubeflow writes them with seconds"),
        ("0 3 * * 1 2026 x", "it has 7 fields"),
        ("@weekly", "words of its own: write five fields.* --time-zone"),
        ("TZ=Europe/Berlin 0 3 * * 1", "words of its own"),
        ("60 3 * * 1", "its minute is impossible"),
        ("0 24 * * 1", "its hour is impossible"),
        ("0 3 0 * *", "its day of month is impossible"),
        ("0 3 * 13 *", "its month is impossible"),
        ("0 3 * * 8", "its day of week is impossible"),
        ("0 3 * * FOO", "its day of week is impossible"),
        ("0 3 20-10 * *", "its day of month is impossible"),
        ("0 0 30 2 *", "its day of month is impossible"),
        ("0 0 31 4,6 *", "its day of month is impossible"),
        ("*/0 * * * *", "its minute is impossible"),
        ("0 3 L * *", "'L' is no number"),
        ("0 3 * * MON#1", "'MON#1' is no number"),
        ("0 3 ? * 1", "'\\?' is no number"),
        ("5/10 * * * *", "5/10 has a step without a range"),
        ("0 3 1,* * *", "'1,\\*' has a '\\*' among others"),
        ("0 3 */2 * 1", "do not agree whether both days have to match"),
        ("0 3 1 * */2", "do not agree whether both days have to match"),
        ("a b c d e", "'a' is no number"),
        ("0 ३ * * 1", "is no number"),
    ],
)
def test_what_is_wrong_is_one_sentence(text: str, message: str) -> None:
    with pytest.raises(UserError, match=rf"--cron '.*': .*{message}") as raised:
        Cron.parse(text)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("  0   3 * * 1 ", "0 3 * * 1"),
        ("0 3 * * 7", "0 3 * * 0"),
        ("0 3 * * 5-7", "0 3 * * 0,5,6"),
        ("0 3 * jan-mar MON", "0 3 * jan-mar MON"),
        ("*/15 0-6/2 1,15 * *", "*/15 0-6/2 1,15 * *"),
    ],
)
def test_what_is_right_means_the_same_everywhere(text: str, kept: str) -> None:
    """Kubernetes refuses 7 for Sunday."""
    assert Cron.parse(text).text == kept
    assert Cron.parse(text).six_fields == f"0 {kept}"


def due(text: str, zone: ZoneInfo, after: datetime, count: int) -> list[str]:
    return [f"{time:%m-%d %H:%M %z}" for time in islice(Cron.parse(text).times(zone, after), count)]


def test_the_29th_of_february() -> None:
    times = list(islice(Cron.parse("0 3 29 2 *").times(UTC, datetime(2026, 11, 29, tzinfo=UTC)), 5))
    assert [time.year for time in times] == [2028, 2032, 2036, 2040, 2044]
    assert {(time.month, time.day, time.hour) for time in times} == {(2, 29, 3)}
    assert next(Cron.parse("0 3 29 2 *").times(UTC, datetime(2096, 3, 1, tzinfo=UTC))).year == 2104, "2100 has none"


def test_a_time_that_the_clock_skips_is_left_out() -> None:
    after = datetime(2026, 3, 27, 12, tzinfo=UTC)
    assert due("30 2 * * *", BERLIN, after, 3) == ["03-28 02:30 +0100", "03-30 02:30 +0200", "03-31 02:30 +0200"]
    assert due("0 3 * * *", BERLIN, after, 2) == ["03-28 03:00 +0100", "03-29 03:00 +0200"]


def test_a_time_that_the_clock_shows_twice_is_due_twice() -> None:
    after = datetime(2026, 10, 24, 12, tzinfo=UTC)
    assert due("30 2 * * *", BERLIN, after, 3) == ["10-25 02:30 +0200", "10-25 02:30 +0100", "10-26 02:30 +0100"]
    assert due("*/30 2 * * 0", BERLIN, after, 4) == [
        "10-25 02:00 +0200", "10-25 02:30 +0200", "10-25 02:00 +0100", "10-25 02:30 +0100"
    ]  # fmt: skip


def test_midnight_may_be_skipped() -> None:
    """The clock of Cairo goes from 00:00 to 01:00."""
    after = datetime(2026, 4, 23, 12, tzinfo=UTC)
    assert due("0 0 * * *", ZoneInfo("Africa/Cairo"), after, 2) == ["04-25 00:00 +0300", "04-26 00:00 +0300"]


def matches(text: str, local: datetime) -> bool:
    """Whether a clock shows a time that fits: written anew, for numbers, lists and '*' alone."""
    values = (local.minute, local.hour, local.day, local.month, local.isoweekday() % 7)
    fits = [field == "*" or str(value) in field.split(",") for field, value in zip(text.split(), values, strict=True)]
    day, weekday = text.split()[2], text.split()[4]
    days = fits[2] or fits[4] if "*" not in (day, weekday) else fits[2] and fits[4]
    return fits[0] and fits[1] and fits[3] and days


def field(low: int, high: int) -> st.SearchStrategy[str]:
    numbers = st.lists(st.integers(low, high), min_size=1, max_size=4, unique=True)
    return st.one_of(st.just("*"), numbers.map(lambda each: ",".join(map(str, sorted(each)))))


@settings(max_examples=30, deadline=None)
@given(
    fields=st.tuples(
        st.sampled_from(["0", "30", "0,30", "59"]), field(0, 4), field(24, 31), st.just("*"), field(0, 6)
    ),
    zone=st.sampled_from(["Europe/Berlin", "America/New_York", "Africa/Cairo", "Australia/Lord_Howe", "UTC"]),
    start=st.sampled_from(
        [datetime(2026, 3, 28), datetime(2026, 10, 24), datetime(2026, 3, 7), datetime(2026, 10, 31),
         datetime(2026, 4, 23), datetime(2026, 10, 3), datetime(2026, 4, 4)]  # before changes of the clocks
    ),
)  # fmt: skip
def test_it_is_due_in_each_minute_in_which_the_clock_shows_a_matching_time(
    fields: tuple[str, ...], zone: str, start: datetime
) -> None:
    text, begin = " ".join(fields), start.replace(tzinfo=UTC)
    minutes = [begin + timedelta(minutes=number) for number in range(1, 3 * 24 * 60)]
    expected = [each for each in minutes if matches(text, each.astimezone(ZoneInfo(zone)))]
    found = Cron.parse(text).times(ZoneInfo(zone), begin)
    assert [each.astimezone(UTC) for each in islice(found, len(expected))] == expected
