"""Times around the hours that clocks skip or tell twice."""

from datetime import UTC, datetime, timedelta
from typing import get_args
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memsvc.temporal import Prefer, find
from tests.temporal import instant

NEW_YORK = ZoneInfo("America/New_York")
# When clocks changed, in UTC: by an hour, on Lord Howe by half of one, and in Kathmandu never.
CHANGES = {
    "America/New_York": ["2023-03-12T07:00", "2023-11-05T06:00"],
    "Europe/Berlin": ["2023-03-26T01:00", "2023-10-29T01:00"],
    "Australia/Lord_Howe": ["2023-04-01T15:00", "2023-09-30T15:30"],
    "Asia/Kathmandu": ["2023-03-12T07:00"],
}
TEXTS = [
    "right now",
    "five minutes ago",
    "two hours ago",
    "a day and three hours ago",
    "the last 24 hours",
    "the past 10 minutes",
    "last hour",
    "within the next two hours",
    "3 hours from now",
    "today",
    "yesterday at 1:30 am",
    "today at 2:30 am",
    "today from 1:30 to 2:15 am",
    "from 2:30 to 3:00 am today",
    "2023-11-05T06:30Z",
    "2023-10-29T00:30Z",
    "2023-04-01T15:15:00Z",
]

references = st.sampled_from([(zone, change) for zone, changes in CHANGES.items() for change in changes]).flatmap(
    lambda pair: st.integers(-3 * 3600, 3 * 3600).map(
        lambda seconds: (instant(pair[1]) + timedelta(seconds=seconds)).astimezone(ZoneInfo(pair[0]))
    )
)


@given(st.sampled_from(TEXTS), references, st.sampled_from(get_args(Prefer)))
def test_every_expression_ends_after_it_starts(text: str, reference: datetime, prefer: Prefer) -> None:
    found = find(text, reference=reference, prefer=prefer)

    assert all(each.start.astimezone(UTC) < each.end.astimezone(UTC) for each in found if each.start and each.end)


@given(references)
def test_now_is_the_second_that_it_is_said_in(reference: datetime) -> None:
    (found,) = find("right now", reference=reference)

    assert found.start
    assert found.end
    assert found.start.astimezone(UTC) == reference.astimezone(UTC)
    assert found.end.astimezone(UTC) == reference.astimezone(UTC) + timedelta(seconds=1)


@given(references, st.integers(1, 30))
def test_hours_are_counted_as_they_pass(reference: datetime, hours: int) -> None:
    (ago,) = find(f"{hours} hours ago", reference=reference)
    (lasting,) = find(f"the last {hours} hours", reference=reference)

    said_at = reference.astimezone(UTC)
    assert ago.start
    assert lasting.start
    assert lasting.end
    assert ago.start.astimezone(UTC) == said_at.replace(second=0) - timedelta(hours=hours)
    assert lasting.start.astimezone(UTC) == said_at - timedelta(hours=hours)
    assert lasting.end.astimezone(UTC) == said_at


def test_days_are_counted_on_the_wall() -> None:
    on_monday = datetime(2023, 3, 13, 9, 30, tzinfo=NEW_YORK)

    (found,) = find("two days ago", reference=on_monday)

    assert [found.start, found.end] == [instant("2023-03-11T05:00"), instant("2023-03-12T05:00")]


@pytest.mark.parametrize(
    ("text", "start"),
    [("2023-11-05T05:30Z", "2023-11-05T05:30"), ("2023-11-05T06:30Z", "2023-11-05T06:30")],
    ids=["the first half past one", "the second half past one"],
)
def test_hour_that_comes_twice_is_the_one_that_was_written(text: str, start: str) -> None:
    (found,) = find(text, reference=datetime(2023, 11, 6, 9, tzinfo=NEW_YORK))

    assert found.start
    assert found.end
    assert found.start.astimezone(UTC) == instant(start)
    assert found.end.astimezone(UTC) == instant(start) + timedelta(minutes=1)


def test_hours_that_the_clock_skipped_are_none() -> None:
    found = find("from 2:30 to 3:00 am today", reference=datetime(2023, 3, 12, 9, tzinfo=NEW_YORK))

    assert found == []
