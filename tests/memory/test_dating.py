"""Turns are dated: the times they name on their user's clock, and the closed intervals that the index is given."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

from memsvc.intervals import Expression, Interval, Locale, Precision
from memsvc.memory.dating import MOST_EVENTS, dated, events_of, overlaps_any
from tests.factories import STARTED, round_of, turn

DAY = timedelta(days=1)
# A Friday, at ten in the morning.
SAID = STARTED


def time(start: datetime | None, end: datetime | None, precision: Precision = Precision.DAY) -> Expression:
    """An expression that names a time, whatever its words are."""
    return Expression("then", (0, 4), start, end, precision, is_relative=False)


def test_turn_has_the_times_that_its_text_names() -> None:
    round_ = round_of(
        turn("I sailed yesterday.", turn_id="0"), turn("In May 2023 I did too.", "assistant", turn_id="1")
    )

    found = dated(round_)

    assert [turn.times for turn in found.turns] == [
        (
            Expression(
                text="yesterday",
                span=(9, 18),
                start=datetime(2024, 2, 29, tzinfo=UTC),
                end=datetime(2024, 3, 1, tzinfo=UTC),
                precision=Precision.DAY,
                is_relative=True,
            ),
        ),
        (
            Expression(
                text="May 2023",
                span=(3, 11),
                start=datetime(2023, 5, 1, tzinfo=UTC),
                end=datetime(2023, 6, 1, tzinfo=UTC),
                precision=Precision.MONTH,
                is_relative=False,
            ),
        ),
    ]
    assert found == round_


def test_each_turn_is_read_against_its_own_time() -> None:
    sails = [turn("yesterday", turn_id=str(day), said_at=SAID + day * DAY) for day in (0, 1)]

    found = dated(round_of(*sails))

    assert [turn.times[0].end for turn in found.turns] == [
        datetime(2024, 3, 1, tzinfo=UTC),
        datetime(2024, 3, 2, tzinfo=UTC),
    ]


def test_times_that_were_known_are_read_anew() -> None:
    found = dated(round_of(turn("nothing of the kind", times=(time(SAID, None),))))

    assert found.turns[0].times == ()


@pytest.mark.parametrize(
    ("locale", "said_at", "start"),
    [
        pytest.param(
            Locale(), datetime(2024, 3, 1, 23, tzinfo=UTC), datetime(2024, 3, 1, tzinfo=UTC), id="as it was said"
        ),
        pytest.param(
            Locale(),
            datetime(2024, 3, 2, 1, tzinfo=timezone(timedelta(hours=2))),
            datetime(2024, 3, 2, tzinfo=timezone(timedelta(hours=2))),
            id="in the zone it came with",
        ),
        pytest.param(
            Locale("Asia/Tokyo"),
            datetime(2024, 3, 1, 23, tzinfo=UTC),
            datetime(2024, 3, 2, tzinfo=timezone(timedelta(hours=9))),
            id="in the user's zone",
        ),
    ],
)
def test_turn_is_read_on_its_users_wall_clock(locale: Locale, said_at: datetime, start: datetime) -> None:
    round_ = replace(round_of(turn("today", said_at=said_at)), locale=locale)

    ((found,),) = [turn.times for turn in dated(round_).turns]

    assert (found.start, found.end) == (start, start + DAY)


@pytest.mark.parametrize(
    ("week_start", "start"),
    [
        pytest.param(0, datetime(2024, 2, 19, tzinfo=UTC), id="Monday"),
        pytest.param(6, datetime(2024, 2, 18, tzinfo=UTC), id="Sunday"),
        pytest.param(5, datetime(2024, 2, 17, tzinfo=UTC), id="Saturday"),
    ],
)
def test_weeks_begin_when_the_user_says(week_start: int, start: datetime) -> None:
    round_ = replace(round_of(turn("It was last week.")), locale=Locale(week_start=week_start))

    ((found,),) = [turn.times for turn in dated(round_).turns]

    assert (found.start, found.end) == (start, start + 7 * DAY)


def test_turn_is_read_in_its_users_language() -> None:
    round_ = replace(round_of(turn("Das war gestern.")), locale=Locale(language="de"))

    ((found,),) = [turn.times for turn in dated(round_).turns]

    assert (found.text, found.start) == ("gestern", datetime(2024, 2, 29, tzinfo=UTC))


@pytest.mark.parametrize(
    ("text", "start"),
    [
        pytest.param("We met on Monday.", datetime(2024, 2, 26, tzinfo=UTC), id="past"),
        pytest.param("We will meet on Monday.", datetime(2024, 3, 4, tzinfo=UTC), id="future"),
    ],
)
def test_verbs_say_which_day_is_meant(text: str, start: datetime) -> None:
    ((found,),) = [turn.times for turn in dated(round_of(turn(text))).turns]

    assert found.start == start


@pytest.mark.parametrize("zone", [None, "America/New_York", "Asia/Tokyo"])
@pytest.mark.parametrize(
    "said_at",
    [datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, tzinfo=UTC)],
    ids=["the first instant", "the last minute"],
)
def test_turn_at_the_calendars_edge_is_dated(said_at: datetime, zone: str | None) -> None:
    text = "Yesterday, tomorrow, last year, next year, 100 years ago, since Monday, until Friday."
    round_ = replace(round_of(turn(text, said_at=said_at)), locale=Locale(zone))

    found = dated(round_).turns[0]

    assert found.text == text
    assert all(event.start and event.end and event.start < event.end for event in events_of(found))


@pytest.mark.parametrize(
    ("time", "event"),
    [
        pytest.param(time(SAID, SAID + DAY), Interval(SAID, SAID + DAY), id="closed"),
        pytest.param(time(SAID - 9 * DAY, None), Interval(SAID - 9 * DAY, SAID), id="since: up to when it was said"),
        pytest.param(time(None, SAID + 9 * DAY), Interval(SAID, SAID + 9 * DAY), id="until: from when it was said"),
        pytest.param(time(SAID + DAY, None), Interval(SAID + DAY, SAID + 2 * DAY), id="from a later day on"),
        pytest.param(time(None, SAID - DAY), Interval(SAID - 2 * DAY, SAID - DAY), id="before an earlier day"),
        pytest.param(time(SAID, None), Interval(SAID, SAID + DAY), id="from now on"),
        pytest.param(time(None, SAID), Interval(SAID - DAY, SAID), id="before now"),
        pytest.param(
            time(SAID + DAY, None, Precision.WEEK), Interval(SAID + DAY, SAID + 8 * DAY), id="as far as it is exact"
        ),
    ],
)
def test_open_end_of_an_event_is_closed(time: Expression, event: Interval) -> None:
    assert events_of(turn("then", said_at=SAID, times=(time,))) == (event,)


@pytest.mark.parametrize(
    "time",
    [
        pytest.param(time(datetime(9999, 1, 1, tzinfo=UTC), None, Precision.DECADE), id="behind the last year"),
        pytest.param(time(None, datetime(2, 1, 1, tzinfo=UTC), Precision.DECADE), id="before the first year"),
    ],
)
def test_event_does_not_leave_the_calendar(time: Expression) -> None:
    (found,) = events_of(turn("then", times=(time,)))

    edge = time.start or time.end
    assert found == Interval(edge, edge)


def test_turn_that_names_many_times_has_the_first_as_events() -> None:
    times = tuple(time(SAID + day * DAY, SAID + (day + 1) * DAY) for day in range(MOST_EVENTS + 5))

    found = events_of(turn("a timetable", times=times))

    assert MOST_EVENTS == 32
    assert found == tuple(time.interval for time in times[:32])


def test_turn_that_names_no_time_has_no_events() -> None:
    assert events_of(turn("nothing of the kind")) == ()


@pytest.mark.parametrize(
    ("window", "is_told"),
    [
        pytest.param(Interval(SAID + DAY, SAID + 2 * DAY), True, id="the first of two"),
        pytest.param(Interval(SAID + 9 * DAY, None), True, id="the second, an open window"),
        pytest.param(Interval(SAID + 3 * DAY, SAID + 8 * DAY), False, id="between the two"),
        pytest.param(Interval(SAID + 2 * DAY, SAID + 3 * DAY), False, id="from its end on"),
        pytest.param(Interval(None, SAID + DAY), False, id="up to its start"),
        pytest.param(Interval(None, None), True, id="any time"),
        pytest.param(Interval(SAID + 11 * DAY, None), False, id="behind what an open end is taken for"),
    ],
)
def test_turn_tells_of_a_window_when_one_event_overlaps_it(window: Interval, is_told: bool) -> None:
    times = (time(SAID + DAY, SAID + 2 * DAY), time(SAID + 9 * DAY, None))

    assert overlaps_any(turn("then and then", said_at=SAID, times=times), window) is is_told


def test_turn_without_times_tells_of_no_window() -> None:
    assert not overlaps_any(turn("nothing of the kind"), Interval(None, None))
