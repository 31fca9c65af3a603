"""Pure: turns are dated: the times they name, read on their user's wall clock against when they were said."""

from dataclasses import replace
from datetime import datetime, timedelta

from memsvc.domain import Round, Turn
from memsvc.intervals import Interval, Locale, Precision
from memsvc.temporal import find

# A turn that names more times than this is a timetable; the first tell what it is about.
MOST_EVENTS = 32


def dated(round_: Round) -> Round:
    """The round with the times that its turns name."""
    return replace(round_, turns=tuple(_dated(turn, round_.locale) for turn in round_.turns))


def events_of(turn: Turn) -> tuple[Interval, ...]:
    """The closed intervals of what a turn tells: an open end reaches to when it was said, else one unit far."""
    return tuple(closed(found.interval, found.precision, turn) for found in turn.times[:MOST_EVENTS])


def closed(interval: Interval, precision: Precision, turn: Turn) -> Interval:
    """The interval with both ends: an open one reaches to when its turn was said, else one unit far."""
    start, end, unit = interval.start, interval.end, precision.length
    if start is None and end is not None:
        start = turn.said_at if turn.said_at < end else _moved(end, -unit)
    elif end is None and start is not None:
        end = turn.said_at if start < turn.said_at else _moved(start, unit)
    return Interval(start, end)


def overlaps_any(turn: Turn, window: Interval) -> bool:
    """Whether something that the turn tells of lies in the interval."""
    return any(event.overlaps(window) for event in events_of(turn))


def _dated(turn: Turn, locale: Locale) -> Turn:
    found = find(
        turn.text,
        reference=locale.at(turn.said_at),
        prefer="tense",
        week_start=locale.week_start,
        language=locale.language,
    )
    return replace(turn, times=tuple(found))


def _moved(instant: datetime, by: timedelta) -> datetime:
    """So much later, or the same instant at the calendar's end."""
    try:
        return instant + by
    except OverflowError:
        return instant
