"""The calendar on the wall: units that begin and move, and things that come round."""

from datetime import datetime

import pytest

from memsvc.intervals import Precision
from memsvc.temporal import spans
from memsvc.temporal.spans import Recurrence, Span
from tests.temporal import DAY, DECADE, HOUR, MINUTE, MONTH, QUARTER, SEASON, SECOND, WEEK, YEAR

LEAP_DAY = spans.yearly(lambda year: spans.day(year, 2, 29))
THE_31ST = spans.monthly(31)
WEDNESDAY = spans.weekly(2)


def wall(written: str) -> datetime:
    return datetime.fromisoformat(written)


@pytest.mark.parametrize(
    ("start", "count", "unit", "end"),
    [
        pytest.param("2023-01-31", 1, MONTH, "2023-02-28", id="into a short month"),
        pytest.param("2024-01-31", 1, MONTH, "2024-02-29", id="into a leap month"),
        pytest.param("2023-03-31", -1, MONTH, "2023-02-28", id="back into a short month"),
        pytest.param("2023-03-31", -3, MONTH, "2022-12-31", id="back into the year before"),
        pytest.param("2023-12-31", 2, MONTH, "2024-02-29", id="on into the next year"),
        pytest.param("2023-02-28", 1, MONTH, "2023-03-28", id="the last day does not stay the last"),
        pytest.param("2024-02-29", 1, YEAR, "2025-02-28", id="leap day a year on"),
        pytest.param("2024-02-29", -1, YEAR, "2023-02-28", id="leap day a year back"),
        pytest.param("2024-02-29", 4, YEAR, "2028-02-29", id="leap day four years on"),
        pytest.param("2096-02-29", 4, YEAR, "2100-02-28", id="a century is no leap year"),
        pytest.param("2024-02-29", 1, DECADE, "2034-02-28", id="leap day a decade on"),
        pytest.param("2023-11-30", 1, QUARTER, "2024-02-29", id="a quarter"),
        pytest.param("2023-05-31", 1, SEASON, "2023-08-31", id="a season"),
        pytest.param("2023-08-31", 0.5, YEAR, "2024-02-29", id="half a year is six months"),
        pytest.param("2023-01-31", 1.5, MONTH, "2023-03-15", id="half a month is fifteen days"),
        pytest.param("2023-03-31", -1.5, MONTH, "2023-02-13", id="half a month back"),
        pytest.param("2024-02-28", 1, WEEK, "2024-03-06", id="a week over a leap day"),
        pytest.param("2022-12-31T10:00", 1.5, DAY, "2023-01-01T22:00", id="a day and a half"),
        pytest.param("2022-12-31T23:30", 1, HOUR, "2023-01-01T00:30", id="an hour"),
    ],
)
def test_moving_lands_in_the_calendar(start: str, count: float, unit: Precision, end: str) -> None:
    moved = spans.moved(wall(start), count, unit)

    assert moved == wall(end)


@pytest.mark.parametrize(
    ("start", "count", "unit"),
    [
        pytest.param("9999-12-01", 1, MONTH, id="a month behind the last"),
        pytest.param("0001-01-31", -1, MONTH, id="a month before the first"),
        pytest.param("2023-06-14", 10_000, YEAR, id="ten thousand years on"),
        pytest.param("2023-06-14", -1000, DECADE, id="a thousand decades back"),
        pytest.param("9999-12-31", 1, DAY, id="a day behind the last"),
    ],
)
def test_moving_out_of_the_calendar_overflows(start: str, count: float, unit: Precision) -> None:
    with pytest.raises(OverflowError):
        spans.moved(wall(start), count, unit)


@pytest.mark.parametrize(
    ("instant", "unit", "start"),
    [
        pytest.param("2023-06-14T15:30:20.500000", SECOND, "2023-06-14T15:30:20", id="second"),
        pytest.param("2023-06-14T15:30:20", MINUTE, "2023-06-14T15:30", id="minute"),
        pytest.param("2023-06-14T15:30:20", HOUR, "2023-06-14T15:00", id="hour"),
        pytest.param("2023-06-14T15:30:20", DAY, "2023-06-14", id="day"),
        pytest.param("2023-06-14T15:30:20", WEEK, "2023-06-12", id="week"),
        pytest.param("2023-06-14T15:30:20", MONTH, "2023-06-01", id="month"),
        pytest.param("2023-06-14T15:30:20", QUARTER, "2023-04-01", id="quarter"),
        pytest.param("2023-06-14T15:30:20", SEASON, "2023-06-01", id="season"),
        pytest.param("2023-01-15", SEASON, "2022-12-01", id="winter began in the year before"),
        pytest.param("2023-12-31", SEASON, "2023-12-01", id="winter began in this year"),
        pytest.param("2023-06-14T15:30:20", YEAR, "2023-01-01", id="year"),
        pytest.param("2023-06-14T15:30:20", DECADE, "2020-01-01", id="decade"),
        pytest.param("0005-06-14", DECADE, "0001-01-01", id="the first decade lacks a year"),
    ],
)
def test_floor_is_where_the_unit_began(instant: str, unit: Precision, start: str) -> None:
    floor = spans.floor(wall(instant), unit)

    assert floor == wall(start)


