"""Pure: parts of a period: its early, middle and late ones, its halves, and the nth of what it holds."""

from dataclasses import replace
from datetime import timedelta

from memsvc.intervals import Precision
from memsvc.temporal import spans
from memsvc.temporal.spans import DAY, Span

# Thirds and halves of a year by month, of a month by day, of a week by weekday: (from, up to).
_OF_YEAR = {"early": (0, 6), "late": (6, 12), "middle": (4, 8), "beginning": (0, 3), "end": (8, 12)}
_OF_MONTH = {"early": (0, 10), "late": (20, 31), "middle": (10, 20), "beginning": (0, 10), "end": (15, 31)}
_OF_WEEK = {"early": (0, 3), "late": (4, 7), "middle": (2, 4), "beginning": (0, 3), "end": (4, 7)}


def side(name: str, whole: Span) -> Span | None:
    """The early, late, middle, beginning or end part of a period; None for a period that has no such parts."""
    found = _side(name, whole) if whole.is_closed else None
    return found and replace(found, is_relative=whole.is_relative)


def half(number: int, whole: Span) -> Span | None:
    """The first or second half of a period; -1 is the last."""
    if whole.precision is Precision.YEAR:
        middle, finer = spans.moved(whole.begin, 6, Precision.MONTH), Precision.QUARTER
    else:
        middle, finer = spans.floor(whole.begin + (whole.finish - whole.begin) / 2, Precision.DAY), Precision.WEEK
    if number == 1:
        return Span(whole.begin, middle, finer, whole.is_relative)
    return Span(middle, whole.finish, finer, whole.is_relative) if number in (2, -1) else None


def nth_weekday(number: int, weekday: int, whole: Span) -> Span | None:
    """The nth such weekday of a period; a negative number counts from its end."""
    return _pick(list(spans.weekly(weekday).within(whole)), number, whole)


def nth_weekend(number: int, whole: Span) -> Span | None:
    """The nth Saturday of a period, with its Sunday."""
    weekends = [replace(saturday, end=saturday.begin + 2 * spans.DAY) for saturday in spans.weekly(5).within(whole)]
    return _pick(weekends, number, whole)


def nth_week(number: int, whole: Span) -> Span | None:
    """The nth week of a period, as ISO 8601 counts: a week belongs where four of its days are."""
    around = Span(whole.begin - 3 * spans.DAY, whole.finish - 3 * spans.DAY, whole.precision)
    weeks = [Span(day.begin, day.begin + 7 * spans.DAY, Precision.WEEK) for day in spans.weekly(0).within(around)]
    return _pick(weeks, number, whole)


def nth_unit(number: int, unit: Precision, whole: Span) -> Span | None:
    """The nth day, month or other unit that begins within a period."""
    start = spans.moved(whole.begin, number - 1, unit) if number > 0 else spans.moved(whole.finish, number, unit)
    found = spans.unit_of(start, unit)
    return replace(found, is_relative=whole.is_relative) if whole.begin <= found.begin < whole.finish else None


def _side(name: str, whole: Span) -> Span | None:
    start = whole.begin
    if whole.precision is Precision.YEAR:
        first, last = (spans.moved(start, months, Precision.MONTH) for months in _OF_YEAR[name])
        return Span(first, last, Precision.QUARTER)
    if whole.precision is Precision.MONTH:
        # "Late last month" is its second half.
        opens, closes = _OF_MONTH["end" if name == "late" and whole.is_relative else name]
        stop = whole.finish if closes == 31 else start + closes * spans.DAY
        return Span(start + opens * spans.DAY, stop, Precision.WEEK)
    if whole.precision is Precision.WEEK:
        opens, closes = _OF_WEEK[name]
        return Span(start + opens * spans.DAY, start + closes * spans.DAY, Precision.DAY)
    if whole.precision is Precision.DAY and name == "end" and whole.finish - start == spans.DAY:
        return Span(whole.finish - timedelta(hours=4), whole.finish, Precision.HOUR)
    if whole.precision is Precision.HOUR and name in ("early", "late") and whole.length < DAY:
        middle = start + whole.length / 2
        return Span(start, middle, whole.precision) if name == "early" else Span(middle, whole.finish, whole.precision)
    return _third({"early": 0, "beginning": 0, "middle": 1}.get(name, 2), whole)


def _third(number: int, whole: Span) -> Span | None:
    """A month of a season or a quarter; four years of a decade: 0 to 3, 3 to 6, 6 to 9."""
    if whole.precision is Precision.DECADE and whole.length > 20 * Precision.YEAR.length:
        first = spans.moved(whole.begin, 33 * number, Precision.YEAR)
        return Span(first, spans.moved(first, 34, Precision.YEAR), Precision.DECADE)
    if whole.precision is Precision.DECADE:
        first = spans.moved(whole.begin, 3 * number, Precision.YEAR)
        return Span(first, spans.moved(first, 4, Precision.YEAR), Precision.YEAR)
    if whole.precision in (Precision.SEASON, Precision.QUARTER):
        first = spans.moved(whole.begin, number, Precision.MONTH)
        return Span(first, spans.moved(first, 1, Precision.MONTH), Precision.MONTH)
    return None


def _pick(found: list[Span], number: int, whole: Span) -> Span | None:
    place = number - 1 if number > 0 else number
    return replace(found[place], is_relative=whole.is_relative) if -len(found) <= place < len(found) else None
