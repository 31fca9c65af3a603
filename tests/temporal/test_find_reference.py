"""What a text means depends on when, where and of what it was said: years' ends, leap days, zones, weeks and tenses."""

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from memsvc.intervals import Precision
from memsvc.temporal import find
from tests.temporal import DAY, HOUR, MONTH, SAID_AT, SEASON, WEEK, YEAR, expression, instant, plain, told

NEW_YORK = ZoneInfo("America/New_York")
TOKYO = ZoneInfo("Asia/Tokyo")

Case = tuple[str, str, str | None, str | None, Precision]


def said(*cases: Case) -> pytest.MarkDecorator:
    """Run a test for each case: when it was said, and what `told` has."""
    return pytest.mark.parametrize(
        ("said_at", "marked", "start", "end", "precision"),
        [pytest.param(*case, id=f"{case[1]} on {case[0][:10]}") for case in cases],
    )


@said(
    ("2023-01-01T10:00", "I ran [yesterday].", "2022-12-31", "2023-01-01", DAY),
    ("2023-01-01T10:00", "I ran [three days ago].", "2022-12-29", "2022-12-30", DAY),
    ("2023-01-01T10:00", "I ran [last week].", "2022-12-19", "2022-12-26", WEEK),
    ("2023-01-01T10:00", "I run [this week].", "2022-12-26", "2023-01-02", WEEK),
    ("2023-01-01T10:00", "I ran [last weekend].", "2022-12-24", "2022-12-26", DAY),
    ("2023-01-01T10:00", "I ran [last month].", "2022-12-01", "2023-01-01", MONTH),
    ("2023-01-01T10:00", "I ran [last year].", "2022-01-01", "2023-01-01", YEAR),
    ("2023-01-01T10:00", "I ran in [December].", "2022-12-01", "2023-01-01", MONTH),
    ("2023-01-01T10:00", "I ran on [Sunday].", "2022-12-25", "2022-12-26", DAY),
    ("2023-01-01T10:00", "I ran on [New Year's Eve].", "2022-12-31", "2023-01-01", DAY),
    ("2023-01-01T10:00", "I run [this winter].", "2022-12-01", "2023-03-01", SEASON),
    ("2022-12-31T10:00", "I run [tomorrow].", "2023-01-01", "2023-01-02", DAY),
    ("2022-12-31T10:00", "I run [three days from now].", "2023-01-03", "2023-01-04", DAY),
    ("2022-12-31T10:00", "I run [next week].", "2023-01-02", "2023-01-09", WEEK),
    ("2022-12-31T10:00", "I run [next month].", "2023-01-01", "2023-02-01", MONTH),
    ("2022-12-31T10:00", "I run [next year].", "2023-01-01", "2024-01-01", YEAR),
    ("2022-12-31T23:59:59", "I run [today].", "2022-12-31", "2023-01-01", DAY),
    ("2023-01-01T00:00", "I run [today].", "2023-01-01", "2023-01-02", DAY),
)
def test_time_is_counted_over_the_end_of_a_year(
    said_at: str, marked: str, start: str, end: str, precision: Precision
) -> None:
    found = find(plain(marked), reference=instant(said_at))

    assert found == [expression(marked, start, end, precision)]


@said(
    ("2024-02-29T10:00", "I ran [a year ago].", "2023-02-01", "2023-03-01", YEAR),
    ("2024-02-29T10:00", "I ran [four years ago].", "2020-02-01", "2020-03-01", YEAR),
    ("2024-02-29T10:00", "I ran [a month ago].", "2024-01-29", "2024-01-30", MONTH),
    ("2024-02-29T10:00", "I run [tomorrow].", "2024-03-01", "2024-03-02", DAY),
    ("2024-02-29T10:00", "I run on [February 29].", "2024-02-29", "2024-03-01", DAY),
    ("2024-03-01T10:00", "I ran [yesterday].", "2024-02-29", "2024-03-01", DAY),
    ("2024-03-01T10:00", "I ran [two days ago].", "2024-02-28", "2024-02-29", DAY),
    ("2023-03-01T10:00", "I ran [two days ago].", "2023-02-27", "2023-02-28", DAY),
    ("2023-06-14T10:00", "I ran on [February 29].", "2020-02-29", "2020-03-01", DAY),
    ("2023-03-31T10:00", "I ran [a month ago].", "2023-02-28", "2023-03-01", MONTH),
    ("2023-03-31T10:00", "I ran [last month].", "2023-02-01", "2023-03-01", MONTH),
    ("2023-03-31T10:00", "I ran in [the past month].", "2023-02-28", "2023-03-31T10:00", MONTH),
    ("2023-03-31T10:00", "I run [one month from now].", "2023-04-30", "2023-05-01", MONTH),
    ("2023-06-30T10:00", "I ran on [the 31st].", "2023-05-31", "2023-06-01", DAY),
    ("2023-03-30T10:00", "I ran on [the 31st].", "2023-01-31", "2023-02-01", DAY),
)
def test_day_that_a_month_lacks_is_its_last_or_one_of_another_month(
    said_at: str, marked: str, start: str, end: str, precision: Precision
) -> None:
    found = find(plain(marked), reference=instant(said_at))

    assert found == [expression(marked, start, end, precision)]