@pytest.mark.parametrize(
    ("day", "week_start", "start"),
    [
        pytest.param("2023-06-14", 0, "2023-06-12", id="Wednesday, from Monday"),
        pytest.param("2023-06-14", 6, "2023-06-11", id="Wednesday, from Sunday"),
        pytest.param("2023-06-14", 2, "2023-06-14", id="Wednesday, from Wednesday"),
        pytest.param("2023-06-14", 3, "2023-06-08", id="Wednesday, from Thursday"),
        pytest.param("2023-06-18", 0, "2023-06-12", id="Sunday, from Monday"),
        pytest.param("2023-06-18", 6, "2023-06-18", id="Sunday, from Sunday"),
        pytest.param("2023-01-01", 0, "2022-12-26", id="the first of January, from Monday"),
    ],
)
def test_week_begins_with_its_first_day(day: str, week_start: int, start: str) -> None:
    week = spans.unit_of(wall(day), WEEK, week_start)

    assert week == Span(wall(start), spans.moved(wall(start), 7, DAY), WEEK)


@pytest.mark.parametrize(
    ("recurrence", "now", "latest"),
    [
        pytest.param(WEDNESDAY, "2023-06-14T15:30", "2023-06-14", id="a weekday is today's"),
        pytest.param(WEDNESDAY, "2023-06-13T15:30", "2023-06-07", id="a weekday of last week"),
        pytest.param(LEAP_DAY, "2023-06-14", "2020-02-29", id="a leap day"),
        pytest.param(LEAP_DAY, "2024-02-29T10:00", "2024-02-29", id="a leap day on the day"),
        pytest.param(LEAP_DAY, "2103-06-14", "2096-02-29", id="a leap day before a century"),
        pytest.param(THE_31ST, "2023-03-15", "2023-01-31", id="a day that the month before lacks"),
        pytest.param(THE_31ST, "2023-01-15", "2022-12-31", id="a day of the year before"),
    ],
)
def test_latest_is_the_last_one_that_had_begun(recurrence: Recurrence, now: str, latest: str) -> None:
    found = recurrence.latest(wall(now))

    assert found == spans.unit_of(wall(latest), DAY)


@pytest.mark.parametrize(
    ("recurrence", "now", "coming"),
    [
        pytest.param(WEDNESDAY, "2023-06-14T15:30", "2023-06-14", id="a weekday is today's"),
        pytest.param(WEDNESDAY, "2023-06-15T15:30", "2023-06-21", id="a weekday of next week"),
        pytest.param(LEAP_DAY, "2023-06-14", "2024-02-29", id="a leap day"),
        pytest.param(LEAP_DAY, "2097-06-14", "2104-02-29", id="a leap day behind a century"),
        pytest.param(THE_31ST, "2023-02-15", "2023-03-31", id="a day that the month lacks"),
        pytest.param(THE_31ST, "2022-12-31T23:59", "2022-12-31", id="a day that is not over"),
        pytest.param(THE_31ST, "2023-01-31T10:00", "2023-01-31", id="a day on the day"),
    ],
)
def test_next_is_the_first_one_that_is_not_over(recurrence: Recurrence, now: str, coming: str) -> None:
    found = recurrence.next(wall(now))

    assert found == spans.unit_of(wall(coming), DAY)


def test_strictly_latest_and_next_leave_today_out() -> None:
    now = wall("2023-06-14T15:30")

    found = [WEDNESDAY.latest(now, strictly=True), WEDNESDAY.next(now, strictly=True)]

    assert found == [spans.day(2023, 6, 7), spans.day(2023, 6, 21)]


def test_what_never_comes_is_not_found() -> None:
    never = spans.yearly(lambda year: spans.day(year, 2, 30))

    assert [never.latest(wall("2023-06-14")), never.next(wall("2023-06-14"))] == [None, None]


@pytest.mark.parametrize("now", ["0001-01-01", "0001-06-14", "9999-06-14", "9999-12-30"])
def test_what_comes_round_stays_in_the_calendar(now: str) -> None:
    may = spans.yearly(lambda year: spans.month(year, 5))

    found = [may.latest(wall(now)), may.next(wall(now))]

    assert all(each is None or each.precision is MONTH for each in found)
    assert any(found)


def test_those_within_a_period_begin_in_it() -> None:
    found = list(WEDNESDAY.within(spans.month(2023, 5)))

    assert found == [spans.day(2023, 5, number) for number in (3, 10, 17, 24, 31)]


def test_only_those_that_fit_come_round() -> None:
    friday_the_13th = spans.monthly(13).only(lambda span: span.begin.weekday() == 4)

    found = list(friday_the_13th.within(spans.year(2023)))

    assert found == [spans.day(2023, 1, 13), spans.day(2023, 10, 13)]


def test_numbered_week_is_that_of_iso_8601() -> None:
    assert spans.week(2020, 53) == Span(wall("2020-12-28"), wall("2021-01-04"), WEEK)
    with pytest.raises(ValueError, match="week"):
        spans.week(2021, 53)
