"""The window of time that a query speaks of; asked on a Wednesday, 14 June 2023."""

from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memsvc.intervals import Locale, Mode, On, Precision, Window
from memsvc.temporal.windows import window_of
from tests.temporal import DAY, DECADE, HOUR, MONTH, QUARTER, SAID_AT, SEASON, WEEK, YEAR, instant

BERLIN = Locale("Europe/Berlin")


def window(text: str, start: str | None, end: str | None, precision: Precision) -> Window:
    """A window as a query names it; times are in UTC."""
    return Window(
        start=instant(start) if start else None,
        end=instant(end) if end else None,
        precision=precision,
        mode=Mode.BOOST,
        on=On.EITHER,
        source="query",
        text=text,
    )


@pytest.mark.parametrize(
    ("query", "text", "start", "end", "precision"),
    [
        ("What did I buy yesterday?", "yesterday", "2023-06-13", "2023-06-14", DAY),
        ("What did I eat today?", "today", "2023-06-14", "2023-06-15", DAY),
        ("What did we talk about last week?", "last week", "2023-06-05", "2023-06-12", WEEK),
        ("What did I do on 3 May 2023?", "3 May 2023", "2023-05-03", "2023-05-04", DAY),
        ("What happened on 2023-05-03?", "2023-05-03", "2023-05-03", "2023-05-04", DAY),
        ("What happened in May 2023?", "May 2023", "2023-05-01", "2023-06-01", MONTH),
        ("What happened in May?", "May", "2023-05-01", "2023-06-01", MONTH),
        ("What happened in December?", "December", "2022-12-01", "2023-01-01", MONTH),
        ("What will happen in December?", "December", "2023-12-01", "2024-01-01", MONTH),
        ("Where did I live in spring 2022?", "spring 2022", "2022-03-01", "2022-06-01", SEASON),
        ("What did we sell in Q1 2022?", "Q1 2022", "2022-01-01", "2022-04-01", QUARTER),
        ("Where did I live in 2019?", "2019", "2019-01-01", "2020-01-01", YEAR),
        ("What did I wear in the 90s?", "the 90s", "1990-01-01", "2000-01-01", DECADE),
        ("What did I drink this morning?", "this morning", "2023-06-14T08:00", "2023-06-14T12:00", HOUR),
        ("What have I read since March 2023?", "since March 2023", "2023-03-01", None, MONTH),
        ("Where did I live before 2020?", "before 2020", None, "2020-01-01", YEAR),
        ("Where did I go between 3 May and 7 May?", "between 3 May and 7 May", "2023-05-03", "2023-05-08", DAY),
        ("When is my appointment tomorrow?", "tomorrow", "2023-06-15", "2023-06-16", DAY),
        ("What will I do on Friday?", "Friday", "2023-06-16", "2023-06-17", DAY),
        ("What did I do on Friday?", "Friday", "2023-06-09", "2023-06-10", DAY),
        ("What did we do on New Year's Eve?", "New Year's Eve", "2022-12-31", "2023-01-01", DAY),
        ("What did I do on 29 February 2020?", "29 February 2020", "2020-02-29", "2020-03-01", DAY),
    ],
)
def test_query_names_its_window(
    query: str, text: str, start: str | None, end: str | None, precision: Precision
) -> None:
    found = window_of(query, asked_at=SAID_AT)

    assert found == window(text, start, end, precision)


@pytest.mark.parametrize(
    "query",
    [
        "What should I do now?",
        "may I ask you something?",
        "Who is Caroline?",
        "",
        "Did you march on?",
        "What did I say right now?",
        "Where have I lived until now?",
        "What is the second best option?",
        "Can you give me a minute?",
    ],
)
def test_query_that_names_no_time_has_no_window(query: str) -> None:
    found = window_of(query, asked_at=SAID_AT)

    assert found is None


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        pytest.param(
            "What did I do on 3 May 2023 and on 9 May 2023?",
            window("3 May 2023 … 9 May 2023", "2023-05-03", "2023-05-10", DAY),
            id="of one precision: from the first to the last",
        ),
        pytest.param(
            "What did I do on 9 May 2023, and what on 3 May 2023?",
            window("9 May 2023 … 3 May 2023", "2023-05-03", "2023-05-10", DAY),
            id="in whichever order",
        ),
        pytest.param(
            "Of all that happened in 2022, what was said on 3 May 2022?",
            window("3 May 2022", "2022-05-03", "2022-05-04", DAY),
            id="of several precisions: the finest",
        ),
        pytest.param(
            "Was it before 2019 or in 2021?",
            window("before 2019 … 2021", None, "2022-01-01", YEAR),
            id="an open end stays open",
        ),
    ],
)
def test_several_expressions_become_one_window(query: str, expected: Window) -> None:
    found = window_of(query, asked_at=SAID_AT)

    assert found == expected


@pytest.mark.parametrize(
    ("zone", "start", "end"),
    [
        ("UTC", "2023-03-25T00:00+00:00", "2023-03-26T00:00+00:00"),
        ("Europe/Berlin", "2023-03-26T00:00+01:00", "2023-03-27T00:00+02:00"),
        ("America/New_York", "2023-03-25T00:00-04:00", "2023-03-26T00:00-04:00"),
        ("Pacific/Auckland", "2023-03-26T00:00+13:00", "2023-03-27T00:00+13:00"),
    ],
)
def test_days_are_those_of_the_users_wall_clock(zone: str, start: str, end: str) -> None:
    # In Berlin the day has begun, and the one before had 23 hours.
    found = window_of("yesterday", asked_at=instant("2023-03-26T22:30"), locale=Locale(zone))

    assert found is not None
    assert (found.start, found.end) == (datetime.fromisoformat(start), datetime.fromisoformat(end))


def test_without_a_zone_the_day_is_that_of_the_asker() -> None:
    tokyo = timezone(timedelta(hours=9))

    found = window_of("today", asked_at=datetime(2023, 6, 15, 0, 30, tzinfo=tokyo))

    assert found is not None
    assert (found.start, found.end) == (instant("2023-06-14T15:00"), instant("2023-06-15T15:00"))


@pytest.mark.parametrize(
    ("week_start", "start"), [(0, "2023-06-05"), (6, "2023-06-04"), (5, "2023-06-03")], ids=["mon", "sun", "sat"]
)
def test_week_begins_on_the_users_first_day(week_start: int, start: str) -> None:
    found = window_of("last week", asked_at=SAID_AT, locale=Locale(week_start=week_start))

    assert found is not None
    assert (found.start, found.end) == (instant(start), instant(start) + timedelta(days=7))


def test_query_is_read_in_the_users_language() -> None:
    found = window_of("Was habe ich gestern gekauft?", asked_at=SAID_AT, locale=Locale(language="de"))

    assert found == window("gestern", "2023-06-13", "2023-06-14", DAY)


@settings(max_examples=50)
@given(st.text(), st.datetimes(timezones=st.sampled_from([ZoneInfo("UTC"), ZoneInfo("Asia/Kathmandu")])))
def test_window_of_any_text_ends_after_it_starts(text: str, asked_at: datetime) -> None:
    found = window_of(text, asked_at=asked_at)

    assert found is None or found.start is None or found.end is None or found.start < found.end
    assert found is None or (found.start, found.end) != (None, None)