@told(
    ("I ran [this week].", "2023-06-11", "2023-06-18", WEEK),
    ("I ran [last week].", "2023-06-04", "2023-06-11", WEEK),
    ("I run [next week].", "2023-06-18", "2023-06-25", WEEK),
    ("I ran [the week before last].", "2023-05-28", "2023-06-04", WEEK),
    ("I ran [earlier this week].", "2023-06-11", "2023-06-14", WEEK),
    ("I run for [the rest of the week].", "2023-06-14", "2023-06-18", WEEK),
    ("I run [this Friday].", "2023-06-16", "2023-06-17", DAY),
    ("I run [this Sunday].", "2023-06-18", "2023-06-19", DAY),
    ("I ran [last Sunday].", "2023-06-11", "2023-06-12", DAY),
    ("I ran [last weekend].", "2023-06-10", "2023-06-12", DAY),
    ("I ran in [the week of May 3rd].", "2023-04-30", "2023-05-07", WEEK),
)
def test_week_may_start_on_sunday(marked: str, start: str, end: str, precision: Precision) -> None:
    found = find(plain(marked), reference=SAID_AT, week_start=6)

    assert found == [expression(marked, start, end, precision)]


def test_week_that_starts_on_sunday_is_over_on_the_first_day_of_the_next() -> None:
    sunday = instant("2023-01-01T10:00")

    found = [find("last week", reference=sunday, week_start=day)[0].interval for day in (0, 6)]

    assert [(each.start, each.end) for each in found] == [
        (instant("2022-12-19"), instant("2022-12-26")),
        (instant("2022-12-25"), instant("2023-01-01")),
    ]


@pytest.mark.parametrize(
    ("zone", "text", "start", "end"),
    [
        pytest.param(NEW_YORK, "today", "2023-06-14T00:00:00-04:00", "2023-06-15T00:00:00-04:00", id="New York, today"),
        pytest.param(
            NEW_YORK, "last night", "2023-06-13T20:00:00-04:00", "2023-06-14T00:00:00-04:00", id="New York, last night"
        ),
        pytest.param(
            NEW_YORK, "on Wednesday", "2023-06-07T00:00:00-04:00", "2023-06-08T00:00:00-04:00", id="New York, weekday"
        ),
        pytest.param(
            NEW_YORK, "in winter 2021", "2021-12-01T00:00:00-05:00", "2022-03-01T00:00:00-05:00", id="New York, winter"
        ),
        pytest.param(
            NEW_YORK, "2021-05-12T08:30Z", "2021-05-12T04:30:00-04:00", "2021-05-12T04:31:00-04:00", id="New York, Z"
        ),
        pytest.param(TOKYO, "today", "2023-06-15T00:00:00+09:00", "2023-06-16T00:00:00+09:00", id="Tokyo, today"),
        pytest.param(
            TOKYO, "last night", "2023-06-14T20:00:00+09:00", "2023-06-15T00:00:00+09:00", id="Tokyo, last night"
        ),
        pytest.param(
            TOKYO, "on Wednesday", "2023-06-14T00:00:00+09:00", "2023-06-15T00:00:00+09:00", id="Tokyo, weekday"
        ),
        pytest.param(
            TOKYO, "12 May 2021", "2021-05-12T00:00:00+09:00", "2021-05-13T00:00:00+09:00", id="Tokyo, dated day"
        ),
        pytest.param(
            TOKYO, "2021-05-12T08:30Z", "2021-05-12T17:30:00+09:00", "2021-05-12T17:31:00+09:00", id="Tokyo, Z"
        ),
    ],
)
def test_time_is_on_the_wall_clock_of_who_said_it(zone: ZoneInfo, text: str, start: str, end: str) -> None:
    said_at = instant("2023-06-14T23:30").astimezone(zone)

    (found,) = find(text, reference=said_at)

    assert found.start
    assert found.end
    assert [found.start.isoformat(), found.end.isoformat()] == [start, end]


@pytest.mark.parametrize(
    ("said_at", "start", "end", "lasting"),
    [
        pytest.param(
            "2023-03-13", "2023-03-12T05:00", "2023-03-13T04:00", timedelta(hours=23), id="clocks went forward"
        ),
        pytest.param("2023-11-06", "2023-11-05T04:00", "2023-11-06T05:00", timedelta(hours=25), id="clocks went back"),
    ],
)
def test_yesterday_is_the_day_on_the_wall_however_long_it_was(
    said_at: str, start: str, end: str, lasting: timedelta
) -> None:
    morning = datetime.fromisoformat(said_at).replace(hour=9, tzinfo=NEW_YORK)

    (found,) = find("yesterday", reference=morning)

    assert [found.start, found.end] == [instant(start), instant(end)]
    assert instant(end) - instant(start) == lasting


def test_reference_without_a_zone_is_in_utc() -> None:
    found = find("We met yesterday.", reference=SAID_AT.replace(tzinfo=None))

    assert [(each.start, each.end) for each in found] == [(instant("2023-06-13"), instant("2023-06-14"))]


@told(
    ("We meet on [Friday].", "2023-06-16", "2023-06-17", DAY),
    ("We meet on [Wednesday].", "2023-06-21", "2023-06-22", DAY),
    ("We meet at [8pm on Friday].", "2023-06-16T20:00", "2023-06-16T20:01", HOUR),
    ("We meet in [July].", "2023-07-01", "2023-08-01", MONTH),
    ("We meet in [June].", "2023-06-01", "2023-07-01", MONTH),
    ("We meet on [3 March].", "2024-03-03", "2024-03-04", DAY),
    ("We meet on [the 21st].", "2023-06-21", "2023-06-22", DAY),
    ("We meet on [February 29].", "2024-02-29", "2024-03-01", DAY),
    ("We meet at [Christmas].", "2023-12-25", "2023-12-26", DAY),
    ("We meet [before Christmas].", None, "2023-12-25", DAY),
    ("We meet [between 3 and 9 May].", "2024-05-03", "2024-05-10", DAY),
    ("We meet [in two weeks].", "2023-06-28", "2023-06-29", WEEK),
    ("We met [last Friday].", "2023-06-09", "2023-06-10", DAY),
    ("We met [yesterday].", "2023-06-13", "2023-06-14", DAY),
    ("We met there [since March].", "2023-03-01", None, MONTH),
)
def test_future_that_is_preferred_moves_what_has_no_direction_of_its_own(
    marked: str, start: str | None, end: str | None, precision: Precision
) -> None:
    found = find(plain(marked), reference=SAID_AT, prefer="future")

    assert found == [expression(marked, start, end, precision)]


@told(
    ("I went to Rome in [July].", "2022-07-01", "2022-08-01", MONTH),
    ("I'm going to Rome in [July].", "2023-07-01", "2023-08-01", MONTH),
    ("I saw her on [Friday].", "2023-06-09", "2023-06-10", DAY),
    ("I will see her on [Friday].", "2023-06-16", "2023-06-17", DAY),
    ("On [Friday] I saw her.", "2023-06-09", "2023-06-10", DAY),
    ("On [Friday] I will see her.", "2023-06-16", "2023-06-17", DAY),
    ("I'm meeting her on [Monday].", "2023-06-19", "2023-06-20", DAY),
    ("We moved in [March].", "2023-03-01", "2023-04-01", MONTH),
    ("We'll move in [March].", "2024-03-01", "2024-04-01", MONTH),
    ("She visited at [Christmas].", "2022-12-25", "2022-12-26", DAY),
    ("She will visit at [Christmas].", "2023-12-25", "2023-12-26", DAY),
    ("Remind me on [5 May].", "2024-05-05", "2024-05-06", DAY),
    ("I've lived here [since March].", "2023-03-01", None, MONTH),
    ("We were there in [the spring].", "2023-03-01", "2023-06-01", SEASON),
    ("I will be back [in two weeks].", "2023-06-28", "2023-06-29", WEEK),
    ("I said I saw her [last Friday].", "2023-06-09", "2023-06-10", DAY),
)
def test_tense_of_the_sentence_chooses_between_the_last_and_the_next(
    marked: str, start: str, end: str | None, precision: Precision
) -> None:
    found = find(plain(marked), reference=SAID_AT, prefer="tense")

    assert found == [expression(marked, start, end, precision)]


def test_amount_with_in_is_a_time_only_where_it_lies_ahead() -> None:
    behind = find("I was done in two weeks.", reference=SAID_AT, prefer="tense")
    ahead = find("I will be done in two weeks.", reference=SAID_AT, prefer="tense")

    assert behind == []
    assert ahead == [expression("I will be done [in two weeks].", "2023-06-28", "2023-06-29", WEEK)]


def test_each_sentence_has_its_own_tense() -> None:
    found = find("I saw her on Friday. I will see her on Friday.", reference=SAID_AT, prefer="tense")

    assert found == [
        expression("I saw her on [Friday]. I will see her on Friday.", "2023-06-09", "2023-06-10", DAY),
        expression("I saw her on Friday. I will see her on [Friday].", "2023-06-16", "2023-06-17", DAY),
    ]
